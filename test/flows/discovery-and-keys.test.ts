import { once } from 'node:events';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { mock } from 'node:test';
import { expect } from 'chai';
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from 'jose';
import { readConfig } from '../../src/config.ts';
import { openCore } from '../../src/core.ts';
import {
  onEachEngine,
  SECRET_KEY,
  startApp,
  startProcess,
  type TestApp,
  type TestClient,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import { createFlows, type Flows } from '../support/flow.ts';
import { shell, shellJson } from '../support/shell.ts';

const DAY = 24 * 60 * 60 * 1000;
const DISCOVERY = '/.well-known/openid-configuration';

/** RFC 8414 §2, OpenID Discovery §3, and the specifications that added to them. */
const KNOWN_METADATA = [
  ...['issuer', 'authorization_endpoint', 'token_endpoint', 'userinfo_endpoint', 'jwks_uri', 'end_session_endpoint'],
  ...['introspection_endpoint', 'revocation_endpoint', 'pushed_authorization_request_endpoint'],
  ...['scopes_supported', 'claims_supported', 'claim_types_supported', 'claims_parameter_supported'],
  ...['response_types_supported', 'response_modes_supported', 'grant_types_supported', 'subject_types_supported'],
  ...['acr_values_supported', 'code_challenge_methods_supported', 'ui_locales_supported'],
  ...['id_token_signing_alg_values_supported', 'token_endpoint_auth_methods_supported'],
  ...['token_endpoint_auth_signing_alg_values_supported', 'request_uri_parameter_supported'],
  ...['authorization_response_iss_parameter_supported', 'userinfo_signing_alg_values_supported'],
  ...['introspection_endpoint_auth_methods_supported', 'introspection_endpoint_auth_signing_alg_values_supported'],
  ...['revocation_endpoint_auth_methods_supported', 'revocation_endpoint_auth_signing_alg_values_supported'],
  ...[
    'prompt_values_supported',
    'request_parameter_supported',
    'backchannel_logout_supported',
    'backchannel_logout_session_supported',
  ],
];

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let other: TestProcess;
  let flows: Flows;
  let person: Awaited<ReturnType<TestApp['person']>>;
  let client: TestClient;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    other = await startProcess(store, { ISSUER: app.issuer });
    flows = createFlows(app.issuer);
    person = await app.person();
    client = await app.client();
  }).timeout(20_000);
  afterEach(() => mock.timers.reset());
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await store.remove();
  });

  const getJson = async <T = Record<string, unknown>>(path: string, origin = app.issuer) =>
    (await (await fetch(`${origin}${path}`)).json()) as T;
  const published = (origin?: string) => getJson<JSONWebKeySet>('/identity/jwks', origin);

  describe('discovery', () => {
    it('names the issuer, every endpoint below it, and what there is', async () => {
      const metadata = await getJson(DISCOVERY);
      expect(metadata.issuer).to.equal(app.issuer);
      const endpoints = Object.entries(metadata).filter(([name]) => /_endpoint$|_uri$/.test(name));
      expect(endpoints).to.have.length.above(7);
      for (const [name, url] of endpoints) expect(url, name).to.match(new RegExp(`^${app.issuer}/identity/[a-z]+$`));
      expect(metadata.scopes_supported).to.include.members([
        'openid',
        'profile',
        'email',
        'address',
        'phone',
        'offline_access',
        'tokens',
      ]);
      expect(metadata.response_types_supported).to.have.members(['code', 'id_token', 'id_token token', 'none']);
      expect(metadata.grant_types_supported).to.include.members([
        'authorization_code',
        'implicit',
        'refresh_token',
        'client_credentials',
      ]);
      expect(metadata.code_challenge_methods_supported).to.deep.equal(['S256']);
      expect(metadata.id_token_signing_alg_values_supported).to.have.members(['RS256', 'ES256', 'EdDSA']);
      expect(metadata).to.include({
        authorization_response_iss_parameter_supported: true,
        claims_parameter_supported: true,
      });
      expect(metadata.claims_supported).to.include.members([
        'sub',
        'name',
        'email',
        'organization',
        'auth_time',
        'acr',
      ]);
      expect(KNOWN_METADATA).to.include.members(Object.keys(metadata));
      expect(await getJson('/.well-known/oauth-authorization-server')).to.deep.equal(metadata);
      expect(await getJson(DISCOVERY, other.url)).to.deep.equal(metadata);
    });

    it('lists the ways of proving to be an app that work at each endpoint', async () => {
      const metadata = await getJson(DISCOVERY);
      const worker = await app.client({ clientCredentials: true, introspection: true });
      const forms = {
        token: { grant_type: 'client_credentials' },
        introspection: { token: 'x' },
        revocation: { token: 'x' },
      };
      for (const [endpoint, params] of Object.entries(forms)) {
        const methods = metadata[`${endpoint}_endpoint_auth_methods_supported`];
        expect(methods).to.have.members(['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none']);
        const path = String(metadata[`${endpoint}_endpoint`]).replace(`${app.issuer}/identity/`, '');
        const form = params as Record<string, string>;
        expect((await flows.post(path, worker, form)).status, endpoint).to.equal(200);
        const posted = { ...form, client_id: worker.id, client_secret: worker.secret };
        expect((await flows.post(path, worker, posted)).status, endpoint).to.equal(200);
        const wrong = { ...form, client_id: worker.id, client_secret: 'wrong' };
        expect((await flows.post(path, worker, wrong)).status, endpoint).to.equal(401);
      }
    });

    it('lists the prompts that work, and no other does', async () => {
      const { prompt_values_supported: prompts } = await getJson<{ prompt_values_supported: string[] }>(DISCOVERY);
      expect(prompts).to.have.members(['none', 'login', 'consent', 'select_account']);
      for (const prompt of [...prompts, 'create', 'nonsense']) {
        const { url } = await flows.start({ client, params: { prompt } });
        const response = await fetch(url, { redirect: 'manual' });
        const location = new URL(String(response.headers.get('location')), app.issuer);
        const error = location.searchParams.get('error');
        const expected = prompt === 'none' ? 'login_required' : prompts.includes(prompt) ? null : 'invalid_request';
        expect(error, prompt).to.equal(expected);
      }
    });

    it('can be read by apps in a browser', async () => {
      for (const path of [DISCOVERY, '/identity/jwks']) {
        const { headers } = await fetch(`${app.issuer}${path}`, { headers: { origin: 'https://anywhere.example' } });
        expect(headers.get('access-control-allow-origin'), path).to.be.oneOf(['*', 'https://anywhere.example']);
        expect(headers.get('access-control-allow-credentials'), path).to.equal(null);
      }
    });

    it('says only https when the issuer is https', async () => {
      const secure = await startProcess(store, { ISSUER: 'https://id.example.com' });
      const metadata = await getJson(DISCOVERY, secure.url);
      await secure.kill('SIGKILL');
      const urls = Object.values(metadata).filter((value) => typeof value === 'string');
      for (const url of urls) expect(url).to.match(/^https:\/\/id\.example\.com(\/|$)/);
    });
  });

  describe('whatever Host a request claims', () => {
    const EVIL = {
      host: 'evil.example',
      'x-forwarded-host': 'evil.example',
      'x-forwarded-proto': 'https',
      'x-forwarded-port': '444',
      forwarded: 'host=evil.example;proto=https',
      accept: 'text/html',
    };

    async function ask(path: string, headers: Record<string, string> = {}) {
      const sent = request(`${app.issuer}${path}`, { headers: { ...EVIL, ...headers } }).end();
      const [response] = await once(sent, 'response');
      return {
        location: String(response.headers.location ?? ''),
        cookies: String(response.headers['set-cookie'] ?? ''),
        body: await text(response),
      };
    }

    it('no URL of ours is made of it: discovery, redirects, pages, cookies', async () => {
      const { url } = await flows.start({ client });
      const start = new URL(url);
      const paths = [
        DISCOVERY,
        '/identity/jwks',
        '/identity/logout',
        '/account',
        '/setup?code=x',
        '/nowhere',
        `${start.pathname}${start.search}`,
      ];
      const answers = await Promise.all(paths.map((path) => ask(path)));
      for (const [index, { location, body, cookies }] of answers.entries())
        for (const part of [location, body, cookies])
          expect(part, paths[index]).not.to.match(/evil\.example|https:\/\/localhost|:444\b/);
      expect(JSON.parse(answers[0]?.body ?? '').issuer).to.equal(app.issuer);

      const [, cookie = ''] = /(latchkey-interaction-\d+=[^;]+)/.exec(answers[6]?.cookies ?? '') ?? [];
      const [, signature = ''] = /(latchkey-interaction-\d+\.sig=[^;]+)/.exec(answers[6]?.cookies ?? '') ?? [];
      const login = await ask(answers[6]?.location ?? '', { cookie: `${cookie}; ${signature}` });
      expect(login.body).to.contain('name="password"').and.not.to.contain('evil.example');
    });
  });

  describe('signing keys', () => {
    it('are published without their private parts, RS256 first, each with an id of its own', async () => {
      const { keys } = await published();
      expect(keys.map(({ alg }) => alg).slice(0, 3)).to.deep.equal(['RS256', 'ES256', 'EdDSA']);
      expect(new Set(keys.map(({ kid }) => kid)).size).to.equal(keys.length);
      for (const key of keys) expect(key).not.to.have.any.keys('d', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'oth');
      expect(keys[0]?.n).to.have.length.above(340);
    });

    it('sign with the algorithm an app was registered for', async () => {
      for (const idTokenSigningAlg of ['RS256', 'ES256', 'EdDSA'] as const) {
        const chooser = await app.client({ idTokenSigningAlg });
        const { body } = await flows.redeem(chooser, await flows.authorize({ client: chooser, person }));
        const idToken = String(body.id_token);
        expect(decodeProtectedHeader(idToken).alg).to.equal(idTokenSigningAlg);
        const { payload } = await jwtVerify(idToken, createLocalJWKSet(await published()));
        expect(payload.sub).to.equal(person.id);
      }
    });

    it('sign with the algorithm that the shell chose for an app, when it was made or later', async () => {
      const { redirectUri } = client;
      const places = ['app', 'create', '--name', 'Chooser', '--redirect-uri', redirectUri, '--id-token-alg', 'ES256'];
      const made = await shellJson(store, ...places);
      const chooser = { id: String(made.client_id), secret: String(made.client_secret), redirectUri };
      const algorithm = async () => {
        const { id_token: token = '' } = await flows.tokens({ client: chooser, person });
        return decodeProtectedHeader(token).alg;
      };
      expect(await algorithm()).to.equal('ES256');
      const changed = await shellJson(store, 'app', 'update', chooser.id, '--id-token-alg', 'EdDSA');
      expect(changed.id_token_alg).to.equal('EdDSA');
      expect(await algorithm()).to.equal('EdDSA');
      for (const wrong of ['none', 'HS256', 'es256']) {
        const refused = await shell(store, ['app', 'update', chooser.id, '--id-token-alg', wrong]);
        expect(refused.status).to.equal(1);
      }
      expect(await algorithm()).to.equal('EdDSA');
    }).timeout(30_000);

    it('are the same in every process, which verify each other’s ID tokens', async () => {
      expect(await published(other.url)).to.deep.equal(await published());
      const elsewhere = createFlows(app.issuer, other.url);
      const { id_token: token } = await elsewhere.tokens({ client, person });
      await jwtVerify(String(token), createLocalJWKSet(await published()));
    });

    it('are made once, by several processes that start at once on an empty store', async () => {
      const empty = await openStore();
      const openEmpty = () => openCore(readConfig({ STORE_URL: empty.storeUrl, SECRET_KEY }));
      const directories = await Promise.all([openEmpty(), openEmpty(), openEmpty()]);
      const sets = await Promise.all(directories.map(({ signingKeys }) => signingKeys.load()));
      expect(new Set(sets.map(({ keys }) => keys.map(({ kid }) => kid).join())).size).to.equal(1);
      await Promise.all(directories.map(({ storage }) => storage.close()));
      await empty.remove();
    });

    it('are rotated from the shell while servers run: the new one signs, the old one still verifies', async () => {
      const browser = flows.browser();
      const before = String((await flows.tokens({ client, person, browser })).id_token);
      const { kid } = await shellJson(store, 'keys', 'rotate');

      for (const where of [flows, createFlows(app.issuer, other.url)]) {
        const after = String((await where.tokens({ client, person })).id_token);
        expect(decodeProtectedHeader(after).kid).to.equal(kid);
      }
      for (const origin of [app.issuer, other.url]) {
        const keys = await published(origin);
        expect(keys.keys[0]?.kid).to.equal(kid);
        await jwtVerify(before, createLocalJWKSet(keys));
      }
      const { url } = await flows.start({ client, params: { prompt: 'none', id_token_hint: before } });
      expect((await browser.open(url)).url.searchParams.get('code')).to.be.a('string');
    }).timeout(20_000);

    it('rotated by two processes at once make one new generation', async () => {
      const second = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
      const { length } = (await published()).keys;
      const rotated = await Promise.all([app.directory.signingKeys.rotate(), second.signingKeys.rotate()]);
      await second.storage.close();
      expect(new Set(rotated.map(({ kid }) => kid)).size).to.equal(1);
      const { keys } = await published();
      expect(keys).to.have.length(length + 3);
      expect(keys[0]?.kid).to.equal(rotated[0]?.kid);
      expect(await published(other.url)).to.deep.equal({ keys });
    });

    it('that were replaced are forgotten after a month', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const old = (await published()).keys.map(({ kid }) => kid);
      mock.timers.tick(31 * DAY);
      await app.directory.signingKeys.rotate();
      const first = (await published()).keys.map(({ kid }) => kid);
      expect(first).to.include.members(old.slice(0, 3));
      mock.timers.tick(31 * DAY);
      await app.directory.signingKeys.rotate();
      expect((await published()).keys.map(({ kid }) => kid)).not.to.include.members(old.slice(0, 1));
    });
  });
});
