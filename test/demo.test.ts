import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { Browser, Page } from 'playwright-core';
import { freePort } from './support/app.ts';
import { launchChromium, openProfile } from './support/chromium.ts';

const PASSWORD = 'seven-green-lanterns';

describe('the demo', function () {
  this.timeout(20_000);

  let browser: Browser;
  let demo: Demo;

  before(async () => {
    [browser, demo] = await Promise.all([launchChromium(), startDemo()]);
  });
  after(async () => {
    await Promise.all([browser.close(), demo.stop()]);
  });

  /** A person with a browser of their own; after the visit, nothing may have gone wrong in it. */
  async function visit(walk: (page: Page) => Promise<void>): Promise<void> {
    const { context, problems } = await openProfile(browser);
    const page = await context.newPage();
    page.setDefaultTimeout(5_000);
    await walk(page);
    await context.close();
    expect(problems).to.deep.equal([]);
  }

  async function signInToWebApp(page: Page, who: string): Promise<void> {
    await page.goto(demo.webApp);
    await page.getByRole('link', { name: 'Sign in with Latchkey' }).click();
    await fillIn(page, who);
  }

  async function fillIn(page: Page, who: string): Promise<void> {
    await page.fill('[name=email]', `${who}@harbor.example`);
    await page.fill('[name=password]', PASSWORD);
    await page.press('[name=password]', 'Enter');
  }

  async function continueWith(page: Page, provider: string, who: string): Promise<void> {
    await page.goto(`${demo.latchkey}/account`);
    await page.getByRole('button', { name: `Continue with ${provider}` }).click();
    await page.getByRole('link', { name: who }).click();
  }

  it('signs Ben in with each fake provider, asks Cleo for her password and makes Dora an account', async () => {
    for (const [provider, who, title] of [
      ['GitHub', 'Ben Okafor', 'Ben Okafor'],
      ['GitLab', 'Ben Okafor', 'Ben Okafor'],
      ['Google', 'Ben Okafor', 'Ben Okafor'],
      ['Harbor ID', 'Ben Okafor', 'Ben Okafor'],
      ['GitHub', 'Cleo Marsh', 'Link GitHub to your account'],
      ['Google', 'Dora Quist', 'Dora Quist'],
    ] as const) {
      await visit(async (page) => {
        await continueWith(page, provider, who);
        await page.waitForURL(`${demo.latchkey}/**`);
        await page.getByText(title).first().waitFor();
      });
    }
  });

  it('signs a person in to both apps with one password, renews their tokens and signs them out of each', () =>
    visit(async (page) => {
      await signInToWebApp(page, 'ben');
      expect(await page.textContent('main')).to.contain('Place and change orders for you');
      await page.click('[name=decision][value=allow]');
      await page.waitForURL(`${demo.webApp}/`);
      expect(await page.textContent('h1')).to.equal('Hello, Ben Okafor');
      for (const section of ['ID token', 'Userinfo']) {
        const claims = page.locator('section', { has: page.getByRole('heading', { name: section }) });
        expect(await claims.textContent())
          .to.contain('ben@harbor.example')
          .and.to.contain('Harbor Books');
      }
      expect(await page.locator('.granted').count()).to.equal(2);

      const issued = String(await page.textContent('#issued'));
      await sleep(1_000);
      await page.getByRole('button', { name: 'Refresh now' }).click();
      await page.locator('#issued', { hasNotText: issued }).waitFor();

      await page.goto(demo.singlePageApp);
      await page.click('#sign-in');
      await page.waitForURL(`${demo.singlePageApp}/`);
      await page.waitForSelector('#signed-in:visible');
      expect(await page.textContent('#email')).to.equal('ben@harbor.example · Harbor Books');
      expect(await page.textContent('#scope')).to.equal('openid profile email stock.read');
      const renewed = String(await page.textContent('#renewed'));
      await sleep(1_000);
      await page.click('#renew');
      await page.locator('#renewed', { hasNotText: renewed }).waitFor();

      await page.goto(`${demo.latchkey}/account`);
      expect(page.url()).to.equal(`${demo.latchkey}/account`);
      expect(await page.textContent('main')).to.contain('Ben Okafor');

      await page.goto(demo.singlePageApp);
      // Of the house's own app nobody is asked whether they mean it.
      await page.click('#sign-out');
      await page.waitForURL(`${demo.singlePageApp}/`);
      await page.waitForSelector('#signed-out:visible');

      await page.goto(demo.webApp);
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.waitForURL(`${demo.webApp}/`);
      await page.goto(`${demo.latchkey}/account`);
      await fillIn(page, 'ada');
      await page.waitForURL(`${demo.latchkey}/account`);
      expect(await page.textContent('main')).to.contain('Ada Lindqvist');
    }));

  it('signs nobody in who refuses, and grants nobody what they do not hold', () =>
    visit(async (page) => {
      await signInToWebApp(page, 'cleo');
      await page.click('[name=decision][value=deny]');
      await page.waitForURL(`${demo.webApp}/callback**`);
      expect(await page.textContent('[role=status]')).to.contain('You did not allow it');

      await page.getByRole('link', { name: 'Sign in with Latchkey' }).click();
      expect(await page.textContent('main')).not.to.contain('orders');
      await page.click('[name=decision][value=allow]');
      await page.waitForURL(`${demo.webApp}/`);
      expect(await page.textContent('h1')).to.equal('Hello, Cleo Marsh');
      expect(await page.locator('.missing').count()).to.equal(2);

      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.waitForURL(`${demo.latchkey}/**`);
      await page.click('[name=logout][value=yes]');
      await page.waitForURL(`${demo.webApp}/`);
      await page.waitForSelector('text=Sign in with Latchkey');
    }));

  it('exchanges the tokens that a person has elsewhere, by the commands that it prints', async () => {
    const calls = [...demo.printed.matchAll(/-d provider=(\w+) -d providerToken=(\S+) (\S+)/g)];
    expect(calls.map(([, provider]) => provider)).to.deep.equal(['github', 'gitlab', 'google', 'openid']);
    for (const [, provider = '', providerToken = '', url = ''] of calls) {
      const body = new URLSearchParams({ provider, providerToken });
      const orders = await fetch(url, { method: 'POST', body });
      expect(await orders.json())
        .to.have.property('orders')
        .with.lengthOf(2);
    }
    const [, appToken, providerToken = '', url = ''] =
      /'Authorization: token (lk_app_\w+)' -d providerToken=(\S+) (\S+)/.exec(demo.printed) ?? [];
    const headers = { authorization: `token ${appToken}` };
    const answer = await fetch(url, { method: 'POST', headers, body: new URLSearchParams({ providerToken }) });
    expect(await answer.json()).to.include({ authentication: 'success' });
  });

  it("signs a partner's users in by both doors, and out again", () =>
    visit(async (page) => {
      const come = async (who: string, door: string) => {
        await page.goto(demo.partner);
        await page.locator(`form[action="/${who}/${door}"] button`).click();
      };
      await come('mia', 'openid');
      await page.waitForURL(`${demo.partner}/`);
      await page.locator('h1', { hasText: 'Mia Tanaka came back' }).waitFor();
      expect(await page.textContent('#claims'))
        .to.contain('mia@tidewater.example')
        .and.to.contain('["sso"]');
      expect(await page.textContent('#orders pre')).to.match(/^200 /);
      await page.getByRole('button', { name: 'Sign Mia out' }).click();
      await page.locator('h1', { hasText: 'Who is at the till?' }).waitFor();
      await page.goto(`${demo.latchkey}/account`);
      expect(new URL(page.url()).pathname, 'also at Latchkey').to.match(/^\/interaction\//);

      await come('leo', 'console');
      await page.waitForURL(`${demo.latchkey}/account`);
      expect(await page.textContent('h1')).to.equal('Leo Virtanen');
      await come('leo', 'openid');
      await page.locator('h1', { hasText: 'Leo Virtanen came back' }).waitFor();
      expect(await page.textContent('#orders pre'), 'has no permission').to.match(/^403 /);
      await page.getByRole('button', { name: 'Sign Leo out' }).click();
      await come('leo', 'console');
      await page.waitForURL(`${demo.latchkey}/account`);
      await come('mia', 'console');
      await page.getByRole('button', { name: 'Continue as Mia Tanaka' }).click();
      await page.waitForURL(`${demo.latchkey}/account`);
      expect(await page.textContent('h1')).to.equal('Mia Tanaka');
    }));

  it('puts a person out at their next click by the command that it prints', () =>
    visit(async (page) => {
      await signInToWebApp(page, 'ben');
      // Unless he has allowed it before.
      const allow = page.locator('[name=decision][value=allow]');
      await Promise.race([allow.waitFor(), page.waitForURL(`${demo.webApp}/`)]);
      if (await allow.isVisible()) await allow.click();
      await page.waitForURL(`${demo.webApp}/`);

      const [storeUrl = ''] = /file:\S+/.exec(demo.printed) ?? [];
      const command = ['src/cli.ts', 'account', 'disable', 'ben@harbor.example', '--json'];
      const shell = spawn(process.execPath, command, { env: { ...process.env, STORE_URL: storeUrl } });
      expect(JSON.parse(await text(shell.stdout))).to.include({ status: 'disabled' });

      await page.reload();
      expect(await page.textContent('[role=status]')).to.contain('Your sign-in has ended at Latchkey');
      await page.reload();
      expect(await page.locator('[role=status]').count()).to.equal(0);
    }));

  it('keeps its single-page app working when the page says code instead', () =>
    visit(async (page) => {
      await page.route('**/user-manager.js', async (route) => {
        const body = await (await route.fetch()).text();
        await route.fulfill({ contentType: 'text/javascript', body: body.replace("'id_token token'", "'code'") });
      });
      await page.goto(demo.singlePageApp);
      await page.click('#sign-in');
      await fillIn(page, 'cleo');
      await page.waitForSelector('#signed-in:visible');
      const renewed = String(await page.textContent('#renewed'));
      await sleep(1_000);
      const exchange = page.waitForRequest(`${demo.latchkey}/identity/token`);
      await page.click('#renew');
      await exchange;
      await page.locator('#renewed', { hasNotText: renewed }).waitFor();
    }));

  it('prints every address, password and credential', () => {
    for (const part of [demo.latchkey, demo.webApp, demo.singlePageApp, demo.partner, PASSWORD])
      expect(demo.printed).to.contain(part);
    for (const name of ['ada', 'ben', 'cleo']) expect(demo.printed).to.contain(`${name}@harbor.example`);
    expect(demo.printed).to.match(/client_id +\S{36}\n.*client_secret +\S{43}\n.*client_id +\S{36}\n/);
  });

  it('refuses to start where a port is taken, and says which', async () => {
    const child = run(demo.port - 1);
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
    expect(code).to.equal(1);
    expect(said).to.match(new RegExp(`^The demo cannot start: .*${demo.port}.* taken.*PORT=\\d+ npm run demo.*\n$`));
  });

  it('leaves nothing behind', async () => {
    const second = await startDemo();
    const [, folder = ''] = /file:(\S+)/.exec(second.printed) ?? [];
    expect(existsSync(folder)).to.equal(true);
    expect(await second.stop()).to.equal(0);
    expect(existsSync(folder)).to.equal(false);
  });
});

interface Demo {
  port: number;
  latchkey: string;
  webApp: string;
  singlePageApp: string;
  partner: string;
  printed: string;
  /** As Ctrl-C does, which reaches it from the terminal and from npm; answers the exit code. */
  stop(): Promise<number>;
}

function run(port: number) {
  const env = { PATH: process.env.PATH, PORT: String(port) };
  return spawn(process.execPath, ['examples/demo.ts'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function startDemo(): Promise<Demo> {
  const port = await freePorts(9);
  const child = run(port);
  return {
    port,
    latchkey: `http://localhost:${port}`,
    webApp: `http://localhost:${port + 1}`,
    singlePageApp: `http://localhost:${port + 2}`,
    partner: `http://localhost:${port + 5}`,
    printed: await overviewOf(child),
    async stop() {
      const ended = once(child, 'exit');
      for (let times = 0; times < 2; times++) child.kill('SIGINT');
      const [code] = await ended;
      return code;
    },
  };
}

async function overviewOf({ stdout }: ReturnType<typeof run>): Promise<string> {
  let printed = '';
  for await (const chunk of stdout.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    printed += chunk;
    if (printed.includes('Ctrl-C')) return printed;
  }
  throw new Error(`the demo ended:\n${printed}`);
}

/** The first of `count` ports in a row. */
async function freePorts(count: number): Promise<number> {
  const first = await freePort();
  const others = await Promise.all(Array.from({ length: count - 1 }, (_, index) => isFree(first + index + 1)));
  return others.includes(false) ? freePorts(count) : first;
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
