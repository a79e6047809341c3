/** What an app may do by its own word, decided in the administrator's console and felt at once by its server. */
import { randomUUID } from 'node:crypto';
import { AxeBuilder } from '@axe-core/playwright';
import { expect } from 'chai';
import type { Browser as Chromium, Page } from 'playwright-core';
import {
  embeddedStore,
  onEachEngine,
  PASSWORD,
  startApp,
  startProcess,
  type TestApp,
  type TestProcess,
  type TestStore,
} from './support/app.ts';
import { type Browser, createBrowser, type Landing } from './support/browser.ts';
import { launchChromium, openProfile } from './support/chromium.ts';
import { walk } from './support/flow.ts';
import { askAsPartner, loginPath, type Partner, ssoToken } from './support/partner.ts';

type Fields = Record<string, string | string[]>;

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let other: TestProcess;
  let admin: { id: string; email: string; password: string };
  let browser: Browser;

  before(async function start() {
    this.timeout(20_000);
    store = await openStore();
    app = await startApp(store);
    other = await startProcess(store, { ISSUER: app.issuer });
    admin = await app.person({ administrator: true });
    browser = await signedIn(admin);
    for (const id of ['acme', 'harbor']) await app.directory.organizations.create({ id, name: id });
    for (const name of ['orders', 'invoices', 'reports'])
      await app.directory.permissions.create({ name, description: `See your ${name}` });
  });
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await store.remove();
  });

  async function signedIn(person: { email: string; password: string }): Promise<Browser> {
    const fresh = createBrowser(app.issuer);
    await walk(fresh, `${app.issuer}/account`, person);
    return fresh;
  }

  function post(path: string, fields: Fields = {}, who = browser, headers: Record<string, string> = {}) {
    const pairs = Object.entries(fields).flatMap(([name, values]) => [values].flat().map((value) => [name, value]));
    return who.open(path, { method: 'POST', body: new URLSearchParams(pairs as [string, string][]), headers });
  }

  async function portal(organizationId = 'acme'): Promise<Partner> {
    return { ...(await app.client({ name: 'Portal', permissions: ['orders', 'invoices'] })), organizationId };
  }

  const usual: Fields = {
    organization: 'acme',
    permission: ['orders'],
    email_domains: 'acme.example\r\n\r\n ACME.test ',
    next_origins: 'https://portal.example\r\nhttp://localhost:4000/',
    creates_people: 'yes',
    rate_per_minute: '1000',
  };
  const at = ({ id }: Partner, path = '') => `/admin/apps/${id}/partner-sign-in${path}`;
  const statusOf = async (landing: Promise<Landing>) => (await landing).response?.status;
  const ceilingOf = async ({ id }: Partner) => (await app.directory.clients.get(id))?.sso;
  const somebody = (domain = 'acme.example') => ({ email: `${randomUUID()}@${domain}`, first_name: 'Pia' });
  const asks = async (partner: Partner, person: Record<string, string> = somebody()) =>
    (await askAsPartner(other.url, 'token', partner, person)).status;

  it('is allowed within the limits of the form, and felt at once on every process', async () => {
    const partner = await portal();
    expect(await asks(partner)).to.equal(401);
    const saved = await post(at(partner), usual);
    expect(saved.url.pathname).to.equal(`/admin/apps/${partner.id}`);
    expect(await ceilingOf(partner)).to.deep.equal({
      organizationIds: ['acme'],
      permissions: ['orders'],
      emailDomains: ['acme.example', 'acme.test'],
      nextOrigins: ['https://portal.example', 'http://localhost:4000'],
      createsPeople: true,
      ratePerMinute: 1000,
    });
    for (const shown of ['acme.example, acme.test', 'https://portal.example', 'See your orders', '/sso/token'])
      expect(saved.text).to.contain(shown);
    const form = (await browser.open(at(partner))).text;
    for (const filled of ['value="acme" checked', 'value="orders" checked', 'acme.test', 'http://localhost:4000'])
      expect(form).to.contain(filled);
    expect(form).not.to.contain('value="harbor" checked').and.not.to.contain('reports');

    const known = somebody();
    expect(await asks(partner, { ...known, permissions: 'orders' })).to.equal(200);
    expect(await asks(partner, { ...somebody(), permissions: 'invoices' })).to.equal(400);
    expect(await asks(partner, somebody('else.example'))).to.equal(403);
    expect(await asks({ ...partner, organizationId: 'harbor' })).to.equal(401);
    const token = await ssoToken(other.url, partner, known);
    const fresh = createBrowser(app.issuer);
    expect(await statusOf(fresh.open(loginPath(token, 'https://evil.example/')))).to.equal(400);
    expect(await statusOf(fresh.open(loginPath(token, 'https://portal.example/start')))).to.equal(200);

    await post(at(partner), { ...usual, creates_people: 'no', email_domains: '' });
    expect((await ceilingOf(partner))?.emailDomains).to.equal(undefined);
    expect(await asks(partner)).to.equal(403);
    await post(at(partner), { ...usual, rate_per_minute: '1' });
    expect(await asks(partner, known)).to.equal(429);
    const { events } = await app.directory.audit.list({ clientId: partner.id });
    expect(events.filter(({ type, actorId }) => type === 'app_changed' && actorId === admin.id)).to.have.length(3);
  });

  it('ends at once when it is taken away, also for who is on the way', async () => {
    const partner = await portal();
    await post(at(partner), usual);
    const person = somebody();
    const token = await ssoToken(other.url, partner, person);
    expect((await browser.open(at(partner, '/end'))).text).to.contain('Take the right away?');
    expect(await ceilingOf(partner)).not.to.equal(undefined);
    await post(at(partner, '/end'));
    expect(await ceilingOf(partner)).to.equal(undefined);
    expect(await asks(partner, person)).to.equal(401);
    expect((await askAsPartner(other.url, 'access-token', partner, person)).status).to.equal(401);
    const late = createBrowser(app.issuer, other.url);
    expect(await statusOf(late.open(loginPath(token)))).to.equal(400);
    expect(await statusOf(late.submit('/sso/login', { token }))).to.equal(400);
    expect((await late.open('/account')).text).to.contain('name="password"');
    expect((await browser.open(`/admin/apps/${partner.id}`)).text).to.contain('cannot sign anybody in by its own word');
  });

  it('is not allowed with anything wrong, and the field says what', async () => {
    const partner = await portal();
    await post(at(partner), usual);
    const before = await ceilingOf(partner);
    const wrong: [fields: Fields, field: string, text?: string][] = [
      [{ organization: [] }, 'organization'],
      [{ organization: 'nowhere' }, 'organization'],
      [{ organization: ['acme', 'nowhere'] }, 'organization'],
      [{ permission: 'reports' }, 'permission'],
      [{ permission: 'nothing' }, 'permission'],
      [{ permission: 'tokens' }, 'permission'],
      [{ email_domains: 'acme.example\n@acme.example' }, 'email_domains', '“@acme.example”'],
      [{ email_domains: '*.example' }, 'email_domains', '“*.example”'],
      [{ email_domains: Array.from({ length: 101 }, (_, n) => `d${n}.example`).join('\n') }, 'email_domains'],
      [{ next_origins: 'https://a.example/path' }, 'next_origins', '“https://a.example/path”'],
      [{ next_origins: 'http://a.example' }, 'next_origins'],
      [{ next_origins: 'javascript:alert(1)' }, 'next_origins'],
      [{ next_origins: '"><script>' }, 'next_origins', '&lt;script&gt;'],
      [{ next_origins: 'https://*.example' }, 'next_origins'],
      [{ rate_per_minute: '0' }, 'rate_per_minute'],
      [{ rate_per_minute: '' }, 'rate_per_minute'],
      [{ rate_per_minute: 'many' }, 'rate_per_minute'],
      [{ rate_per_minute: '1.5' }, 'rate_per_minute'],
    ];
    for (const [fields, field, named = ''] of wrong) {
      const { response, text } = await post(at(partner), { ...usual, ...fields });
      const found = [response?.status, text.includes(`id="${field}-problem"`), unquoted(text).includes(named)];
      expect(found, JSON.stringify(fields)).to.deep.equal([400, true, true]);
      expect(text).not.to.contain('<script>');
    }
    expect(await statusOf(post(at(partner), { ...usual, creates_people: 'maybe' }))).to.equal(400);
    expect(await ceilingOf(partner)).to.deep.equal(before);
  });

  it('is nothing for an app without a secret, which a partner cannot become', async () => {
    const spa: Partner = { ...(await app.client({ public: true })), organizationId: 'acme' };
    expect((await browser.open(at(spa))).text)
      .to.contain('Only an app on a server')
      .and.not.to.contain('<form method');
    expect(await statusOf(post(at(spa), { ...usual, permission: [] }))).to.equal(400);
    expect(await ceilingOf(spa)).to.equal(undefined);

    const partner = await portal();
    await post(at(partner), usual);
    const changed = await post(`/admin/apps/${partner.id}/edit`, {
      name: 'Portal',
      runs: 'device',
      redirect_uris: partner.redirectUri,
    });
    expect(changed.response?.status).to.equal(400);
    expect(changed.text).to.contain('id="sso-problem"');
    expect((await app.directory.clients.get(partner.id))?.public).to.equal(false);
    await post(`/admin/apps/${partner.id}/edit`, { name: 'Renamed', redirect_uris: partner.redirectUri });
    expect((await ceilingOf(partner))?.organizationIds).to.deep.equal(['acme']);
  });

  it('is for administrators on our own pages', async () => {
    const partner = await portal();
    await post(at(partner), usual);
    const before = await ceilingOf(partner);
    const nobody = await signedIn(await app.person());
    for (const path of [at(partner), at(partner, '/end')]) {
      expect(await statusOf(nobody.open(path)), path).to.equal(403);
      expect(await statusOf(post(path, usual, nobody)), path).to.equal(403);
      const strangers: Record<string, string>[] = [
        { origin: 'https://evil.example' },
        { 'sec-fetch-site': 'cross-site' },
      ];
      for (const headers of strangers)
        expect(await statusOf(post(path, { ...usual, creates_people: 'no' }, browser, headers)), path).to.equal(403);
      expect((await post(path, usual, createBrowser(app.issuer))).text).to.contain('name="password"');
    }
    expect(await ceilingOf(partner)).to.deep.equal(before);
    for (const path of ['', '/end']) {
      const none = `/admin/apps/none/partner-sign-in${path}`;
      expect(await statusOf(browser.open(none))).to.equal(404);
      expect(await statusOf(post(none, usual))).to.equal(404);
    }
  });
});

describe('partner sign-in in the administrator’s browser', function pages() {
  this.timeout(30_000);
  let chromium: Chromium;
  let store: TestStore;
  let app: TestApp;

  before(async () => {
    store = await embeddedStore();
    [chromium, app] = await Promise.all([launchChromium(), startApp(store)]);
    for (let n = 0; n < 12; n++)
      await app.directory.organizations.create({ id: `customer-${n}`, name: `Customer number ${n}` });
    await app.directory.permissions.create({ name: 'orders', description: 'See your orders' });
  });
  after(async () => {
    await Promise.all([chromium.close(), app.close()]);
    await store.remove();
  });

  async function look(page: Page, heading: string): Promise<void> {
    await page.locator('h1', { hasText: heading }).waitFor();
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze();
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
      expect(found, `${heading}, ${colorScheme}`).to.deep.equal([]);
    }
    for (const width of [360, 1280]) {
      await page.setViewportSize({ width, height: 740 });
      const over = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
      expect(over, `${heading} at ${width}`).to.equal(0);
    }
  }

  for (const javaScriptEnabled of [true, false]) {
    it(`leads from allowing it to taking it away ${javaScriptEnabled ? 'with' : 'without'} scripts`, async () => {
      const admin = await app.person({ administrator: true });
      const client = await app.client({ name: 'Portal', permissions: ['orders'] });
      const { context, problems } = await openProfile(chromium, { javaScriptEnabled });
      const page = await context.newPage();
      page.setDefaultTimeout(5_000);
      const submit = () => page.click('form[method=post] .button--primary');
      const seen = (heading: string) =>
        javaScriptEnabled ? look(page, heading) : page.locator('h1', { hasText: heading }).waitFor();
      await page.goto(`${app.issuer}/admin/apps/${client.id}`);
      await page.fill('#email', admin.email);
      await page.fill('#password', PASSWORD);
      await page.click('.button--primary');
      await page.click('a[href$="/partner-sign-in"]');
      await seen('Partner sign-in');
      await page.fill('#next_origins', 'portal.example');
      await submit();
      await page.locator('#organization-problem').waitFor();
      await page.locator('#next_origins-problem').waitFor();
      await seen('Partner sign-in');
      await page.check('[value=customer-7]');
      await page.check('[value=orders]');
      await page.fill('#next_origins', `https://${'portal.'.repeat(20)}example`);
      await submit();
      await page.getByText('The limits were saved').waitFor();
      await seen('Portal');
      await page.click('text=Take the right away');
      await seen('Take the right away?');
      await page.click('.button--danger');
      await page.getByText('signs nobody in by its own word any more').waitFor();
      await context.close();
      expect(problems.filter((problem) => !/status of 4/.test(problem))).to.deep.equal([]);
    });
  }
});

function unquoted(text: string): string {
  return text.replaceAll('&#34;', '"').replaceAll('&#39;', "'");
}
