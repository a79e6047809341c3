/** A form that arrives when its sender has to show anew who they are: nothing of it is done, and nothing of it is lost. */
import { readdirSync, readFileSync } from 'node:fs';
import { mock } from 'node:test';
import { expect } from 'chai';
import { onEachEngine, PASSWORD, startApp, type TestApp, type TestStore } from '../support/app.ts';
import type { Browser, Landing } from '../support/browser.ts';
import { createFlows, type Flows } from '../support/flow.ts';

const MINUTE = 60 * 1000;
const SECRET = 'a secret that nobody else knows';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let admin: Awaited<ReturnType<TestApp['person']>>;
  let clientId: string;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    admin = await app.person({ administrator: true, permissions: [] });
    clientId = (await app.client({ name: 'Orders' })).id;
    await app.directory.organizations.create({ name: 'Wonka' });
    await app.directory.identityProviders.create({ id: 'google', kind: 'google', clientId: 'x' });
    await app.directory.permissions.create({ name: 'orders', description: 'See orders' });
    await app.directory.accounts.update(admin.id, { permissions: ['orders'] });
  });
  afterEach(() => mock.timers.reset());
  after(async () => {
    await app.close();
    await store.remove();
  });

  /** In a browser in which they signed in too long ago for what they want to do. */
  async function signedInLongAgo(person = admin): Promise<Browser> {
    const browser = flows.browser();
    await flows.authorize({ client: await app.client({ trusted: true }), person, browser });
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 31 * MINUTE });
    return browser;
  }

  const send = (browser: Browser, path: string, fields: Record<string, string | string[]>) =>
    browser.open(path, {
      method: 'POST',
      body: new URLSearchParams(
        Object.entries(fields).flatMap(([name, value]) => [value].flat().map((one): [string, string] => [name, one])),
      ),
    });

  const signIn = (browser: Browser, { url }: Landing, { email } = admin) =>
    browser.submit(url.pathname, { email, password: PASSWORD });

  /** What is typed, chosen and ticked in a field of this name. */
  function valuesIn({ text }: Landing, field: string): string[] {
    const main = text.slice(text.indexOf('<main'));
    const inputs = [...main.matchAll(/<input\b[^>]*>/g)]
      .map(([tag]) => tag)
      .filter((tag) => tag.includes(` name="${field}"`));
    const filled = inputs.filter((tag) => !/type="(radio|checkbox)"/.test(tag) || / checked/.test(tag));
    const [, written = ''] = new RegExp(`<textarea[^>]* name="${field}"[^>]*>([^<]*)`).exec(main) ?? [];
    const [, options = ''] = new RegExp(`<select[^>]* name="${field}"[^>]*>(.*?)</select>`, 's').exec(main) ?? [];
    const [, chosen] = /value="([^"]*)" selected/.exec(options) ?? [];
    return [...filled.map((tag) => /value="([^"]*)"/.exec(tag)?.[1] ?? ''), written.trim(), chosen ?? ''].filter(
      Boolean,
    );
  }

  const forms: Record<string, Record<string, string | string[]>> = {
    '/account/tokens/new': { description: 'Backup', expires_in: '2592000', access: 'some', permission: 'orders' },
    '/admin/apps/new': {
      name: 'Shop',
      description: 'Sells things',
      redirect_uris: 'https://shop.example.com/cb',
      runs: 'device',
      use: ['implicit'],
      permission: ['orders', 'tokens'],
    },
    '/admin/apps/:app/edit': { name: 'Orders of today', redirect_uris: 'not yet right', runs: 'server' },
    '/admin/apps/:app/partner-sign-in': { email_domains: 'example.org', rate_per_minute: '7', creates_people: 'yes' },
    '/admin/apps/:app/tokens/new': { provider_client_ids: 'one two' },
    '/admin/apps/:app/try': { scope: ['openid', 'phone'], asks_again: 'yes' },
    '/admin/accounts/new': { email: 'new@example.com', given_name: 'New', status: 'pending', permission: ['orders'] },
    '/admin/accounts/:account/edit': { given_name: 'Ada', family_name: 'Lovelace' },
    '/admin/organizations/new': { id: 'acme', name: 'Acme' },
    '/admin/permissions/new': { name: 'bills', description: 'See bills' },
    '/admin/permissions/orders/edit': { description: 'See all orders' },
    '/admin/identity-providers/new': { id: 'corp', kind: 'oidc', name: 'Corp', issuer: 'https://id.example.com' },
  };
  const pathOf = (path: string) => path.replace(':app', clientId).replace(':account', admin.id);

  for (const [path, fields] of Object.entries(forms))
    it(`of ${path} comes back filled after the sign-in, without secrets, and is done when it is sent again`, async () => {
      const browser = await signedInLongAgo();
      const asked = await send(browser, pathOf(path), { ...fields, password: SECRET, client_secret: SECRET });
      expect(asked.text).to.contain('name="password"');
      const back = await signIn(browser, asked);
      expect(back.url.pathname).to.equal(pathOf(path));
      for (const [field, value] of Object.entries(fields))
        expect(valuesIn(back, field), field).to.have.members([value].flat());
      expect(back.text).to.contain('role="status"').and.not.to.contain(SECRET);
      // Once.
      expect((await browser.open(pathOf(path))).text).not.to.contain('role="status"');
    });

  it('is sent by nobody but the person', async () => {
    const browser = await signedInLongAgo();
    const names = async () => (await app.directory.organizations.list({})).organizations.map(({ name }) => name);
    const back = await signIn(browser, await send(browser, '/admin/organizations/new', { name: 'Globex' }));
    expect(await names()).not.to.include('Globex');
    const [, form = ''] = /name="form" value="([^"]+)"/.exec(back.text) ?? [];
    await send(browser, '/admin/organizations/new', { form, name: String(valuesIn(back, 'name')) });
    expect(await names()).to.include('Globex');
  });

  it('is shown to nobody who signs in instead, nor in another browser, nor on another page', async () => {
    const browser = await signedInLongAgo();
    const asked = await send(browser, '/admin/organizations/new', { name: 'Initech' });
    const elsewhere = flows.browser();
    const isKept = async (who: Browser, page: string) => {
      await flows.authorize({ client: await app.client({ trusted: true }), person: admin, browser: who });
      return (await who.open(page)).text.includes('Initech');
    };
    expect(await isKept(elsewhere, '/admin/organizations/new')).to.equal(false);
    expect(await isKept(browser, '/admin/permissions/new')).to.equal(false);
    const other = await app.person({ administrator: true });
    const landing = await signIn(browser, asked, other);
    expect(landing.text).not.to.contain('Initech');
  });

  it('is forgotten after a while', async () => {
    const browser = await signedInLongAgo();
    const asked = await send(browser, '/admin/organizations/new', { name: 'Umbrella' });
    mock.timers.tick(16 * MINUTE);
    expect((await signIn(browser, asked)).text).not.to.contain('Umbrella');
  });

  it('that another site has sent is not kept', async () => {
    const browser = await signedInLongAgo();
    const body = new URLSearchParams({ name: 'Evil' });
    const headers = { origin: 'https://evil.example' };
    const refused = await browser.open('/admin/organizations/new', { method: 'POST', body, headers });
    expect(refused.response?.status).to.equal(403);
    const back = await signIn(browser, await browser.open('/admin/organizations/new'));
    expect(back.url.pathname).to.equal('/admin/organizations/new');
    expect(back.text).not.to.contain('Evil');
  });
});

describe('what is never kept of a form', () => {
  it('is every field that hides what is typed', () => {
    const kept = readFileSync('src/console/kept-forms.ts', 'utf8');
    const views = readdirSync('views', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ejs'));
    const hidden = views.flatMap((file) =>
      [...readFileSync(`views/${file}`, 'utf8').matchAll(/<input[^>]* name="(\w+)"[^>]* type="password"/g)].map(
        ([, name]) => String(name),
      ),
    );
    expect(new Set(hidden)).to.include('password');
    for (const name of new Set(hidden)) expect(kept, name).to.contain(`'${name}'`);
  });
});
