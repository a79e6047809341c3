/** What browsers, robots and password managers ask for by addresses of their own, and cookies among several instances of one host. */
import { expect } from 'chai';
import { embeddedStore, startApp, type TestApp, type TestStore } from './support/app.ts';
import { createFlows, walk } from './support/flow.ts';

describe('addresses that nobody has to be told', () => {
  let store: TestStore;
  let app: TestApp;

  before(async () => {
    store = await embeddedStore();
    app = await startApp(store);
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  it('lead password managers to the page that changes a password, by way of signing in', async () => {
    const response = await fetch(`${app.issuer}/.well-known/change-password`, { redirect: 'manual' });
    expect([response.status, response.headers.get('location')]).to.deep.equal([302, '/account/security']);
    const person = await app.person();
    const browser = createFlows(app.issuer).browser();
    const landing = await walk(browser, `${app.issuer}/.well-known/change-password`, person);
    expect(landing.url.pathname).to.equal('/account/security');
    expect(landing.text).to.contain('autocomplete="new-password"');
    const nothing = '/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200';
    expect((await fetch(`${app.issuer}${nothing}`)).status).to.equal(404);
  });

  it('have icons in the formats that are asked for', async () => {
    const png = [0x89, 0x50, 0x4e, 0x47];
    const names = ['', '-precomposed', '-120x120', '-152x152-precomposed'].map((more) => `apple-touch-icon${more}.png`);
    for (const [name, type, start] of [
      ['favicon.ico', /^image\/(x-icon|vnd\.microsoft\.icon)/, [0, 0, 1, 0]],
      ...names.map((name) => [name, /^image\/png/, png] as const),
    ] as const) {
      for (const method of ['GET', 'HEAD']) {
        const response = await fetch(`${app.issuer}/${name}`, { method });
        expect(response.status, name).to.equal(200);
        expect(response.headers.get('content-type'), name).to.match(type);
        const bytes = new Uint8Array(await response.arrayBuffer());
        if (method === 'GET') expect([...bytes.slice(0, 4)], name).to.deep.equal(start);
      }
    }
  });

  it('tell robots that there is nothing for them', async () => {
    const response = await fetch(`${app.issuer}/robots.txt`);
    expect(response.headers.get('content-type')).to.match(/^text\/plain/);
    expect(await response.text()).to.equal('User-agent: *\nDisallow: /\n');
  });
});

describe('two instances on one host', () => {
  it('keep the same browser signed in to both, and their cookies under names of their own', async () => {
    const stores = [await embeddedStore(), await embeddedStore()];
    const apps = await Promise.all(stores.map((store) => startApp(store)));
    // One jar for the host, as browsers have it: ports make no difference.
    let jar: { name: string; value: string }[] = [];
    for (const app of apps) {
      const person = await app.person();
      const browser = createFlows(app.issuer).browser();
      await walk(browser, `${app.issuer}/account`, person);
      const names = browser.cookies().map(({ name }) => name);
      expect(jar.filter(({ name }) => names.includes(name))).to.deep.equal([]);
      jar = [...jar, ...browser.cookies()];
    }
    for (const app of apps) {
      const response = await fetch(`${app.issuer}/account`, {
        redirect: 'manual',
        headers: { accept: 'text/html', cookie: jar.map(({ name, value }) => `${name}=${value}`).join('; ') },
      });
      expect(response.status).to.equal(200);
      const dropped = response.headers.getSetCookie().filter((line) => /expires=Thu, 01 Jan 1970/i.test(line));
      expect(dropped).to.deep.equal([]);
    }
    for (const app of apps) await app.close();
    for (const store of stores) await store.remove();
  });
});
