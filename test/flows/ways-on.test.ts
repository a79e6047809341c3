/** Pages that say that something is not possible: each leads somewhere, and says what a person can do about it. */
import { mock } from 'node:test';
import { expect } from 'chai';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import type { Landing } from '../support/browser.ts';
import { createFlows, type Flows, formOf, titleOf, walk } from '../support/flow.ts';

const SITE = 'https://orders.example.com/';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let client: TestClient;
  let person: Awaited<ReturnType<TestApp['person']>>;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    [client, person] = [await app.client({ name: 'Orders', clientUri: SITE }), await app.person()];
  });
  afterEach(() => mock.timers.reset());
  after(async () => {
    await app.close();
    await store.remove();
  });

  /** The addresses that the page itself leads to. */
  function waysOn({ text }: Landing): string[] {
    const main = text.slice(text.indexOf('<main'));
    return [...main.matchAll(/<a [^>]*href="([^"]+)"/g)].map(([, href]) => String(href));
  }

  const expectWay = (landing: Landing, status: number, ...hrefs: string[]) => {
    expect(landing.response?.status, landing.url.href).to.equal(status);
    expect(waysOn(landing), landing.url.href).to.include.members(hrefs);
  };

  it('lead to the account, whatever was asked for', async () => {
    const visitor = flows.browser();
    const pages: Record<string, number> = {
      [`/interaction/${'A'.repeat(43)}`]: 400,
      '/nowhere': 404,
      '/setup?code=x': 403,
      '/sso/login?token=x': 400,
      '/sso/login': 400,
      '/identity/authorize': 400,
      '/identity/authorize?client_id=unknown': 400,
      [`/identity/authorize?client_id=${client.id}&redirect_uri=https://evil.example/`]: 400,
      [`/identity/authorize/${'A'.repeat(43)}`]: 400,
    };
    for (const [path, status] of Object.entries(pages)) expectWay(await visitor.open(path), status, '/account');
    await flows.authorize({ client, person, browser: visitor });
    expectWay(await visitor.open('/admin/accounts'), 403, '/account');
    expectWay(await visitor.open('/account/tokens/x/revoke'), 404, '/account');
  });

  it('lead to the app that sent the person, when it is known and has a site', async () => {
    expectWay(await flows.browser().open(`/identity/authorize?client_id=${client.id}`), 400, SITE, '/account');
    const elsewhere = await app.client({ name: 'Siteless' });
    const { url } = await flows.start({ client: elsewhere });
    const there = await flows.browser().open(url);
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 60_000 });
    expectWay(await flows.browser().open(there.url.href), 400, '/account');
  });

  it('name cookies as the cause where the browser does not keep them', async () => {
    const visitor = flows.browser();
    const { url } = await flows.start({ client });
    const sent = await visitor.request(url);
    const page = await flows.browser().open(String(sent.headers.get('location')));
    expectWay(page, 400, SITE, '/account');
    expect(titleOf(page.text)).to.equal('Your browser does not keep cookies');
    const finnish = await flows.browser().open(page.url.href, { headers: { 'accept-language': 'fi' } });
    expect(titleOf(finnish.text)).to.equal('Selaimesi ei säilytä evästeitä');
  });

  it('do not name cookies to another browser that comes later, nor after the back button', async () => {
    const visitor = flows.browser();
    const login = await visitor.open((await flows.start({ client })).url);
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 60_000 });
    const other = await flows.browser().open(login.url.href);
    expectWay(other, 400, SITE, '/account');
    expect(titleOf(other.text)).to.equal('This sign-in is over');
    await walk(visitor, login.url.href, person);
    const back = await visitor.open(login.url.href);
    expectWay(back, 400, '/account');
    expect(titleOf(back.text)).to.equal('This sign-in is over');
  });

  it('lead back to the question when a page that asks whether to sign out was left behind', async () => {
    const visitor = flows.browser();
    await flows.authorize({ client, person, browser: visitor });
    const { action, fields } = formOf((await visitor.open('/identity/logout')).text);
    await visitor.open('/identity/logout');
    expectWay(await visitor.submit(action, { ...fields, logout: 'yes' }), 400, '/identity/logout', '/account');
  });
});
