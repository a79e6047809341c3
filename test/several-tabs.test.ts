/** One person at the sign-in pages of several tabs, in a real browser. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import type { Browser, Page } from 'playwright-core';
import { onEachEngine, PASSWORD, startApp, type TestApp, type TestStore } from './support/app.ts';
import { launchChromium, openProfile } from './support/chromium.ts';
import { createFlows } from './support/flow.ts';

const TABS = 4;

onEachEngine((openStore) => {
  let browser: Browser;
  let store: TestStore;
  let app: TestApp;
  let server: Server;
  let origin: string;
  const told: string[] = [];

  before(async function begin() {
    this.timeout(30_000);
    store = await openStore();
    [browser, app] = await Promise.all([launchChromium(), startApp(store, { OUTBOUND_ALLOW: '127.0.0.0/8,::1/128' })]);
    server = createServer((request, response) => {
      if (request.method === 'POST') told.push(String(request.url));
      response.setHeader('Content-Type', 'text/html').end('<h1>the app</h1>');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    origin = `http://localhost:${(server.address() as AddressInfo).port}`;
  });
  after(async () => {
    server.close().closeAllConnections();
    await Promise.all([browser.close(), app.close()]);
    await store.remove();
  });

  it('signs in in all tabs at once, to one session, and signing out in one of them tells every app', async () => {
    const { id, email } = await app.person();
    const { context, problems } = await openProfile(browser);
    context.setDefaultTimeout(15_000);
    const paths = Array.from({ length: TABS }, (_, index) => `/${index}`);
    const urls = await Promise.all(
      paths.map(async (path) => {
        const redirectUris = [`${origin}${path}`];
        const client = await app.client({
          trusted: true,
          redirectUris,
          backchannelLogoutUri: `${origin}${path}/signed-out`,
        });
        return (await createFlows(app.issuer).start({ client })).url;
      }),
    );
    const pages = await Promise.all(urls.map(() => context.newPage()));
    await Promise.all(pages.map((page, index) => page.goto(String(urls[index]))));
    for (const page of pages) {
      await page.fill('[name=email]', email);
      await page.fill('[name=password]', PASSWORD);
    }
    await Promise.all(pages.map((page) => page.press('[name=password]', 'Enter')));
    await Promise.all(pages.map((page, index) => page.waitForURL(`${origin}${paths[index]}?code=**`)));
    expect(await app.directory.sessions.list(id)).to.have.length(1);

    const [page] = pages as [Page];
    await page.goto(`${app.issuer}/identity/logout`);
    await page.click('button[name=logout]');
    await page.waitForURL('**/identity/logout/success**');
    expect(await app.directory.sessions.list(id)).to.have.length(0);
    for (let look = 0; told.length < TABS && look < 100; look++)
      await new Promise((resolve) => setTimeout(resolve, 50));
    expect(told).to.have.members(paths.map((path) => `${path}/signed-out`));
    expect(problems).to.deep.equal([]);
    await context.close();
  }).timeout(60_000);
});
