/** Organizations and permissions in the administrator's console. */
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
import { createFlows, formOf, walk } from './support/flow.ts';

type Fields = Record<string, string>;

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
  });
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await store.remove();
  });

  async function signedIn(person: { email: string; password: string }, origin = app.issuer): Promise<Browser> {
    const fresh = createBrowser(app.issuer, origin);
    await walk(fresh, `${app.issuer}/account`, person);
    return fresh;
  }

  async function send(path: string, fields: Fields): Promise<Landing> {
    const { fields: hidden } = formIn((await browser.open(path)).text);
    return browser.submit(path, { form: String(hidden.form), ...fields });
  }

  const statusOf = async (landing: Promise<Landing>) => (await landing).response?.status;
  const everyOrganization = async () => (await app.directory.organizations.list({ limit: 1000 })).organizations;

  it('an account that is disabled loses its tokens for good: both pages say so, and how many', async () => {
    const { accounts, personalTokens } = app.directory;
    const { id } = await app.person();
    const made = await Promise.all(
      ['one', 'two'].map(async (description) => personalTokens.create(await accounts.getOrFail(id), { description })),
    );
    const working = async (origin: string) =>
      Promise.all(
        made.map(
          async ({ token }) => (await fetch(`${origin}/verify`, { headers: { authorization: `Token ${token}` } })).ok,
        ),
      );
    expect(await working(other.url)).to.deep.equal([true, true]);

    const path = `/admin/accounts/${id}`;
    expect((await browser.open(`${path}/disable`)).text)
      .to.contain('nothing of this comes back')
      .and.match(/API tokens that end<\/dt><dd>2</);
    await browser.submit(`${path}/disable`, {});
    expect((await browser.open(`${path}/enable`)).text)
      .to.contain('Nothing from before comes back')
      .and.match(/API tokens that stay ended<\/dt><dd>2</);
    await browser.submit(`${path}/enable`, {});
    expect((await accounts.getOrFail(id)).status).to.equal('active');
    expect([...(await working(app.issuer)), ...(await working(other.url))]).to.deep.equal([false, false, false, false]);
    expect(await personalTokens.list(id)).to.deep.equal([]);
  });

  it('an organization is made, found and renamed, and its people tell so at once', async () => {
    const made = await send('/admin/organizations/new', { name: ' Harbor & Sons ', id: 'harbor' });
    expect(made.url.pathname).to.equal('/admin/organizations');
    expect(made.text).to.contain('Harbor &amp; Sons').and.contain('The organization was made');
    await send('/admin/organizations/new', { name: 'Without an ID' });
    const found = (await browser.open('/admin/organizations?q=with')).text;
    expect(found).to.contain('Without an ID').and.not.to.contain('Harbor');
    expect((await browser.open('/admin/organizations?q=harbor')).text).to.contain('Harbor');

    const person = await app.person({ organizationId: 'harbor' });
    const client = await app.client({ trusted: true });
    await send('/admin/organizations/harbor/edit', { name: 'Harbor', id: 'another' });
    const tokens = await createFlows(app.issuer, other.url).tokens({ client, person });
    expect(tokens.claims()?.organization).to.deep.equal({ id: 'harbor', name: 'Harbor' });
    expect(await app.directory.organizations.get('another')).to.equal(undefined);
    const { events } = await app.directory.audit.list({ accountId: admin.id });
    const types = events.map(({ type }) => type).filter((type) => type.startsWith('organization'));
    expect(types).to.deep.equal(['organization_changed', 'organization_created', 'organization_created']);
  });

  it('a permission is made, given, allowed in its words and described anew', async () => {
    const made = await send('/admin/permissions/new', { name: ' orders.read ', description: 'See your orders' });
    expect(made.text).to.contain('orders.read').and.contain('The permission was made');
    const client = await app.client({ permissions: ['orders.read'] });
    const person = await app.person({ permissions: ['orders.read'] });
    await send('/admin/permissions/orders.read/edit', { name: 'other', description: 'Look at what you ordered' });
    expect(await app.directory.permissions.get('other')).to.equal(undefined);

    const there = await signedIn(person, other.url);
    const flows = createFlows(app.issuer, other.url);
    const { url } = await flows.start({ client, params: { scope: 'openid orders.read' } });
    expect((await there.open(url)).text).to.contain('Look at what you ordered');
    const tokens = await flows.tokens({ client, person, browser: there, params: { scope: 'openid orders.read' } });
    expect(tokens.scope).to.equal('openid orders.read');
  });

  it('what is wrong is named at its field, and nothing is written', async () => {
    await send('/admin/organizations/new', { name: 'Taken', id: 'taken' });
    await send('/admin/permissions/new', { name: 'taken', description: 'Taken' });
    const before = [await everyOrganization(), await app.directory.permissions.list()];
    const wrong: [path: string, fields: Fields, field: string, status: number][] = [
      ['organizations/new', { name: '' }, 'name', 400],
      ['organizations/new', { name: 'a\u202eb' }, 'name', 400],
      ['organizations/new', { name: 'x'.repeat(121) }, 'name', 400],
      ['organizations/new', { name: 'x', id: '../x' }, 'id', 400],
      ['organizations/new', { name: 'Mine', id: 'taken' }, 'id', 409],
      ['organizations/taken/edit', { name: ' ' }, 'name', 400],
      ['permissions/new', { name: 'Orders', description: 'x' }, 'name', 400],
      ['permissions/new', { name: 'openid', description: 'x' }, 'name', 400],
      ['permissions/new', { name: 'tokens', description: 'x' }, 'name', 400],
      ['permissions/new', { name: 'fresh', description: '' }, 'description', 400],
      ['permissions/new', { name: 'taken', description: 'Mine' }, 'name', 409],
      ['permissions/taken/edit', { description: 'a\nb' }, 'description', 400],
    ];
    for (const [path, fields, field, status] of wrong) {
      const { response, text } = await send(`/admin/${path}`, fields);
      expect([response?.status, text.includes(`id="${field}-problem"`)], JSON.stringify(fields)).to.deep.equal([
        status,
        true,
      ]);
    }
    const hostile = await send('/admin/organizations/new', { name: '<script>\n', id: '"><script>' });
    expect(hostile.text).not.to.contain('<script>\n').and.not.to.contain('"><script>');
    for (const name of ['none', '%00', '__proto__', 'x'.repeat(500)]) {
      expect(await statusOf(browser.open(`/admin/organizations/${name}/edit`)), name).to.equal(404);
      expect(await statusOf(browser.open(`/admin/permissions/${name}/edit`)), name).to.equal(404);
    }
    expect([await everyOrganization(), await app.directory.permissions.list()]).to.deep.equal(before);
  });

  it('a form makes one organization, however often it is sent', async () => {
    const { fields } = formIn((await browser.open('/admin/organizations/new')).text);
    const before = (await everyOrganization()).length;
    const sent = { form: String(fields.form), name: 'Once' };
    await Promise.all([1, 2, 3].map(() => browser.submit('/admin/organizations/new', sent)));
    await browser.submit('/admin/organizations/new', { name: 'No form' });
    expect((await everyOrganization()).length).to.equal(before + 1);
  });

  it('nobody but administrators, on our own pages, changes any', async () => {
    await send('/admin/organizations/new', { name: 'Guarded', id: 'guarded' });
    await send('/admin/permissions/new', { name: 'guarded', description: 'Guarded' });
    const before = [await everyOrganization(), await app.directory.permissions.list()];
    const nobody = await signedIn(await app.person());
    const pages = ['organizations', 'permissions'].flatMap((page) => [page, `${page}/new`, `${page}/guarded/edit`]);
    for (const page of pages) {
      expect(await statusOf(nobody.open(`/admin/${page}`)), page).to.equal(403);
      if (!page.includes('/')) continue;
      const fields = { name: 'Mine', description: 'Mine' };
      expect(await statusOf(nobody.submit(`/admin/${page}`, fields)), page).to.equal(403);
      const init = { method: 'POST', body: new URLSearchParams(fields), headers: { origin: 'https://evil.example' } };
      expect(await statusOf(browser.open(`/admin/${page}`, init)), page).to.equal(403);
    }
    expect([await everyOrganization(), await app.directory.permissions.list()]).to.deep.equal(before);
  });
});

describe('organizations and permissions in a browser', function pages() {
  this.timeout(30_000);
  let chromium: Chromium;
  let store: TestStore;
  let app: TestApp;

  before(async () => {
    store = await embeddedStore();
    [chromium, app] = await Promise.all([launchChromium(), startApp(store)]);
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
    it(`are made and changed ${javaScriptEnabled ? 'with' : 'without'} scripts`, async () => {
      const admin = await app.person({ administrator: true });
      const { context, problems } = await openProfile(chromium, { javaScriptEnabled });
      const page = await context.newPage();
      page.setDefaultTimeout(5_000);
      const submit = () => page.click('form[method=post] .button--primary');
      const seen = (heading: string) =>
        javaScriptEnabled ? look(page, heading) : page.locator('h1', { hasText: heading }).waitFor();
      const suffix = javaScriptEnabled ? 'one' : 'two';
      await page.goto(`${app.issuer}/admin`);
      await page.fill('#email', admin.email);
      await page.fill('#password', PASSWORD);
      await page.click('.button--primary');

      await page.click('text=Organizations');
      await seen('Organizations');
      await page.click('text=New organization');
      await page.fill('#name', `${'Consolidated'.repeat(6)} ${suffix}`);
      await page.fill('#id', 'a b');
      await submit();
      await page.locator('#id-problem').waitFor();
      await seen('New organization');
      await page.fill('#id', `${suffix}-${'x'.repeat(50)}`);
      await submit();
      await page.getByText('The organization was made').waitFor();
      await seen('Organizations');
      await page.click(`.list__name:has-text("${suffix}")`);
      await seen('Rename');
      await page.fill('#name', `Renamed ${suffix}`);
      await submit();
      await page.getByText('The organization was renamed').waitFor();

      await page.click('.tabs >> text=Permissions');
      await seen('Permissions');
      await page.click('text=New permission');
      await page.fill('#name', 'Orders');
      await page.fill('#description', 'See your orders');
      await submit();
      await page.locator('#name-problem').waitFor();
      await seen('New permission');
      await page.fill('#name', `orders.${suffix}.${'x'.repeat(50)}`);
      await submit();
      await page.getByText('The permission was made').waitFor();
      await seen('Permissions');
      await page.click(`.list__name:has-text("${suffix}")`);
      await seen('Describe');
      await context.close();
      expect(problems.filter((problem) => !/status of 4/.test(problem))).to.deep.equal([]);
    });
  }
});

/** The one form of a page that is sent. */
function formIn(page: string): ReturnType<typeof formOf> {
  return formOf(page.slice(Math.max(page.indexOf('<form method="post"'), 0)));
}
