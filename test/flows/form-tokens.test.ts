/** The forms of the consoles, where the browser or something on the way hides where they come from: the page proves itself. */
import { mock } from 'node:test';
import { expect } from 'chai';
import { createKeptForms } from '../../src/console/kept-forms.ts';
import {
  onEachEngine,
  startApp,
  startProcess,
  type TestApp,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import { type Browser, createBrowser } from '../support/browser.ts';
import { createFlows, walk } from '../support/flow.ts';
import { partnerApp } from '../support/partner.ts';

const MINUTE = 60_000;
const TOKEN = /<input type="hidden" name="form_token" value="([\w-]{43})">/g;

/** Every form of the consoles that changes something; `*` is an id. */
const FORMS = [
  '/account',
  '/account/apps/*/remove',
  '/account/apps/*/sign-in/refuse',
  '/account/security',
  '/account/security/everything',
  '/account/security/link/*',
  '/account/security/unlink/*',
  '/account/sessions/*/end',
  '/account/sessions/end-others',
  '/account/tokens/*/revoke',
  '/account/tokens/*/rotate',
  '/account/tokens/new',
  '/admin/accounts/*/approve',
  '/admin/accounts/*/delete',
  '/admin/accounts/*/disable',
  '/admin/accounts/*/edit',
  '/admin/accounts/*/enable',
  '/admin/accounts/*/make-administrator',
  '/admin/accounts/*/remove-administrator',
  '/admin/accounts/new',
  '/admin/apps/*/delete',
  '/admin/apps/*/disable',
  '/admin/apps/*/edit',
  '/admin/apps/*/enable',
  '/admin/apps/*/partner-sign-in',
  '/admin/apps/*/partner-sign-in/end',
  '/admin/apps/*/secrets/*/revoke',
  '/admin/apps/*/secrets/new',
  '/admin/apps/*/tokens/*/revoke',
  '/admin/apps/*/tokens/new',
  '/admin/apps/*/try',
  '/admin/apps/*/try/*/token',
  '/admin/apps/new',
  '/admin/apps/try/callback',
  '/admin/identity-providers/*/delete',
  '/admin/identity-providers/*/disable',
  '/admin/identity-providers/*/edit',
  '/admin/identity-providers/*/enable',
  '/admin/identity-providers/*/test',
  '/admin/identity-providers/new',
  '/admin/organizations/*/edit',
  '/admin/organizations/new',
  '/admin/permissions/*/edit',
  '/admin/permissions/new',
];

const WORDS = new Set(FORMS.flatMap((path) => path.split('/')));
const pathOf = (action: string) =>
  action
    .split('/')
    .map((part) => (WORDS.has(part) ? part : '*'))
    .join('/');

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let other: TestProcess;
  let admin: { id: string; email: string; password: string };
  let browser: Browser;
  let clientId: string;

  before(async function start() {
    this.timeout(20_000);
    store = await openStore();
    app = await startApp(store);
    other = await startProcess(store, { ISSUER: app.issuer });
    const { clients, organizations, permissions, identityProviders, accounts, links, ssoConnections } = app.directory;
    await organizations.create({ id: 'acme', name: 'Acme' });
    await permissions.create({ name: 'orders', description: 'See your orders' });
    admin = await app.person({ administrator: true, permissions: ['orders'] });
    await app.person({ status: 'pending' });
    const { id: disabled } = await app.person();
    await accounts.disable(disabled);
    for (const id of ['corp', 'former'])
      await identityProviders.create({ id, kind: 'google', clientId: 'x', clientSecret: 'y' });
    await identityProviders.disable('former');
    await links.add({ identityProviderId: 'corp', subject: '1', accountId: admin.id });
    await app.directory.personalTokens.create(await accounts.getOrFail(admin.id), { description: 'a script' });
    const partner = await partnerApp(app.directory, { organizationId: 'acme' });
    await ssoConnections.noteSignIn(admin.id, partner.id, undefined);
    await clients.disable((await app.client()).id);
    const client = await app.client({ name: 'Shop' });
    clientId = client.id;
    await clients.addSecret(clientId);
    await app.directory.appTokens.create({ clientId, identityProviderId: 'corp' });
    browser = await signedIn();
    await createFlows(app.issuer).authorize({ client, person: admin, browser });
  });
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await store.remove();
  });
  afterEach(() => mock.timers.reset());

  async function signedIn(origin = app.issuer, person = admin): Promise<Browser> {
    const fresh = createBrowser(app.issuer, origin);
    await walk(fresh, `${app.issuer}/account`, person);
    return fresh;
  }

  const tokensIn = (text: string) => [...text.matchAll(TOKEN)].map(([, token]) => String(token));
  const tokenOf = async (who: Browser) => String(tokensIn((await who.open('/account')).text)[0]);

  /** Sends a form as a browser does that is told to hide where it comes from. */
  const send = (who: Browser, path: string, fields: Record<string, string>, headers: Record<string, string> = {}) =>
    who.request(path, { method: 'POST', headers: { origin: 'null', ...headers }, body: new URLSearchParams(fields) });

  /** Every form of every page that can be reached, by where it goes. */
  async function everyForm(): Promise<Map<string, string>> {
    const forms = new Map<string, string>();
    const paths = new Set(['/account', '/admin/apps', '/admin/apps/try/callback']);
    const trial = await browser.submit(`/admin/apps/${clientId}/try`, { scope: 'profile' });
    const [, request = ''] = /href="(\/identity\/authorize[^"]+)"/.exec(trial.text) ?? [];
    const answered = await walk(browser, `${app.issuer}${request.replaceAll('&amp;', '&')}`, admin);
    note(answered.text);

    for (const path of paths) note((await browser.open(path)).text);

    function note(text: string): void {
      for (const [form, action = ''] of text.matchAll(
        /<form\b[^>]*\bmethod="post"[^>]*\baction="([^"]*)".*?<\/form>/gs,
      ))
        forms.set(action, form);
      for (const [, href = ''] of text.matchAll(/href="([^"]*)"/g))
        if (/^\/(account|admin)\b/.test(href)) paths.add(href.replaceAll('&amp;', '&'));
    }
    return forms;
  }

  it('all carry the token of the session, and are refused without it or with that of another', async function walkAll() {
    this.timeout(60_000);
    const elsewhere = await signedIn();
    const [own, foreign] = [await tokenOf(browser), await tokenOf(elsewhere)];
    expect(own).not.to.equal(foreign);
    const forms = await everyForm();
    const named = [...forms.keys()].map((path) => pathOf(path));
    expect([...new Set(named)].toSorted()).to.deep.equal(FORMS);
    for (const [path, form] of forms) {
      expect(tokensIn(form), path).to.deep.equal([own]);
      for (const fields of [{}, { form_token: '' }, { form_token: `${own}A` }, { form_token: foreign }])
        expect((await send(browser, path, { ...fields, x: '1' })).status, path).to.equal(403);
    }
  });

  it('are taken with it, in every process, whether the origin is null or not said at all', async () => {
    const there = await signedIn(other.url);
    for (const [who, token] of [
      [browser, await tokenOf(browser)],
      [there, await tokenOf(there)],
    ] as const)
      for (const origin of ['null', '']) {
        const givenName = `Ada ${Math.random()}`;
        const sent = await send(who, '/account', { given_name: givenName, form_token: token }, { origin });
        expect([sent.status, sent.headers.get('location')]).to.deep.equal([303, '/account']);
        expect((await app.directory.accounts.getOrFail(admin.id)).givenName).to.equal(givenName);
      }
    const token = await tokenOf(browser);
    const { text } = await browser.open('/admin/organizations/new');
    const [, form = ''] = /name="form" value="([^"]+)"/.exec(text) ?? [];
    const made = await send(browser, '/admin/organizations/new', {
      form,
      id: 'globex',
      name: 'Globex',
      form_token: token,
    });
    expect(made.status).to.equal(303);
    expect((await app.directory.organizations.get('globex'))?.name).to.equal('Globex');
  });

  it('are refused with it where the browser says that another site has sent them', async () => {
    const form_token = await tokenOf(browser);
    for (const headers of [
      { origin: 'https://evil.example' },
      { referer: 'https://evil.example/' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
    ] as Record<string, string>[]) {
      const { status } = await send(browser, '/account', { given_name: 'Eve', form_token }, headers);
      expect(status, JSON.stringify(headers)).to.equal(403);
    }
  });

  it('are refused to who is signed out, and with a token that came twice', async () => {
    const form_token = await tokenOf(browser);
    expect((await send(createBrowser(app.issuer), '/account', { form_token })).status).to.equal(403);
    const body = new URLSearchParams(`form_token=${form_token}&form_token=${form_token}`);
    const twice = await browser.request('/account', { method: 'POST', headers: { origin: 'null' }, body });
    expect(twice.status).to.equal(403);
  });

  it('give no right to what programs ask for with the cookie of the session', async () => {
    const form_token = await tokenOf(browser);
    const body = JSON.stringify({ description: 'x', form_token });
    const headers = { origin: 'null', 'content-type': 'application/json', accept: 'application/json' };
    const { status } = await browser.request('/api/tokens', { method: 'POST', headers, body });
    expect(status).to.equal(403);
  });

  it('are kept without it, while their sender shows anew who they are', async () => {
    const sender = await app.person({ administrator: true });
    const who = await signedIn(app.issuer, sender);
    const form_token = await tokenOf(who);
    const [session] = await app.directory.sessions.list(sender.id);
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 31 * MINUTE });
    const asked = await send(who, '/admin/permissions/new', { name: 'bills', form_token });
    expect(asked.headers.get('location')).to.contain('prompt=login');
    const keptForms = createKeptForms(app.directory);
    const kept = await keptForms.take({ uid: String(session?.uid), account: sender }, '/admin/permissions/new');
    expect(kept).to.deep.equal({ name: 'bills' });
  });
});
