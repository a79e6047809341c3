import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import type { Browser, Page } from 'playwright-core';
import { onEachEngine, startApp, type TestApp, type TestStore } from './support/app.ts';
import { launchChromium, openProfile } from './support/chromium.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let chromium: Browser;
  let elsewhere: Server;
  let page: Page;

  before(async () => {
    store = await openStore();
    [app, chromium] = await Promise.all([startApp(store), launchChromium()]);
    elsewhere = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html').end('<!doctype html><title>An app</title>');
    });
    elsewhere.listen(0, '127.0.0.1');
    await once(elsewhere, 'listening');
    page = await (await openProfile(chromium)).context.newPage();
  });
  after(async () => {
    await chromium.close();
    elsewhere.closeAllConnections();
    elsewhere.close();
    await app.close();
    await store.remove();
  });

  /** The same site as ours, on another port: what cookies come along, and origins differ. */
  const appPage = () => `http://localhost:${(elsewhere.address() as AddressInfo).port}/`;

  async function makeToken() {
    const person = await app.person();
    const account = await app.directory.accounts.getOrFail(person.id);
    const { token } = await app.directory.personalTokens.create(account, { description: 'a page' });
    return { token, person };
  }

  interface Asked {
    path: string;
    init?: {
      method?: string;
      headers?: Record<string, string>;
      body?: string;
      credentials?: 'include' | 'same-origin' | 'omit';
    };
  }

  /** What a script of that page gets to see. */
  const ask = ({ path, init = {} }: Asked) =>
    page.evaluate(
      async ([url, options]) =>
        fetch(url, options).then(
          async (response) => ({
            status: response.status,
            challenge: response.headers.get('www-authenticate'),
            wait: response.headers.get('retry-after'),
            text: await response.text(),
          }),
          (error: Error) => ({ status: 0, challenge: null, wait: null, text: String(error) }),
        ),
      [app.issuer + path, init] as const,
    );

  it('lets a page of anywhere call the API with the token that it holds, and read why not', async () => {
    const { token, person } = await makeToken();
    await page.goto(appPage());
    const headers = { authorization: `Bearer ${token}` };
    const me = await ask({ path: '/api/me', init: { headers } });
    expect(me.status, me.text).to.equal(200);
    expect(JSON.parse(me.text)).to.include({ sub: person.id });
    expect((await ask({ path: '/api/tokens/self', init: { headers } })).status).to.equal(200);
    expect((await ask({ path: '/api/openapi.json' })).status).to.equal(200);
    expect((await ask({ path: '/api/nothing', init: { headers } })).status).to.equal(404);

    const refused = await ask({ path: '/api/me', init: { headers: { authorization: 'Bearer x' } } });
    expect(refused.status).to.equal(401);
    expect(refused.challenge).to.match(/^Bearer realm=/);
    const json = { ...headers, 'content-type': 'application/json' };
    const forbidden = await ask({ path: '/api/tokens', init: { method: 'POST', headers: json, body: '{}' } });
    expect(forbidden.status).to.equal(403);
    const malformed = { method: 'POST', headers: { ...json, 'content-type': 'application/json; charset=utf-7' } };
    expect((await ask({ path: '/api/tokens', init: { ...malformed, body: '{}' } })).status).to.equal(415);
    expect((await ask({ path: '/api/tokens/self', init: { method: 'DELETE', headers } })).status).to.equal(204);
  });

  it('lets no page of elsewhere use the session of the browser', async () => {
    const { person } = await makeToken();
    await page.goto(`${app.issuer}/account`);
    await page.fill('[name="email"]', person.email);
    await page.fill('[name="password"]', person.password);
    await page.click(
      'form:has([name="password"]) button[type="submit"], form:has([name="password"]) button:not([type])',
    );
    await page.waitForURL(/\/account/);
    const own = await ask({ path: '/api/tokens', init: { credentials: 'include' } });
    expect(own.status).to.equal(200);

    await page.goto(appPage());
    for (const credentials of ['include', 'same-origin', 'omit'] as const) {
      const read = await ask({ path: '/api/tokens', init: { credentials } });
      expect(read.status, credentials).to.be.oneOf([0, 401]);
      expect(read.text).not.to.contain('a page');
      const headers = { 'content-type': 'application/json' };
      const body = JSON.stringify({ description: 'stolen' });
      const write = await ask({ path: '/api/tokens', init: { method: 'POST', credentials, headers, body } });
      expect(write.status, credentials).to.be.oneOf([0, 401, 403]);
    }
    const left = await app.directory.personalTokens.list(person.id);
    expect(left.map(({ description }) => description)).to.deep.equal(['a page']);
  });

  it('answers a preflight of any path of the API without a word of cookies, and of nothing else', async () => {
    const preflight = (path: string, method = 'GET') =>
      fetch(app.issuer + path, {
        method: 'OPTIONS',
        headers: {
          origin: 'https://spa.example',
          'access-control-request-method': method,
          'access-control-request-headers': 'authorization,content-type',
        },
      });
    for (const [path, method] of [
      ['/api/me', 'GET'],
      ['/api/tokens', 'POST'],
      ['/api/tokens/self', 'DELETE'],
    ] as const) {
      const { status, headers } = await preflight(path, method);
      expect(status).to.equal(204);
      expect(headers.get('access-control-allow-origin')).to.equal('*');
      expect(headers.get('access-control-allow-headers')?.toLowerCase()).to.contain('authorization');
      expect(headers.get('access-control-allow-methods')).to.contain(method);
      expect(headers.has('access-control-allow-credentials')).to.equal(false);
    }
    for (const path of ['/rest/token', '/sso/token', '/admin', '/account', '/identity/introspect/feed', '/apiary']) {
      expect((await preflight(path)).headers.has('access-control-allow-origin'), path).to.equal(false);
    }
  });

  it('lets the page of an app read its userinfo, and why not', async () => {
    const origin = appPage().slice(0, -1);
    await app.client({ redirectUris: [`${origin}/callback`], public: true });
    await page.goto(appPage());
    const refused = await ask({ path: '/identity/userinfo', init: { headers: { authorization: 'Token x' } } });
    expect(refused.status).to.equal(401);
    expect(refused.challenge).to.match(/^Bearer/);
  });

  it('lets the page of any app read that it has to wait, and for how long', async () => {
    await page.goto(appPage());
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const refused = { method: 'POST', headers, body: 'grant_type=authorization_code&code=x&client_id=unknown' };
    for (let n = 0; n < 100; n++) await fetch(`${app.issuer}/identity/token`, refused);
    const answer = await ask({ path: '/identity/token', init: refused });
    expect(answer.status, answer.text).to.equal(429);
    expect(Number(answer.wait)).to.be.within(1, 60);
    expect(JSON.parse(answer.text)).to.include({ error: 'too_many_requests' });
  });
});
