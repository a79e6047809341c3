/** How a partner's user arrives, in a real browser: what they see on the way, and what the partner's page gets to know. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AxeBuilder } from '@axe-core/playwright';
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core';
import { embeddedStore, startApp, type TestApp, type TestStore } from './support/app.ts';
import { launchChromium, openProfile } from './support/chromium.ts';
import { loginPath, type Partner, partnerApp, ssoToken } from './support/partner.ts';

const SIZES = { phone: { width: 390, height: 780 }, desktop: { width: 1280, height: 860 } };
const UMA = { email: 'uma@partner.example', first_name: 'Uma', last_name: 'User' };
const SID = { email: 'sid@partner.example', first_name: 'Sid', last_name: 'Second' };

describe('the way in from a partner', function journey() {
  this.timeout(20_000);

  let browser: Browser;
  let store: TestStore;
  let latchkey: TestApp;
  let partner: Partner;
  /** The partner's site: a site of its own to the browser, as it is by another name. */
  let site: Server;
  let origin: string;
  /** What the partner's page shows, by path, and the headers with which its visitors came there. */
  const pages: Record<string, string> = {};
  const visits: { url: string; headers: IncomingHttpHeaders }[] = [];

  before(async () => {
    store = await embeddedStore();
    [browser, latchkey] = await Promise.all([launchChromium(), startApp(store)]);
    site = createServer(({ url = '', headers }, response) => {
      visits.push({ url, headers });
      const { pathname } = new URL(url, origin);
      response.setHeader('Content-Type', 'text/html');
      response.end(
        `<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>Portal</title>${pages[pathname] ?? ''}`,
      );
    });
    site.listen(0, '127.0.0.1');
    await once(site, 'listening');
    origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
    partner = await partnerApp(latchkey.directory, { redirectUris: [`${origin}/callback`], implicit: true });
  });
  after(async () => {
    site.close().closeAllConnections();
    await Promise.all([browser.close(), latchkey.close()]);
    await store.remove();
  });

  /** Somebody with a browser of their own; when they leave, nothing may have gone wrong in it. */
  async function visit(
    walk: (page: Page, context: BrowserContext) => Promise<void>,
    { script = true, ...options }: BrowserContextOptions & { script?: boolean } = {},
  ): Promise<void> {
    const { context, problems } = await openProfile(browser, options);
    if (!script)
      await context.route('**/forms.js*', (route) => route.fulfill({ contentType: 'text/javascript', body: '' }));
    const page = await context.newPage();
    page.setDefaultTimeout(5_000);
    await walk(page, context);
    await context.close();
    expect(problems).to.deep.equal([]);
  }

  /** Anybody can use the page as it is now: light and dark, on a phone and a desktop. */
  async function look(page: Page, heading: string): Promise<void> {
    await page.locator('h1', { hasText: heading }).waitFor();
    for (const size of Object.values(SIZES)) {
      await page.setViewportSize(size);
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze();
        const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
        expect(found, `${size.width}, ${colorScheme}`).to.deep.equal([]);
      }
      expect(await page.evaluate('document.documentElement.scrollWidth')).to.be.at.most(size.width);
    }
  }

  const authorizeUrl = (params: Record<string, string>) =>
    `${latchkey.issuer}/identity/authorize?${new URLSearchParams({
      client_id: partner.id,
      redirect_uri: `${origin}/callback`,
      response_type: 'id_token',
      scope: 'openid email',
      nonce: 'a nonce',
      ...params,
    })}`;

  async function linkFor(person: Record<string, string>): Promise<{ token: string; link: string }> {
    const token = await ssoToken(latchkey.issuer, partner, person);
    return { token, link: latchkey.issuer + loginPath(token, `${origin}/welcome`) };
  }

  const linkTo = (url: string) => `<a href="${url.replaceAll('&', '&amp;')}">Go</a>`;
  const emailAt = (page: Page) =>
    decodeJwt(String(new URLSearchParams(new URL(page.url()).hash.slice(1)).get('id_token'))).email;

  it('leads through a page that posts itself, and tells nobody the token', () =>
    visit(async (page) => {
      const { token, link } = await linkFor(UMA);
      pages['/'] = linkTo(link);
      pages['/welcome'] = linkTo(authorizeUrl({ prompt: 'none' }));
      visits.length = 0;
      await page.goto(origin);
      await page.click('text=Go');
      await page.waitForURL(`${origin}/welcome`);
      await page.click('text=Go');
      await page.waitForURL(`${origin}/callback#**`);
      expect(emailAt(page)).to.equal(UMA.email);
      expect(visits.map(({ url }) => url)).to.deep.equal(['/', '/welcome', '/callback']);
      for (const { headers } of visits.slice(1)) expect(JSON.stringify(headers)).not.to.contain(token);
      // Of the pages on the way no more than whose they are: a form of ours led to the first, the partner's link to the second.
      expect(visits.slice(1).map(({ headers }) => headers.referer)).to.deep.equal([
        `${latchkey.issuer}/`,
        `${origin}/`,
      ]);
      // The way back does not lead through the link again.
      await page.goto(`${origin}/welcome`);
      await page.goBack();
      await page.goBack();
      await page.goBack();
      expect(page.url()).to.equal(`${origin}/`);
    }));

  it('leads on by a button where scripts do not run', async () => {
    const { link } = await linkFor(UMA);
    pages['/welcome'] = '<h1>Welcome</h1>';
    await visit(
      async (page) => {
        await page.goto(link);
        await page.click('text=Continue');
        await page.waitForURL(`${origin}/welcome`);
      },
      { javaScriptEnabled: false },
    );
    const { link: another } = await linkFor(UMA);
    await visit(
      async (page) => {
        await page.goto(another);
        await look(page, 'Acme Portal signs you in');
      },
      { script: false },
    );
  });

  it('asks whoever is signed in already, who may stay or go', () =>
    visit(async (page) => {
      pages['/welcome'] = '<h1>Welcome</h1>';
      await page.goto((await linkFor(UMA)).link);
      await page.waitForURL(`${origin}/welcome`);

      await page.goto((await linkFor(SID)).link);
      await look(page, 'Switch account?');
      expect(await page.textContent('main'))
        .to.contain(UMA.email)
        .and.contain(SID.email);
      await page.click('text=Stay as Uma User');
      await page.waitForURL(`${latchkey.issuer}/account`);
      expect(await page.textContent('body')).to.contain(UMA.email);

      await page.goto((await linkFor(SID)).link);
      await page.click('text=Continue as Sid Second');
      await page.waitForURL(`${origin}/welcome`);
      await page.goto(authorizeUrl({ prompt: 'none' }));
      await page.waitForURL(`${origin}/callback#**`);
      expect(emailAt(page)).to.equal(SID.email);
    }));

  it('is one step with the authorization request, by a link or by a form', () =>
    visit(async (page) => {
      const arrives = async () => {
        await page.goto(origin);
        await page.click('text=Go');
        await page.waitForURL(`${origin}/callback#**`);
        return emailAt(page);
      };
      pages['/'] = linkTo(authorizeUrl({ sso_token: (await linkFor(UMA)).token }));
      expect(await arrives()).to.equal(UMA.email);

      const url = new URL(authorizeUrl({ sso_token: (await linkFor(UMA)).token }));
      const inputs = [...url.searchParams].map(
        ([name, value]) => `<input type="hidden" name="${name}" value="${value}">`,
      );
      pages['/'] =
        `<form method="post" action="${url.origin}${url.pathname}">${inputs.join('')}<button>Go</button></form>`;
      expect(await arrives()).to.equal(UMA.email);
    }));

  it('works in a frame of the partner’s page, where no cookie of ours is sent', () =>
    visit(async (page, context) => {
      const { token } = await linkFor(UMA);
      pages['/frame'] =
        `<iframe src="${authorizeUrl({ sso_token: token, prompt: 'none' }).replaceAll('&', '&amp;')}"></iframe>`;
      await page.goto(`${origin}/frame`);
      const frame = page.frames().find((each) => each.parentFrame());
      await frame?.waitForURL(`${origin}/callback#**`);
      const answer = new URLSearchParams(new URL(String(frame?.url())).hash.slice(1));
      expect(decodeJwt(String(answer.get('id_token'))).email).to.equal(UMA.email);
      expect(await context.cookies(latchkey.issuer), 'nobody is signed in by a frame').to.deep.equal([]);
    }));
});
