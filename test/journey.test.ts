/** What people go through to sign in, in a real browser: all pages of the way, each looked at closely. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { AxeBuilder } from '@axe-core/playwright';
import { expect } from 'chai';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { embeddedStore, PASSWORD, startApp, type TestApp, type TestClient, type TestStore } from './support/app.ts';
import { launchChromium, openProfile } from './support/chromium.ts';

/** What a browser says of any answer that is not a success, also of one it then shows. */
const REFUSED = /Failed to load resource: the server responded with a status of 4\d\d/;
const PHONE = { width: 360, height: 740 };

/** An app of two pages: a link to sign in, and who came back. */
interface SampleApp {
  origin: string;
  client: TestClient;
  /** Sends people to sign in with these parameters from now on. */
  ask(params: Record<string, string>): void;
}

describe('the way in', function journey() {
  this.timeout(20_000);

  let browser: Browser;
  let store: TestStore;
  let latchkey: TestApp;
  const servers: Server[] = [];

  before(async () => {
    store = await embeddedStore();
    [browser, latchkey] = await Promise.all([launchChromium(), startApp(store)]);
  });
  after(async () => {
    for (const server of servers) server.close().closeAllConnections();
    await Promise.all([browser.close(), latchkey.close()]);
    await store.remove();
  });

  /** A person with a browser of their own; when they leave, nothing may have gone wrong in it. */
  async function visit(options: BrowserContextOptions, walk: (page: Page) => Promise<void>): Promise<void> {
    const { context, problems } = await openProfile(browser, options);
    const page = await context.newPage();
    page.setDefaultTimeout(5_000);
    await walk(page);
    await context.close();
    expect(problems.filter((problem) => !REFUSED.test(problem))).to.deep.equal([]);
  }

  /** Anybody can use the page as it is now: no violation of WCAG in light and dark, on a phone too. */
  async function look(page: Page, heading: string): Promise<void> {
    await page.locator('h1', { hasText: heading }).waitFor();
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      const axe = new AxeBuilder({ page }).setLegacyMode();
      if (colorScheme === 'dark') axe.withRules('color-contrast'); // all else is the same in the dark
      const { violations } = await axe.analyze();
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
      expect(found, `${heading}, ${colorScheme}`).to.deep.equal([]);
    }
    await fits(page, heading);
  }

  /** Nothing to scroll sideways on a phone. */
  async function fits(page: Page, heading: string): Promise<void> {
    await page.locator('h1', { hasText: heading }).waitFor();
    const before = page.viewportSize();
    await page.setViewportSize(PHONE);
    expect(await page.evaluate('document.documentElement.scrollWidth'), heading).to.be.at.most(PHONE.width);
    if (before) await page.setViewportSize(before);
  }

  async function startSampleApp(
    name: string,
    { trusted = false, scope = 'openid profile email' } = {},
  ): Promise<SampleApp> {
    let more: Record<string, string> = {};
    const server = createServer((request, response) => void answer(request, response));
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const origin = `http://localhost:${(server.address() as AddressInfo).port}`;
    const client = await latchkey.client({
      name,
      trusted,
      redirectUris: [`${origin}/callback`],
      postLogoutRedirectUris: [`${origin}/`],
    });

    async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
      const { pathname, searchParams } = new URL(String(request.url), origin);
      const isPost = request.method === 'POST';
      const params = isPost ? new URLSearchParams(await text(request)) : searchParams;
      response.setHeader('Content-Type', 'text/html');
      if (pathname === '/callback')
        return void response.end(page(isPost ? 'posted' : 'redirected', await outcome(params)));
      const request_ = {
        client_id: client.id,
        redirect_uri: client.redirectUri,
        response_type: 'code',
        scope,
        state: 'a state',
      };
      const signIn = `${latchkey.issuer}/identity/authorize?${new URLSearchParams({ ...request_, ...more })}`;
      const bye = { client_id: client.id, post_logout_redirect_uri: `${origin}/` };
      const signOut = `${latchkey.issuer}/identity/logout?${new URLSearchParams(bye)}`;
      response.end(
        page('start', `<a href="${escapeHtml(signIn)}">Sign in</a> <a href="${escapeHtml(signOut)}">Sign out</a>`),
      );
    }

    /** The e-mail of who came back, as the ID token has it, or why nobody did. */
    async function outcome(params: URLSearchParams): Promise<string> {
      expect(params.get('state')).to.equal('a state');
      expect(params.get('iss')).to.equal(latchkey.issuer);
      const code = params.get('code');
      if (code === null) return escapeHtml(String(params.get('error')));
      const credentials = Buffer.from(`${client.id}:${client.secret}`).toString('base64');
      const tokens = await fetch(`${latchkey.issuer}/identity/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${credentials}` },
        body: new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri: client.redirectUri }),
      });
      const { id_token } = (await tokens.json()) as { id_token: string };
      const claims = JSON.parse(Buffer.from(id_token.split('.')[1] ?? '', 'base64url').toString());
      return escapeHtml(claims.email);
    }

    return {
      origin,
      client,
      ask: (params) => {
        more = params;
      },
    };
  }

  const page = (id: string, content: string) =>
    `<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>App</title><main id="${id}">${content}</main>`;
  const escapeHtml = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');

  async function signIn(page: Page, email: string, password = PASSWORD): Promise<void> {
    await page.fill('[name=email]', email);
    await page.fill('[name=password]', password);
    await page.click('button:has-text("Sign in")');
  }

  /** At the app's callback, by this method, as this person or with this error. */
  async function isBack(page: Page, app: SampleApp, outcome: string, how = 'redirected'): Promise<void> {
    await page.waitForURL(`${app.origin}/callback**`);
    expect(await page.textContent(`#${how}`)).to.equal(outcome);
  }

  const choose = (page: Page, decision: string) => page.click(`[name=decision][value=${decision}]`);

  it('leads from the printed link to the first administrator, through two apps and out again', function wholeWay() {
    this.timeout(60_000);
    return visit({}, async (page) => {
      const code = await latchkey.directory.setup.code();
      const email = 'ada@example.com';
      await page.goto(`${latchkey.issuer}/setup?code=${code}`);
      await look(page, 'Make the first administrator');
      await page.fill('[name=given_name]', 'Ada');
      await page.fill('[name=email]', email);
      await page.fill('[name=password]', 'latchkey');
      await page.click('button[type=submit]');
      await page.waitForSelector('[role=alert]');
      await look(page, 'Make the first administrator');
      expect(await page.textContent('#password-problem')).to.contain('too close');
      expect(await page.inputValue('[name=email]')).to.equal(email);
      await page.fill('[name=password]', PASSWORD);
      await page.click('button[type=submit]');
      await look(page, 'Latchkey is yours');
      await page.goto(`${latchkey.issuer}/setup?code=${code}`);
      await look(page, 'This setup link no longer works');

      const [first, second] = [await startSampleApp('Orders'), await startSampleApp('Stock', { trusted: true })];
      await page.goto(first.origin);
      await page.click('text=Sign in');
      await look(page, 'Sign in to Orders');
      await signIn(page, email, 'a wrong guess');
      await page.waitForSelector('[role=alert]');
      await look(page, 'Sign in to Orders');
      expect(await page.inputValue('[name=email]')).to.equal(email);
      expect(await page.inputValue('[name=password]')).to.equal('');
      await signIn(page, email);
      await page.waitForSelector('[name=decision]');
      await look(page, 'Orders wants to use your account');
      expect(await page.textContent('main'))
        .to.contain('See your e-mail address')
        .and.contain(email);
      await choose(page, 'allow');
      await isBack(page, first, email);

      await page.goBack();
      await page.waitForSelector('text=This sign-in is over');
      await page.goto(second.origin);
      await page.click('text=Sign in');
      await isBack(page, second, email);
      await page.goto(first.origin);
      await page.click('text=Sign in');
      await isBack(page, first, email);

      await page.goto(`${latchkey.issuer}/account`);
      await look(page, 'Ada');
      await page.goto(first.origin);
      await page.click('text=Sign out');
      await look(page, 'Sign out?');
      await page.click('text=Stay signed in');
      await page.waitForURL(`${first.origin}/`);
      await page.goto(`${latchkey.issuer}/account`);
      expect(await page.textContent('h1')).to.contain('Ada');
      await page.goto(`${latchkey.issuer}/identity/logout`);
      await page.click('[name=logout]');
      await look(page, 'You are signed out');
      await page.click('text=Sign in again');
      await look(page, 'Sign in');
    });
  });

  it('lets a person be somebody else, and cancel', async () => {
    const [ann, bob] = [await latchkey.person({ givenName: 'Ann' }), await latchkey.person({ givenName: 'Bob' })];
    const app = await startSampleApp('Orders');
    await visit({}, async (page) => {
      const begin = async (params: Record<string, string> = {}) => {
        app.ask(params);
        await page.goto(app.origin);
        await page.click('text=Sign in');
      };
      await begin();
      await page.click('text=Cancel and go back to Orders');
      await isBack(page, app, 'access_denied');

      await begin();
      await signIn(page, ann.email);
      await page.click('text=Not you?');
      expect(await page.inputValue('[name=email]')).to.equal('');
      await signIn(page, bob.email);
      await page.waitForSelector(`text=${bob.email}`);
      await choose(page, 'deny');
      await isBack(page, app, 'access_denied');
      await begin();
      expect(await page.textContent('.identity')).to.contain('Bob');
      await choose(page, 'allow');
      await isBack(page, app, bob.email);

      await begin({ prompt: 'select_account' });
      await look(page, 'Choose an account');
      await page.click(`text=${bob.email}`);
      await isBack(page, app, bob.email);

      await begin({ prompt: 'select_account' });
      await page.click('text=Use another account');
      await signIn(page, ann.email);
      await choose(page, 'allow');
      await isBack(page, app, ann.email);
      await begin();
      await isBack(page, app, ann.email);

      await begin({ prompt: 'login', login_hint: 'hint@example.com' });
      await look(page, 'Sign in to Orders');
      expect(await page.inputValue('[name=email]')).to.equal('hint@example.com');
    });
  });

  it('has room for names of any length', async () => {
    const person = await latchkey.person({
      givenName: 'Maximilian'.repeat(12),
      email: `${'long'.repeat(16)}@example.com`,
    });
    const app = await startSampleApp('Orders'.repeat(20));
    await visit({}, async (page) => {
      await page.goto(app.origin);
      await page.click('text=Sign in');
      await fits(page, 'Sign in to Orders');
      await signIn(page, person.email);
      await page.waitForSelector('[name=decision]');
      await fits(page, 'OrdersOrders');
      await page.goto(`${latchkey.issuer}/account`);
      await fits(page, 'Maximilian');
      app.ask({ prompt: 'select_account' });
      await page.goto(app.origin);
      await page.click('text=Sign in');
      await fits(page, 'Choose an account');
      await page.goto(`${latchkey.issuer}/identity/logout?client_id=${app.client.id}`);
      await fits(page, 'Sign out?');
    });
  });

  it('needs no JavaScript', async () => {
    const [ann, bob] = [await latchkey.person(), await latchkey.person()];
    const app = await startSampleApp('Orders');
    await visit({ javaScriptEnabled: false, viewport: PHONE }, async (page) => {
      await page.goto(app.origin);
      await page.click('text=Sign in');
      await signIn(page, ann.email, 'a wrong guess');
      expect(await page.textContent('[role=alert]')).to.contain('not right');
      await signIn(page, ann.email);
      await choose(page, 'allow');
      await isBack(page, app, ann.email);

      app.ask({ prompt: 'select_account' });
      await page.goto(app.origin);
      await page.click('text=Sign in');
      await page.click('text=Use another account');
      await signIn(page, bob.email);
      await choose(page, 'allow');
      await isBack(page, app, bob.email);

      app.ask({ response_mode: 'form_post' });
      await page.goto(app.origin);
      await page.click('text=Sign in');
      await page.click('button:has-text("Continue")');
      await isBack(page, app, bob.email, 'posted');

      await page.goto(app.origin);
      await page.click('text=Sign out');
      await page.click('[name=logout]');
      await page.waitForURL(`${app.origin}/`);
      await page.goto(`${latchkey.issuer}/account`);
      expect(await page.locator('[name=password]').count()).to.equal(1);
    });
  });

  it('needs no mouse, and shows where the keyboard is', async () => {
    const person = await latchkey.person();
    const app = await startSampleApp('Orders');
    await visit({}, async (page) => {
      /** Tab by Tab to what is called so. */
      const tabTo = async (name: string) => {
        for (let tabs = 0; tabs < 20; tabs++) {
          const focused = page.locator(':focus');
          const label = await focused.evaluate(
            (element) => element.textContent?.trim() || element.getAttribute('name'),
          );
          if (label === name) return expect(await isMarked(page), name).to.equal(true);
          await page.keyboard.press('Tab');
        }
        expect.fail(`${name} cannot be reached`);
      };
      await page.goto(app.origin);
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[name=email]:focus');
      expect(await isMarked(page), 'e-mail').to.equal(true);
      await page.keyboard.type(person.email);
      await page.keyboard.press('Tab');
      await page.keyboard.type(PASSWORD);
      await page.keyboard.press('Tab');
      expect(await page.textContent(':focus')).to.equal('Show');
      await page.keyboard.press('Enter');
      expect(await page.getAttribute('[name=password]', 'type')).to.equal('text');
      await tabTo('Sign in');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[name=decision]');
      await page.keyboard.press('Tab');
      await tabTo('Allow');
      await page.keyboard.press('Enter');
      await isBack(page, app, person.email);

      app.ask({ prompt: 'select_account' });
      await page.goto(app.origin);
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[name=account]');
      await page.keyboard.press('Tab');
      expect(await page.textContent(':focus')).to.contain(person.email);
      expect(await isMarked(page), 'account').to.equal(true);
      await page.keyboard.press('Enter');
      await isBack(page, app, person.email);

      await page.goto(`${latchkey.issuer}/identity/logout`);
      await tabTo('Sign out');
      await page.keyboard.press('Enter');
      await page.waitForSelector('text=You are signed out');
    });
  });

  /** Whether a person sees what has the focus. */
  function isMarked(page: Page): Promise<boolean> {
    return page.evaluate(`{
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(document.activeElement);
      (outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2) || boxShadow !== 'none';
    }`);
  }

  it('brings an answer to the app as a form, under our policy', async () => {
    const person = await latchkey.person();
    const app = await startSampleApp('Orders');
    app.ask({ response_mode: 'form_post' });
    await visit({}, async (page) => {
      await page.goto(app.origin);
      await page.click('text=Sign in');
      await signIn(page, person.email);
      await choose(page, 'allow');
      await isBack(page, app, person.email, 'posted');
      app.ask({ response_mode: 'form_post', prompt: 'none', scope: 'openid', max_age: '0' });
      await page.goto(app.origin);
      await page.click('text=Sign in');
      await isBack(page, app, 'login_required', 'posted');
    });
  });

  for (const [how, options, params] of [
    ['by what the browser asks for', { locale: 'fi-FI' }, {}],
    ['by what the app asks for', { locale: 'en-US' }, { ui_locales: 'sv fi' }],
  ] as const) {
    it(`is in Finnish ${how}, to its end`, async () => {
      const person = await latchkey.person();
      const app = await startSampleApp('Tilaukset');
      app.ask(params);
      await visit(options, async (page) => {
        const isFinnish = async (heading: string) => {
          await fits(page, heading);
          expect(await page.getAttribute('html', 'lang')).to.equal('fi');
        };
        await page.goto(app.origin);
        await page.click('text=Sign in');
        await isFinnish('Kirjaudu sovellukseen Tilaukset');
        await page.fill('[name=email]', person.email);
        await page.fill('[name=password]', 'väärä salasana');
        await page.click('button:has-text("Kirjaudu")');
        await page.waitForSelector('text=Kirjautuminen ei onnistunut');
        await isFinnish('Kirjaudu sovellukseen Tilaukset');
        await page.fill('[name=password]', PASSWORD);
        await page.click('button:has-text("Kirjaudu")');
        await page.waitForSelector('[name=decision]');
        await isFinnish('Tilaukset haluaa käyttää tiliäsi');
        await choose(page, 'allow');
        await isBack(page, app, person.email);
      });
    });
  }
});
