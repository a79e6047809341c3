/** The administrator's console: what it does, seen on another process, and its pages in a real browser. */
import { mock } from 'node:test';
import { AxeBuilder } from '@axe-core/playwright';
import { expect } from 'chai';
import * as openidClient from 'openid-client';
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
import { exchangeToken, FAKES_ALLOWED, type Fakes, fakePerson, OWN, startFakes } from './support/exchange.ts';
import { createFlows, type Flows, formOf, OFFLINE, titleOf, walk } from './support/flow.ts';

type Fields = Record<string, string | string[]>;

const MINUTE = 60_000;
const CALLBACK = 'https://shop.example/callback';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let other: TestProcess;
  let elsewhere: Flows;
  let fakes: Fakes;
  let admin: { id: string; email: string; password: string };
  let browser: Browser;

  before(async function start() {
    this.timeout(20_000);
    [store, fakes] = await Promise.all([openStore(), startFakes()]);
    app = await startApp(store, FAKES_ALLOWED);
    other = await startProcess(store, { ...FAKES_ALLOWED, ISSUER: app.issuer });
    elsewhere = createFlows(app.issuer, other.url);
    admin = await app.person({ administrator: true, givenName: 'Ada', familyName: 'Admin' });
    browser = await signedIn(admin);
    await app.directory.permissions.create({ name: 'orders', description: 'See your orders' });
    await app.directory.permissions.create({ name: 'invoices', description: 'See your invoices' });
    await app.directory.organizations.create({ id: 'acme', name: 'Acme' });
  });
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await fakes.close();
    await store.remove();
  });
  afterEach(() => mock.timers.reset());

  async function signedIn(person: { email: string; password: string }, origin = app.issuer): Promise<Browser> {
    const fresh = createBrowser(app.issuer, origin);
    await walk(fresh, `${app.issuer}/account`, person);
    return fresh;
  }

  /** Sends a form of the console as its page has it, with these fields filled in. */
  async function send(path: string, fields: Fields = {}, who = browser): Promise<Landing> {
    const { fields: hidden } = formIn((await who.open(path)).text);
    return post(path, { ...('form' in hidden ? { form: String(hidden.form) } : {}), ...fields }, who);
  }

  function post(path: string, fields: Fields = {}, who = browser, headers: Record<string, string> = {}) {
    const pairs = Object.entries(fields).flatMap(([name, values]) => [values].flat().map((value) => [name, value]));
    return who.open(path, { method: 'POST', body: new URLSearchParams(pairs as [string, string][]), headers });
  }

  const shopForm = { name: 'Shop', runs: 'server', redirect_uris: CALLBACK };

  async function register(fields: Fields = {}): Promise<{ id: string; secret: string; redirectUri: string }> {
    const { text } = await send('/admin/apps/new', { ...shopForm, ...fields });
    return { id: codeIn(text, 'client-id'), secret: codeIn(text, 'secret'), redirectUri: CALLBACK };
  }

  async function everyApp(): Promise<string[]> {
    return (await app.directory.clients.list({ limit: 1000 })).clients.map(({ id }) => id);
  }

  /** Whether the app can prove itself with the secret, at the other process. */
  async function isProof(client: { id: string; secret: string }): Promise<boolean> {
    return (await elsewhere.post('introspect', client, { token: 'anything' })).status === 200;
  }

  const statusOf = async (landing: Promise<Landing>) => (await landing).response?.status;

  describe('who may be there', () => {
    it('a signed-out person signs in and comes back to the page', async () => {
      const landing = await walk(createBrowser(app.issuer), `${app.issuer}/admin/accounts?status=pending`, admin);
      expect(landing.url.pathname + landing.url.search).to.equal('/admin/accounts?status=pending');
      expect((await browser.open('/admin')).url.pathname).to.equal('/admin/apps');
      const signedOut = await post('/admin/apps/new', shopForm, createBrowser(app.issuer));
      expect(signedOut.text).to.contain('name="password"');
    });

    it('anybody but an administrator is refused everywhere, and changes nothing', async () => {
      const client = await app.client();
      const nobody = await signedIn(await app.person());
      const before = await everyApp();
      const pages = ['', '/apps', '/apps/new', `/apps/${client.id}`, `/apps/${client.id}/edit`, '/accounts'];
      const more = [`/accounts/${admin.id}`, '/accounts/new', `/apps/${client.id}/delete`, `/apps/none/delete`];
      for (const path of [...pages, ...more]) {
        expect(await statusOf(nobody.open(`/admin${path}`)), path).to.equal(403);
      }
      const changes = ['apps/new', `apps/${client.id}/edit`, `apps/${client.id}/delete`, `accounts/${admin.id}/delete`];
      for (const path of changes) {
        expect(await statusOf(post(`/admin/${path}`, shopForm, nobody)), path).to.equal(403);
      }
      expect(await everyApp()).to.deep.equal(before);
      expect((await app.directory.accounts.get(admin.id))?.status).to.equal('active');
      expect((await nobody.open('/account')).text).not.to.contain('href="/admin"');
      expect((await browser.open('/account')).text).to.contain('href="/admin"');
    });

    it('a demoted administrator is refused at the next request, on every process', async () => {
      const second = await app.person({ administrator: true });
      const there = await signedIn(second, other.url);
      expect(await statusOf(there.open('/admin/apps'))).to.equal(200);
      await send(`/admin/accounts/${second.id}/remove-administrator`);
      expect(await statusOf(there.open('/admin/apps'))).to.equal(403);
      expect(await statusOf(post('/admin/apps/new', shopForm, there))).to.equal(403);
    });

    it('changes want a sign-in of the last 30 minutes; looking does not', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const patient = await signedIn(admin);
      mock.timers.tick(29 * MINUTE);
      expect((await patient.open('/admin/apps/new')).text).to.contain('name="redirect_uris"');
      mock.timers.tick(2 * MINUTE);
      const before = await everyApp();
      expect(await statusOf(patient.open('/admin/apps'))).to.equal(200);
      for (const asked of [await patient.open('/admin/apps/new'), await post('/admin/apps/new', shopForm, patient)]) {
        expect(asked.text).to.contain('name="password"');
      }
      expect(await everyApp()).to.deep.equal(before);
      const back = await walk(patient, `${app.issuer}/admin/apps/new`, admin);
      expect(back.text).to.contain('name="redirect_uris"');
    });

    it('every change wants a sign-in of the last 30 minutes, and an administrator', async () => {
      const { id } = await app.client();
      const { id: personId } = await app.person();
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const [patient, nobody] = [await signedIn(admin), await signedIn(await app.person())];
      mock.timers.tick(31 * MINUTE);
      const ofApp = [
        'edit',
        'disable',
        'enable',
        'delete',
        'secrets/new',
        'secrets/x/revoke',
        'tokens/new',
        'tokens/x/revoke',
      ];
      const ofAccount = [
        'edit',
        'approve',
        'disable',
        'enable',
        'delete',
        'make-administrator',
        'remove-administrator',
      ];
      const ofProvider = ['edit', 'test', 'disable', 'enable', 'delete'];
      const paths = [
        ...['apps', 'accounts', 'organizations', 'permissions', 'identity-providers'].map(
          (section) => `${section}/new`,
        ),
        ...[...ofApp, 'partner-sign-in', 'partner-sign-in/end', 'try'].map((change) => `apps/${id}/${change}`),
        ...ofAccount.map((change) => `accounts/${personId}/${change}`),
        ...ofProvider.map((change) => `identity-providers/x/${change}`),
        'organizations/x/edit',
        'permissions/x/edit',
      ];
      for (const path of paths) {
        const send = (who: Browser) =>
          who.request(`/admin/${path}`, { method: 'POST', body: new URLSearchParams({ name: 'x' }) });
        const answer = await send(patient);
        expect([answer.status, answer.headers.get('location')?.includes('prompt=login')], path).to.deep.equal([
          303,
          true,
        ]);
        expect((await send(nobody)).status, path).to.equal(403);
      }
    });

    it('forms of other pages, and addresses, change nothing', async () => {
      const client = await app.client();
      const person = await app.person();
      const paths = [`apps/${client.id}/delete`, `apps/${client.id}/edit`, `accounts/${person.id}/delete`];
      const strangers: Record<string, string>[] = [
        { origin: 'https://evil.example' },
        { origin: 'null' },
        { origin: '' },
        { 'sec-fetch-site': 'cross-site' },
        { 'sec-fetch-site': 'same-site' },
      ];
      for (const path of [...paths, 'apps/new', 'accounts/new']) {
        for (const headers of strangers) {
          const status = await statusOf(post(`/admin/${path}`, shopForm, browser, headers));
          expect(status, `${path} ${JSON.stringify(headers)}`).to.equal(403);
        }
      }
      for (const path of paths) await browser.open(`/admin/${path}`);
      for (const type of ['text/plain', 'application/json', 'multipart/form-data; boundary=x']) {
        const init = { method: 'POST', body: 'name=x', headers: { 'content-type': type } };
        expect(await statusOf(browser.open(`/admin/${paths[0]}`, init)), type).to.equal(415);
      }
      expect(await app.directory.clients.get(client.id)).to.deep.equal(client.record);
      expect((await app.directory.accounts.get(person.id))?.status).to.equal('active');
    });

    it('what is not there is 404, whatever it is called', async () => {
      const client = await app.client();
      const another = await app.client();
      const foreign = (await app.directory.clients.get(another.id))?.secrets[0]?.digest.slice(0, 12);
      const names = ['none', '%00', '%F0%9F%92%A9', '__proto__', 'x'.repeat(500), '..%2F..%2Fapps'];
      for (const name of names) {
        for (const path of [`apps/${name}`, `apps/${name}/edit`, `accounts/${name}`, `accounts/${name}/delete`]) {
          expect(await statusOf(browser.open(`/admin/${path}`)), path).to.equal(404);
        }
        expect(await statusOf(post(`/admin/apps/${name}/delete`)), name).to.equal(404);
        expect(await statusOf(post(`/admin/apps/${name}/edit`, shopForm)), name).to.equal(404);
        expect(await statusOf(post(`/admin/accounts/${name}/approve`)), name).to.equal(404);
      }
      expect(await statusOf(post(`/admin/apps/${client.id}/secrets/${foreign}/revoke`))).to.equal(404);
      expect(await isProof(another)).to.equal(true);
      for (const query of [
        'q=%00',
        'after=none',
        'after=%EF%BF%BF',
        'status=x&status=y',
        'q[]=1',
        `q=${'x'.repeat(400)}`,
      ]) {
        expect(await statusOf(browser.open(`/admin/accounts?${query}`)), query).to.equal(200);
        expect(await statusOf(browser.open(`/admin/apps?${query}`)), query).to.equal(200);
      }
    });
  });

  describe('an app', () => {
    it('is registered with what the form says, and its secret is shown once', async () => {
      const landing = await send('/admin/apps/new', {
        ...shopForm,
        description: 'Two lines\r\nof text',
        organization: 'acme',
        redirect_uris: ` ${CALLBACK} \r\n\r\nhttp://127.0.0.1:4000/cb\r\n${CALLBACK}`,
        use: ['client_credentials', 'trusted', 'lasting_refresh_tokens'],
        permission: ['orders', 'tokens'],
        logo_uri: 'https://shop.example/logo.png',
      });
      expect(landing.response?.status).to.equal(200);
      expect(landing.response?.headers.get('cache-control')).to.equal('no-store');
      const client = { id: codeIn(landing.text, 'client-id'), secret: codeIn(landing.text, 'secret') };
      const record = await app.directory.clients.get(client.id);
      expect(record).to.deep.include({
        name: 'Shop',
        description: 'Two lines\r\nof text',
        organizationId: 'acme',
        redirectUris: [CALLBACK, 'http://127.0.0.1:4000/cb'],
        public: false,
        implicit: false,
        clientCredentials: true,
        introspection: false,
        trusted: true,
        refreshTokenRotation: false,
        permissions: ['orders', 'tokens'],
        logoUri: 'https://shop.example/logo.png',
      });
      expect(await isProof(client)).to.equal(true);
      for (const path of [`/admin/apps/${client.id}`, `/admin/apps/${client.id}/edit`, '/admin/apps']) {
        const { text } = await browser.open(path);
        expect(text).to.contain('Shop').and.not.to.contain(client.secret);
      }
      const { events } = await app.directory.audit.list({ clientId: client.id });
      expect(events.map(({ type, actorId }) => [type, actorId])).to.deep.equal([['app_created', admin.id]]);
      expect(JSON.stringify(events)).not.to.contain(client.secret);
    });

    it('is registered once, however often its form is sent', async () => {
      const { fields } = formIn((await browser.open('/admin/apps/new')).text);
      const before = await everyApp();
      const sent = { ...shopForm, form: String(fields.form) };
      const landings = await Promise.all([1, 2, 3].map(() => post('/admin/apps/new', sent)));
      expect((await everyApp()).length).to.equal(before.length + 1);
      expect(landings.filter(({ text }) => text.includes('id="secret"'))).to.have.length(1);
      expect((await post('/admin/apps/new', sent)).url.pathname).to.equal('/admin/apps');
      expect((await post('/admin/apps/new', shopForm)).url.pathname).to.equal('/admin/apps');
      expect((await everyApp()).length).to.equal(before.length + 1);
    });

    it('signs people in with the lines it is shown with', async () => {
      const { text } = await send('/admin/apps/new', { ...shopForm, use: 'trusted', permission: 'orders' });
      const lines = codeIn(text, 'snippet-sign_in');
      const [start = '', end = ''] = lines.replace(/^import .*$/m, '').split('// When');
      const AsyncFunction = (async () => undefined).constructor as FunctionConstructor;
      const run = new AsyncFunction(
        'client',
        'visit',
        `${start}\nconst currentUrl = await visit(url);// When${end}`.replace(
          'console.log(tokens.claims())',
          'return tokens.claims()',
        ),
      );
      const person = await app.person();
      const claims = await run(
        openidClient,
        async (url: URL) => (await walk(createBrowser(app.issuer), url.href, person)).url,
      );
      expect(claims.sub).to.equal(person.id);
    });

    it('in a browser gets no secret', async () => {
      const { text } = await send('/admin/apps/new', { ...shopForm, runs: 'device', use: ['implicit'] });
      expect(text).to.contain('client.None()').and.not.to.contain('id="secret"');
      const record = await app.directory.clients.get(codeIn(text, 'client-id'));
      expect(record).to.deep.include({ public: true, implicit: true, secrets: [] });
      expect((await browser.open(`/admin/apps/${record?.id}`)).text).to.contain('response_type=code');
    });

    const TOO_MANY = Array.from({ length: 101 }, (_, index) => `https://shop.example/${index}`).join('\n');
    const wrong: Record<string, [fields: Fields, problem: RegExp]> = {
      'no name': [{ name: ' ' }, /name-problem/],
      'a name on two lines': [{ name: 'a\nb' }, /name-problem/],
      'a long name': [{ name: 'x'.repeat(121) }, /name-problem/],
      'no redirect URI': [{ redirect_uris: ' \n ' }, /enter at least one/],
      'a script': [{ redirect_uris: `${CALLBACK}\njavascript:alert(1)` }, /Line 2, “javascript:alert\(1\)”/],
      data: [{ redirect_uris: 'data:text/html,x' }, /Line 1, “data:text\/html,x”/],
      vbscript: [{ redirect_uris: 'vbscript:x' }, /Line 1, “vbscript:x”/],
      'a relative address': [{ redirect_uris: `\n\n/callback` }, /Line 3, “\/callback”, is not a complete address/],
      'a fragment': [{ redirect_uris: `${CALLBACK}#x` }, /has a # in it/],
      'a wildcard': [{ redirect_uris: 'https://*.shop.example/' }, /written out in full/],
      'plain http': [{ redirect_uris: 'http://shop.example/' }, /has to begin with https:\/\/\. Plain http/],
      'plain http in the implicit flow': [{ redirect_uris: 'http://shop.example/', use: 'implicit' }, /Plain http/],
      'a password': [{ redirect_uris: 'https://a:b@shop.example/' }, /user name or password/],
      'too many': [{ redirect_uris: TOO_MANY }, /100 are the most/],
      'a bad address after signing out': [{ post_logout_redirect_uris: 'x' }, /post_logout_redirect_uris-problem/],
      'a logo over http': [{ logo_uri: 'http://shop.example/logo.png' }, /logo_uri-problem/],
      'a script as home page': [{ client_uri: 'javascript:alert(1)' }, /client_uri-problem/],
      'a notice with a fragment': [
        { backchannel_logout_uri: 'https://shop.example/#x' },
        /backchannel_logout_uri-problem/,
      ],
      'a public app that acts for itself': [{ runs: 'device', use: 'client_credentials' }, /use-problem/],
      'a public app that keeps refresh tokens': [{ runs: 'device', use: 'lasting_refresh_tokens' }, /use-problem/],
      'implicit without a redirect URI': [{ redirect_uris: '', use: ['implicit', 'introspection'] }, /at least one/],
      'an unknown organization': [{ organization: 'nowhere' }, /organization-problem/],
      'an unknown permission': [{ permission: ['orders', 'root'] }, /does not exist any more/],
    };
    it('with something wrong is not saved, and the field says what', async () => {
      const known = await register();
      const record = await app.directory.clients.get(known.id);
      const before = await everyApp();
      for (const [name, [fields, problem]] of Object.entries(wrong)) {
        for (const path of ['/admin/apps/new', `/admin/apps/${known.id}/edit`]) {
          const { response, text } = await send(path, { ...shopForm, ...fields });
          expect(response?.status, `${name} at ${path}`).to.equal(400);
          expect(unescaped(text), `${name} at ${path}`).to.match(problem);
        }
      }
      const refused: [fields: Fields, status: number][] = [
        [{ redirect_uris: Array.from({ length: 10_000 }, () => CALLBACK).join('\n') }, 413],
        [{ name: ['a', 'b'] }, 400],
        [{ runs: 'nowhere' }, 400],
        [{ permission: Array.from({ length: 1_000 }, () => 'x') }, 400],
      ];
      for (const [fields, status] of refused) {
        expect(await statusOf(send('/admin/apps/new', { ...shopForm, ...fields }))).to.equal(status);
      }
      expect(await everyApp()).to.deep.equal(before);
      expect(await app.directory.clients.get(known.id)).to.deep.equal(record);
    }).timeout(20_000);

    it('says what is wrong in Finnish too, and prints what was typed as text', async () => {
      const headers = { 'accept-language': 'fi' };
      const bad = { ...shopForm, name: '<b>"', redirect_uris: 'x<script>' };
      const { text } = await post('/admin/apps/new', bad, browser, headers);
      expect(unescaped(text)).to.contain('Rivi 1, ”x<script>”, ei ole täydellinen osoite');
      expect(text).not.to.contain('<script>').and.not.to.contain('<b>"');
      expect((await browser.open('/admin/apps', { headers })).text).to.contain('Rekisteröi sovellus');
    });

    it('is found by its name, its description and its id', async () => {
      const client = await register({ name: 'Zebra crossing', description: 'For pedestrians' });
      for (const q of ['zeb', 'CROSS zebra', 'pedest', client.id]) {
        const { text } = await browser.open(`/admin/apps?${new URLSearchParams({ q })}`);
        expect(
          [...text.matchAll(/href="\/admin\/apps\/([0-9a-f-]{36})"/g)].map(([, id]) => id),
          q,
        ).to.deep.equal([client.id]);
      }
      expect((await browser.open('/admin/apps?q=ebra')).text).to.contain('Nothing found');
    });

    it('is listed page by page, each once', async () => {
      for (let index = 0; index < 60; index++) await app.client({ name: `Many ${index}` });
      const seen: string[] = [];
      let path = '/admin/apps?q=many';
      for (let page = 0; path && page < 10; page++) {
        const { text } = await browser.open(path);
        seen.push(...[...text.matchAll(/href="\/admin\/apps\/([0-9a-f-]{36})"/g)].map(([, id]) => String(id)));
        path = unescaped(/href="(\?[^"]*after=[^"]+)"/.exec(text)?.[1] ?? '');
        if (path) path = `/admin/apps${path}`;
      }
      expect(seen).to.have.length(60);
      expect(new Set(seen).size).to.equal(60);
    });

    it('is changed, which counts at the next request on every process', async () => {
      const client = await register({ use: 'trusted', permission: ['orders', 'invoices'] });
      const person = await app.person({ permissions: ['orders', 'invoices'] });
      const tokens = await elsewhere.tokens({ client, person, params: { scope: 'openid orders invoices' } });
      const landing = await send(`/admin/apps/${client.id}/edit`, {
        ...shopForm,
        name: 'Shop 2',
        use: 'trusted',
        permission: 'orders',
        redirect_uris: 'https://shop.example/new',
      });
      expect(landing.url.pathname).to.equal(`/admin/apps/${client.id}`);
      expect(landing.text).to.contain('The app was saved');
      expect((await browser.open(landing.url.href)).text, 'said once').not.to.contain('The app was saved');
      expect((await elsewhere.introspect(client, tokens.access_token)).scope).to.equal('openid orders');
      const { url } = await elsewhere.start({ client });
      expect(titleOf((await elsewhere.browser().open(url)).text)).to.equal('This app is set up wrongly');
      expect(await isProof(client), 'the secret stays').to.equal(true);
      const { events } = await app.directory.audit.list({ clientId: client.id });
      expect(events.find(({ type }) => type === 'app_changed')?.actorId).to.equal(admin.id);
    });

    it('loses its secrets when it becomes public, and gets one when it no longer is', async () => {
      const client = await register();
      await send(`/admin/apps/${client.id}/edit`, { ...shopForm, runs: 'device' });
      expect((await app.directory.clients.get(client.id))?.secrets).to.deep.equal([]);
      expect(await isProof(client)).to.equal(false);
      const { text } = await send(`/admin/apps/${client.id}/edit`, shopForm);
      expect(await isProof({ id: client.id, secret: codeIn(text, 'secret') })).to.equal(true);
      expect(await isProof(client)).to.equal(false);
    });

    it('has two secrets at most, both good until one is revoked; the only one stays', async () => {
      const first = await register();
      const path = `/admin/apps/${first.id}`;
      const landings = await Promise.all([1, 2, 3, 4].map(() => send(`${path}/secrets/new`)));
      expect(landings.map(({ response }) => response?.status).toSorted()).to.deep.equal([200, 409, 409, 409]);
      const made = landings.find(({ response }) => response?.status === 200);
      const second = { id: first.id, secret: codeIn(made?.text ?? '', 'secret') };
      expect([await isProof(first), await isProof(second)]).to.deep.equal([true, true]);

      const page = (await browser.open(path)).text;
      expect(page)
        .to.contain(`…${first.secret.slice(-4)}`)
        .and.to.contain(`…${second.secret.slice(-4)}`);
      const [firstPath = '', secondPath = ''] = [...page.matchAll(/href="([^"]+\/revoke)"/g)].map(([, href]) =>
        String(href),
      );
      await send(firstPath);
      expect([await isProof(first), await isProof(second)]).to.deep.equal([false, true]);
      expect(await statusOf(post(firstPath))).to.equal(404);
      expect(await statusOf(post(secondPath))).to.equal(409);
      expect(await isProof(second)).to.equal(true);
    });

    const endings = { disable: 'app_changed', delete: 'app_deleted' } as const;
    for (const [ending, event] of Object.entries(endings)) {
      it(`after ${ending} has nothing left: codes, tokens and secrets die on every process`, async () => {
        const api = await app.client({ introspection: true, redirectUris: [] });
        const client = await register({ use: ['trusted', 'client_credentials'], permission: 'orders' });
        const person = await app.person({ permissions: ['orders'] });
        const { access_token, refresh_token } = await elsewhere.tokens({ client, person, params: OFFLINE });
        const refresh = String(refresh_token);
        const { body } = await elsewhere.post('token', client, { grant_type: 'client_credentials', scope: 'orders' });
        const own = String(body.access_token);
        const verify = (token: string) =>
          fetch(`${other.url}/verify`, { headers: { authorization: `Bearer ${token}` } }).then(({ status }) => status);
        expect([await verify(access_token), (await elsewhere.introspect(api, own)).active]).to.deep.equal([200, true]);

        const asked = await browser.open(`/admin/apps/${client.id}/${ending}`);
        expect(asked.text).to.contain(client.id);
        expect(await verify(access_token), 'asking changes nothing').to.equal(200);
        await send(`/admin/apps/${client.id}/${ending}`);

        expect(await verify(access_token)).to.equal(401);
        for (const token of [access_token, refresh, own])
          expect(await elsewhere.introspect(api, token)).to.deep.equal({ active: false });
        expect((await elsewhere.refresh(client, refresh)).body.error).to.equal('invalid_client');
        expect(await isProof(client)).to.equal(false);
        const { events } = await app.directory.audit.list({ clientId: client.id });
        expect(events.find(({ type }) => type === event)?.actorId).to.equal(admin.id);

        if (ending === 'delete') {
          expect(await statusOf(browser.open(`/admin/apps/${client.id}`))).to.equal(404);
          return;
        }
        await post(`/admin/apps/${client.id}/enable`);
        expect(await isProof(client)).to.equal(true);
        expect(await verify(access_token), 'nothing comes back').to.equal(401);
      });
    }
  });

  describe('an account', () => {
    const canSignIn = async (person: { email: string; password: string }) =>
      (await walk(createBrowser(app.issuer, other.url), `${app.issuer}/account`, person)).url.pathname === '/account';

    it('is made with what the form says, and can sign in', async () => {
      const person = { email: 'new.person@example.com', password: PASSWORD };
      const landing = await send('/admin/accounts/new', {
        ...person,
        given_name: 'New',
        family_name: 'Person',
        status: 'active',
        organization: 'acme',
        permission: ['orders'],
      });
      const { passwordHash: _, ...made } = await app.directory.accounts.getOrFail(person.email);
      expect(landing.url.pathname).to.equal(`/admin/accounts/${made.id}`);
      expect(made).to.deep.include({ givenName: 'New', familyName: 'Person', status: 'active', administrator: false });
      expect(made).to.deep.include({ organizationId: 'acme', permissions: ['orders'], emailVerified: false });
      expect(landing.text).to.contain('New Person').and.not.to.contain('argon2').and.not.to.contain(PASSWORD);
      expect(await canSignIn(person)).to.equal(true);
      const { events } = await app.directory.audit.list({ accountId: made.id });
      expect(events.find(({ type }) => type === 'account_created')?.actorId).to.equal(admin.id);
    });

    it('with something wrong is not made, and the field says what', async () => {
      const wrong: [fields: Fields, status: number, problem: RegExp][] = [
        [{ email: 'nobody' }, 400, /email-problem/],
        [{ email: 'a@example.com\r\nbcc: b@example.com' }, 400, /email-problem/],
        [{ email: admin.email.toUpperCase() }, 409, /There is an account with this e-mail already/],
        [{ password: 'short' }, 400, /password-problem/],
        [{ password: 'password123' }, 400, /password-problem/],
        [{ given_name: '<b>' }, 400, /given_name-problem/],
        [{ family_name: 'x'.repeat(121) }, 400, /family_name-problem/],
        [{ organization: 'nowhere' }, 400, /organization-problem/],
        [{ permission: 'root' }, 400, /does not exist any more/],
        [{ status: 'disabled' }, 400, /This request is not right/],
        [{ given_name: ['a', 'b'] }, 400, /This request is not right/],
      ];
      for (const [fields, status, problem] of wrong) {
        const { response, text } = await send('/admin/accounts/new', { email: 'bad@example.com', ...fields });
        expect(response?.status, JSON.stringify(fields)).to.equal(status);
        expect(unescaped(text), JSON.stringify(fields)).to.match(problem);
        expect(text).not.to.contain('password123');
      }
      expect(await app.directory.accounts.findByEmail('bad@example.com')).to.equal(undefined);
      const sneaky = { email: 'sneaky@example.com', administrator: 'true', emailVerified: 'true', id: admin.id };
      await send('/admin/accounts/new', sneaky);
      const made = await app.directory.accounts.getOrFail(sneaky.email);
      expect(made).to.deep.include({ administrator: false, emailVerified: false });
      expect(made.id).not.to.equal(admin.id);
    });

    it('is found by the beginning of its e-mail, by name, and by status', async () => {
      const person = await app.person({
        email: 'quentin@zoo.example',
        givenName: 'Quentin',
        familyName: 'Äyräs',
        status: 'pending',
      });
      const found = async (query: Record<string, string>) => {
        const { text } = await browser.open(`/admin/accounts?${new URLSearchParams(query)}`);
        return [...text.matchAll(/href="\/admin\/accounts\/([0-9a-f-]{36})"/g)].map(([, id]) => id);
      };
      for (const q of ['quen', 'QUENTIN@zoo', 'äyr', 'äyräs quentin'])
        expect(await found({ q }), q).to.deep.equal([person.id]);
      expect(await found({ q: 'zoo.example' })).to.deep.equal([]);
      expect(await found({ q: 'quentin', status: 'pending' })).to.deep.equal([person.id]);
      expect(await found({ q: 'quentin', status: 'active' })).to.deep.equal([]);
    });

    it('waits until it is approved', async () => {
      const person = await app.person({ status: 'pending' });
      expect(await canSignIn(person)).to.equal(false);
      expect((await post(`/admin/accounts/${person.id}/approve`)).text).to.contain('was approved');
      expect(await canSignIn(person)).to.equal(true);
      await app.directory.accounts.disable(person.id);
      expect(await statusOf(post(`/admin/accounts/${person.id}/approve`))).to.equal(409);
      expect(await canSignIn(person)).to.equal(false);
    });

    it('loses permissions and organization at the next request', async () => {
      const client = await app.client({ trusted: true, permissions: ['orders', 'invoices'] });
      const person = await app.person({ permissions: ['orders', 'invoices'], organizationId: 'acme' });
      const { access_token } = await elsewhere.tokens({ client, person, params: { scope: 'openid orders invoices' } });
      await send(`/admin/accounts/${person.id}/edit`, {
        given_name: 'Renamed',
        permission: 'invoices',
        email: 'x@y.example',
      });
      expect((await elsewhere.introspect(client, access_token)).scope).to.equal('openid invoices');
      const account = await app.directory.accounts.getOrFail(person.id);
      expect(account).to.deep.include({ givenName: 'Renamed', email: person.email, permissions: ['invoices'] });
      expect([account.familyName, account.organizationId]).to.deep.equal([undefined, undefined]);
    });

    for (const ending of ['disable', 'delete'] as const) {
      it(`after ${ending} is signed out everywhere, and its tokens are dead`, async () => {
        const client = await app.client({ trusted: true });
        const person = await app.person();
        const there = await signedIn(person, other.url);
        const { access_token } = await elsewhere.tokens({ client, person });
        await browser.open(`/admin/accounts/${person.id}/${ending}`);
        expect((await elsewhere.userinfo(access_token)).status, 'asking changes nothing').to.equal(200);
        await send(`/admin/accounts/${person.id}/${ending}`);
        expect((await elsewhere.userinfo(access_token)).status).to.equal(401);
        expect((await there.open('/account')).text).to.contain('name="password"');
        expect(await canSignIn(person)).to.equal(false);
        const { events } = await app.directory.audit.list({ accountId: person.id });
        expect(events.find(({ type }) => type === `account_${ending}d`)?.actorId).to.equal(admin.id);
        if (ending === 'delete') {
          expect(await statusOf(browser.open(`/admin/accounts/${person.id}`))).to.equal(404);
          return;
        }
        await post(`/admin/accounts/${person.id}/enable`);
        expect(await canSignIn(person)).to.equal(true);
      });
    }

    it('becomes an administrator, and is none any more', async () => {
      const person = await app.person();
      const before = await signedIn(person, other.url);
      await send(`/admin/accounts/${person.id}/make-administrator`);
      expect((await before.open('/admin/apps')).text, 'proves anew who it is').to.contain('name="password"');
      const there = await signedIn(person, other.url);
      expect((await there.open('/admin/apps')).text).to.contain('/admin/apps/new');
      await send(`/admin/accounts/${person.id}/remove-administrator`);
      expect(await statusOf(there.open('/admin/apps'))).to.equal(403);
    });

    it('of the only administrator who can sign in stays what it is', async () => {
      const asleep = await app.person({ administrator: true });
      await app.directory.accounts.disable(asleep.id);
      for (const change of ['remove-administrator', 'disable', 'delete']) {
        const { response, text } = await send(`/admin/accounts/${admin.id}/${change}`);
        expect(response?.status, change).to.equal(409);
        expect(text, change).to.contain('This is the only administrator');
      }
      const { status, administrator } = await app.directory.accounts.getOrFail(admin.id);
      expect([status, administrator]).to.deep.equal(['active', true]);
      await send(`/admin/accounts/${asleep.id}/delete`);
    });

    it('of one of two stays an administrator’s, whatever both do to each other at once on two processes', async () => {
      for (let round = 0; round < 3; round++) {
        const second = await app.person({ administrator: true });
        const there = await signedIn(second, other.url);
        const mine = await signedIn(admin);
        await Promise.all([
          post(`/admin/accounts/${second.id}/disable`, {}, mine),
          post(`/admin/accounts/${admin.id}/remove-administrator`, {}, there),
          post(`/admin/accounts/${admin.id}/delete`, {}, there),
        ]);
        const left = await app.directory.accounts.activeAdministrators();
        expect(left.map(({ id }) => id)).to.have.length.of.at.least(1);
        const mineIsGone = !left.some(({ id }) => id === admin.id);
        if (mineIsGone) admin = second;
        else if (left.length > 1) await app.directory.accounts.update(second.id, { administrator: false });
        browser = await signedIn(admin);
      }
    }).timeout(20_000);
  });

  describe('an identity provider', () => {
    const SECRET = 'own-secret';
    const hub = { kind: 'github', client_id: OWN, client_secret: SECRET };
    let count = 0;

    /** Adds one and answers its page. */
    async function add(fields: Fields): Promise<string> {
      count += 1;
      const landing = await send('/admin/identity-providers/new', { id: `idp-${count}`, ...fields });
      expect(landing.url.pathname).to.equal(`/admin/identity-providers/idp-${count}`);
      expect(landing.text).not.to.contain(SECRET);
      return landing.url.pathname;
    }

    const idOf = (path: string) => path.split('/').at(-1) ?? '';

    it('is added, changed and deleted; its secret is never shown, and stays when none is typed', async () => {
      const path = await add({ ...hub, base_url: fakes.github.url, people: 'pending', organization: 'acme' });
      const provider = await app.directory.identityProviders.get(idOf(path));
      expect(provider).to.deep.include({ kind: 'github', clientId: OWN, baseUrl: fakes.github.url });
      expect(provider?.newPeople).to.deep.equal({ policy: 'pending', organizationId: 'acme' });
      expect((await browser.open(`${path}/edit`)).text).not.to.contain(SECRET);
      // At another host the same number is somebody else.
      const elsewhere = { kind: 'google', base_url: 'https://hub.example', issuer: 'https://hub.example' };
      await send(`${path}/edit`, { client_id: OWN, people: 'active', ...elsewhere });
      const changed = await app.directory.identityProviders.get(idOf(path));
      expect(changed).to.include({ kind: 'github', baseUrl: fakes.github.url }).and.not.to.have.property('issuer');
      expect(changed?.newPeople.policy).to.equal('active');
      expect((await browser.open(`${path}/edit`)).text).not.to.contain('name="base_url"');
      if (changed) expect(await app.directory.identityProviders.secretOf(changed)).to.equal(SECRET);
      await send(`${path}/disable`);
      expect(await app.directory.identityProviders.findActive(idOf(path))).to.equal(undefined);
      await send(`${path}/enable`);
      expect(await app.directory.identityProviders.findActive(idOf(path))).not.to.equal(undefined);
      await send(`${path}/delete`);
      expect(await statusOf(browser.open(path))).to.equal(404);
      const { events } = await app.directory.audit.list({ accountId: admin.id });
      expect(events.filter(({ detail }) => detail?.identity_provider === idOf(path))).to.have.length(4);
    });

    it('is on the sign-in page by its name when it is offered, and says which redirect URI to register', async () => {
      const path = await add({ ...hub, name: 'Octo <Hub>', sign_in: 'yes' });
      const page = (await browser.open(path)).text;
      expect(codeIn(page, 'callback')).to.equal(`${app.issuer}/interaction/callback/${idOf(path)}`);
      const signInPage = async () => (await createBrowser(app.issuer).open('/account')).text;
      expect(await signInPage()).to.contain('Continue with Octo &lt;Hub&gt;');
      expect((await browser.open(`${path}/edit`)).text).to.match(/name="sign_in" value="yes" checked/);
      await send(`${path}/edit`, { client_id: OWN });
      const { signIn, name } = (await app.directory.identityProviders.get(idOf(path))) ?? {};
      expect([signIn, name]).to.deep.equal([false, undefined]);
      expect(await signInPage()).not.to.contain('Octo');
      expect((await browser.open(path)).text).not.to.contain('/interaction/callback/');
      for (const fields of [{ sign_in: 'no' }, { name: 'x'.repeat(61) }])
        expect(await statusOf(send(`${path}/edit`, { client_id: OWN, ...fields }))).to.equal(400);
    });

    it('with something wrong is not added, and the field says what', async () => {
      const known = await app.directory.identityProviders.list();
      const wrong: [fields: Fields, problem: string][] = [
        [{ ...hub, id: 'a b' }, 'id'],
        [{ ...hub, id: '' }, 'id'],
        [{ ...hub, client_secret: '' }, 'client_secret'],
        [{ ...hub, client_id: '' }, 'client_id'],
        [{ ...hub, client_id: 'two words' }, 'client_id'],
        [{ ...hub, base_url: 'javascript:alert(1)' }, 'base_url'],
        [{ ...hub, base_url: 'https://a:b@hub.example' }, 'base_url'],
        [{ ...hub, issuer: 'https://hub.example' }, 'issuer'],
        [{ kind: 'oidc' }, 'issuer'],
        [{ kind: 'oidc', issuer: '/etc/passwd' }, 'issuer'],
        [{ kind: 'google', people: 'active', organization: 'nowhere' }, 'organization'],
      ];
      for (const [fields, field] of wrong) {
        const { response, text } = await send('/admin/identity-providers/new', { id: 'new', ...fields });
        expect(response?.status, JSON.stringify(fields)).to.equal(400);
        expect(text, JSON.stringify(fields)).to.contain(`id="${field}-problem"`).and.not.to.contain(SECRET);
      }
      expect(await statusOf(send('/admin/identity-providers/new', { id: 'new', kind: 'saml' }))).to.equal(400);
      expect(await app.directory.identityProviders.list()).to.deep.equal(known);
      const path = await add({ kind: 'google' });
      expect(
        await statusOf(send('/admin/identity-providers/new', { id: idOf(path).toUpperCase(), kind: 'google' })),
      ).to.equal(409);
    });

    it('is tested, which says which setting is wrong', async () => {
      const { github, gitlab, google, openid } = fakes;
      const lab = { kind: 'gitlab', base_url: gitlab.url };
      const corp = { kind: 'oidc', issuer: openid.url, client_id: OWN };
      const trials: [fields: Fields, finding: RegExp][] = [
        [{ ...hub, base_url: github.url }, /It knows the client ID and the secret/],
        [{ ...hub, base_url: github.url, client_secret: 'wrong' }, /refuses the client ID or the secret/],
        [{ ...hub, base_url: 'http://10.0.0.1' }, /private network/],
        [{ ...hub, base_url: 'http://localhost:1' }, /Nothing answers at this address/],
        [{ ...lab, client_id: OWN, client_secret: SECRET }, /It knows the client ID and the secret/],
        [{ ...lab, client_id: OWN, client_secret: 'wrong' }, /refuses the client ID or the secret/],
        [lab, /were not tried/],
        [{ ...lab, base_url: `${gitlab.url}/elsewhere` }, /is no identity provider/],
        [
          { ...lab, base_url: github.url, client_id: OWN, client_secret: SECRET },
          /refuses the client ID|is no identity provider/,
        ],
        [{ kind: 'google', base_url: google.url }, /Its keys can be read/],
        [{ ...corp, client_secret: SECRET }, /It knows the client ID and the secret/],
        [{ ...corp, client_secret: 'wrong' }, /refuses the client ID or the secret/],
        [corp, /were not tried/],
        [{ ...corp, issuer: `${openid.url}/` }, /calls itself “http:\/\/localhost:\d+”/],
        [{ ...corp, issuer: `${openid.url}/elsewhere` }, /no discovery document at this address \(status 404\)/],
      ];
      for (const [fields, finding] of trials) {
        const { text } = await post(`${await add(fields)}/test`);
        expect(unescaped(text), JSON.stringify(fields)).to.match(finding);
      }
      openid.misbehave = (request, response) => {
        const isKeys = request.url === '/keys';
        const metadata = { issuer: openid.url, jwks_uri: `${openid.url}/keys` };
        response.writeHead(200).end(isKeys ? '<html>' : JSON.stringify(metadata));
      };
      const { text } = await post(`${await add(corp)}/test`);
      openid.misbehave = undefined;
      expect(unescaped(text)).to.contain('What it calls its keys are none');
    });

    it('chooses how the ID tokens of an app are signed; a form without the choice leaves it', async () => {
      const { id } = await register({ id_token_alg: 'ES256' });
      const chosen = async () => (await app.directory.clients.get(id))?.idTokenSigningAlg;
      expect(await chosen()).to.equal('ES256');
      const page = (await browser.open(`/admin/apps/${id}/edit`)).text;
      expect(page).to.contain('<option value="ES256" selected>');
      await send(`/admin/apps/${id}/edit`, shopForm);
      expect(await chosen()).to.equal('ES256');
      const { response, text } = await send(`/admin/apps/${id}/edit`, { ...shopForm, id_token_alg: 'HS256' });
      expect(response?.status).to.equal(400);
      expect(text).to.contain('Please choose one of these.');
      await send(`/admin/apps/${id}/edit`, { ...shopForm, id_token_alg: 'EdDSA' });
      expect(await chosen()).to.equal('EdDSA');
    });

    it('gives an app tokens, shown once, that exchange until they are revoked', async () => {
      const path = await add({ kind: 'oidc', issuer: fakes.openid.url, client_id: OWN, client_secret: SECRET });
      const client = await register({ exchanged_token_lifetime: '900' });
      const tokens = `/admin/apps/${client.id}/tokens`;
      const wrong: [fields: Fields, problem: string][] = [
        [{ identity_provider: 'nowhere' }, 'identity_provider'],
        [{ identity_provider: idOf(path), provider_client_ids: 'ä' }, 'provider_client_ids'],
      ];
      for (const [fields, field] of wrong) {
        const { response, text } = await send(`${tokens}/new`, fields);
        expect([response?.status, text.includes(`id="${field}-problem"`)]).to.deep.equal([400, true]);
      }
      const { text } = await send(`${tokens}/new`, {
        identity_provider: idOf(path),
        provider_client_ids: `${OWN}\r\nmore`,
      });
      const token = codeIn(text, 'token');
      const page = (await browser.open(`/admin/apps/${client.id}`)).text;
      expect(page).to.contain(`${OWN}, more`).and.not.to.contain(token);
      expect(await app.directory.appTokens.list(client.id)).to.have.length(1);

      const person = fakePerson();
      const { id: accountId } = await app.person();
      await app.directory.links.add({ identityProviderId: idOf(path), subject: person.subject, accountId });
      const exchanged = await exchangeToken(other.url, token, await fakes.openid.idToken(person, OWN));
      expect([exchanged.status, exchanged.body.expires_in]).to.deep.equal([200, 900]);

      const [, revoke = ''] = /href="([^"]*\/tokens\/[^"]+\/revoke)"/.exec(page) ?? [];
      const another = await register();
      expect(await statusOf(post(revoke.replace(client.id, another.id)))).to.equal(404);
      await send(revoke);
      expect((await exchangeToken(other.url, token, await fakes.openid.idToken(person, OWN))).status).to.equal(401);
      expect((await browser.open(`/admin/apps/${client.id}`)).text).not.to.contain(`${OWN}, more`);
    });

    it('is for administrators alone', async () => {
      const path = await add({ kind: 'google' });
      const nobody = await signedIn(await app.person());
      for (const page of ['/admin/identity-providers', '/admin/identity-providers/new', path, `${path}/edit`]) {
        expect(await statusOf(nobody.open(page)), page).to.equal(403);
      }
      for (const change of ['test', 'edit', 'disable', 'delete']) {
        expect(await statusOf(post(`${path}/${change}`, {}, nobody)), change).to.equal(403);
        const elsewhereForm = post(`${path}/${change}`, {}, browser, { origin: 'https://evil.example' });
        expect(await statusOf(elsewhereForm), change).to.equal(403);
      }
      expect(await app.directory.identityProviders.findActive(idOf(path))).not.to.equal(undefined);
    });
  });
});

describe('the administrator’s pages in a browser', function pages() {
  this.timeout(30_000);
  let chromium: Chromium;
  let store: TestStore;
  let app: TestApp;
  let admin: { id: string; email: string };

  before(async () => {
    store = await embeddedStore();
    [chromium, app] = await Promise.all([launchChromium(), startApp(store)]);
    const { organizations, permissions } = app.directory;
    await organizations.create({ id: 'acme', name: 'Acme Corporation' });
    await permissions.create({ name: 'orders', description: 'See your orders' });
    admin = await app.person({ administrator: true, givenName: 'Ada', familyName: 'Admin' });
    await app.client({
      name: 'A name without any space-'.repeat(4),
      implicit: true,
      public: true,
      permissions: ['orders'],
    });
  });
  after(async () => {
    await Promise.all([chromium.close(), app.close()]);
    await store.remove();
  });

  /** Anybody can use the page as it is: no violation of WCAG in light and dark, nothing beside the screen. */
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

  async function visit(javaScriptEnabled: boolean, walkThrough: (page: Page) => Promise<void>): Promise<void> {
    const { context, problems } = await openProfile(chromium, { javaScriptEnabled });
    const page = await context.newPage();
    page.setDefaultTimeout(5_000);
    await page.goto(`${app.issuer}/admin`);
    await page.fill('#email', admin.email);
    await page.fill('#password', PASSWORD);
    await page.click('.button--primary');
    await walkThrough(page);
    await context.close();
    expect(problems.filter((problem) => !/status of 4(00|09)/.test(problem))).to.deep.equal([]);
  }

  const submit = (page: Page) => page.click('form[method=post] .button--primary');

  it('lead from registering an app to its secret, its rotation and its end', async () => {
    await visit(true, async (page) => {
      await look(page, 'Apps');
      await page.click('text=Register an app');
      await look(page, 'Register an app');
      await page.fill('#name', 'Shop');
      await page.fill('#redirect_uris', 'https://shop.example/cb\nhttp://shop.example/cb');
      await submit(page);
      await page.getByText('Line 2, “http://shop.example/cb”').waitFor();
      await look(page, 'Register an app');
      expect(await page.inputValue('#name')).to.equal('Shop');
      await page.fill('#redirect_uris', 'https://shop.example/cb');
      await page.check('[value=orders]');
      await submit(page);
      await look(page, 'Shop is registered');
      const secret = String(await page.textContent('#secret'));
      await page.click('text=I have copied it');
      await look(page, 'Shop');
      expect(await page.content()).not.to.contain(secret);
      await page.click('text=New secret');
      await look(page, 'Make a new secret?');
      await submit(page);
      await look(page, 'New secret of Shop');
      await page.click('text=I have copied it');
      await look(page, 'Shop');
      await page.click(`.danger-link >> nth=0`);
      await look(page, 'Revoke this secret?');
      await page.click('.button--danger');
      await page.getByText('The secret was revoked').waitFor();
      await page.click('text=Delete the app');
      await look(page, 'Delete this app?');
      await page.click('.button--danger');
      await page.getByText('The app was deleted').waitFor();
      await page.click('text=A name without');
      await look(page, 'A name without');
    });
  });

  it('lead from making an account to changing it', async () => {
    await visit(true, async (page) => {
      await page.click('text=Accounts');
      await look(page, 'Accounts');
      await page.click('text=New account');
      await look(page, 'New account');
      await page.fill('#email', admin.email);
      await submit(page);
      await page.getByText('There is an account with this e-mail already').waitFor();
      await look(page, 'New account');
      await page.fill('#email', `${'long'.repeat(15)}@${'example'.repeat(8)}.com`);
      await page.check('[value=pending]');
      await submit(page);
      await look(page, 'long');
      await page.click('text=Approve');
      await page.getByText('was approved').waitFor();
      await page.click('text=Edit');
      await look(page, 'Edit');
      await page.selectOption('#organization', 'acme');
      await submit(page);
      await page.getByText('The account was saved').waitFor();
      await page.goto(`${app.issuer}/admin/accounts/${admin.id}/disable`);
      await page.click('.button--danger');
      await page.getByText('This is the only administrator').waitFor();
      await look(page, 'Disable this account?');
    });
  });

  it('lead from adding an identity provider to testing it and to an app token', async () => {
    const client = await app.client({ name: 'Exchanger' });
    await visit(true, async (page) => {
      await page.click('text=Identity providers');
      await look(page, 'Identity providers');
      await page.click('.page-head .button--primary');
      await look(page, 'Add an identity provider');
      await page.fill('#id', 'corp');
      await page.check('[value=oidc]');
      await page.fill('#issuer', 'nowhere');
      await submit(page);
      await page.locator('#issuer-problem').waitFor();
      await look(page, 'Add an identity provider');
      await page.fill('#issuer', 'http://localhost:1');
      await submit(page);
      await page.getByText('The identity provider was added').waitFor();
      await page.click('form[action$="/test"] .button');
      await page.locator('.findings__item--bad').waitFor();
      await look(page, 'corp');
      await page.goto(`${app.issuer}/admin/apps/${client.id}`);
      await page.click('text=New app token');
      await look(page, 'New app token');
      await page.fill('#provider_client_ids', 'exchanger');
      await submit(page);
      await look(page, 'New app token of Exchanger');
      await page.click('text=I have copied it');
      await look(page, 'Exchanger');
    });
  });

  it('work without scripts', async () => {
    await visit(false, async (page) => {
      await page.click('text=Register an app');
      await page.fill('#name', 'Plain');
      await page.fill('#redirect_uris', 'https://plain.example/cb');
      await submit(page);
      expect(String(await page.textContent('#secret'))).to.match(/^[\w-]{43}$/);
      await page.click('text=I have copied it');
      await page.click('text=Disable the app');
      await page.click('.button--danger');
      await page.getByText('The app is disabled').waitFor();
    });
  });
});

/** The one form of a page that is sent. */
function formIn(page: string): ReturnType<typeof formOf> {
  return formOf(page.slice(Math.max(page.indexOf('<form method="post"'), 0)));
}

/** What stands in an element made to be copied. */
function codeIn(page: string, id: string): string {
  return unescaped(new RegExp(`<code id="${id}">([^<]*)`).exec(page)?.[1] ?? '');
}

function unescaped(text: string): string {
  return text
    .replace(/&#(\d+);/g, (_all, code: string) => String.fromCodePoint(Number(code)))
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&');
}
