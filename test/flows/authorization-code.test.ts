import { mock } from 'node:test';
import { expect } from 'chai';
import { createRemoteJWKSet, decodeProtectedHeader, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import * as oidc from 'openid-client';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows, formOf, fragmentOf, OFFLINE, titleOf, walk } from '../support/flow.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let person: Awaited<ReturnType<TestApp['person']>>;
  let client: TestClient;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    person = await app.person();
    client = await app.client();
  });
  afterEach(() => mock.timers.reset());
  after(async () => {
    await app.close();
    await store.remove();
  });

  /** Where a request leads that nobody has to answer. */
  async function open(params: Record<string, string> | string, who: { id: string } = client) {
    const url = typeof params === 'string' ? params : flows.authorizeUrl(who, params);
    return flows.browser().open(url);
  }

  const ordinary = () => ({ redirect_uri: client.redirectUri, response_type: 'code', scope: 'openid', state: 's' });

  describe('an ordinary sign-in', () => {
    it('signs a person in to a server app, with consent once, and says who it is', async () => {
      const organization = await app.directory.organizations.create({ name: 'Acme' });
      await app.directory.permissions.create({ name: 'reports', description: 'Read your reports' });
      const member = await app.person({ organizationId: organization.id, permissions: ['reports'] });
      const reader = await app.client({ permissions: ['reports'] });
      const browser = flows.browser();
      const params = { scope: 'openid profile email reports' };
      const { url, verifier, request } = await flows.start({ client: reader, params });

      const login = await browser.open(url);
      expect(login.url.pathname).to.match(/^\/interaction\//);
      expect(login.text).to.contain('Sample app');
      const consent = await browser.submit(login.url.pathname, { email: member.email, password: member.password });
      expect(consent.text).to.contain('Read your reports');
      const landing = await browser.submit(consent.url.pathname, { decision: 'allow' });
      expect(`${landing.url.origin}${landing.url.pathname}`).to.equal(reader.redirectUri);
      expect([...landing.url.searchParams.keys()]).to.have.members(['code', 'state', 'iss']);
      expect(landing.url.searchParams.get('iss')).to.equal(app.issuer);

      const config = await flows.configure(reader);
      const tokens = await oidc.authorizationCodeGrant(config, landing.url, {
        pkceCodeVerifier: verifier,
        expectedState: String(request.state),
        expectedNonce: String(request.nonce),
        idTokenExpected: true,
      });
      expect(tokens).to.include({ scope: 'openid profile email reports', expires_in: 3600, token_type: 'bearer' });
      const claims = tokens.claims();
      expect(claims).to.include({ sub: member.id, email: member.email, name: 'Pat Example' });
      expect(claims).to.include({ iss: app.issuer, nonce: request.nonce, acr: 'urn:latchkey:acr:password' });
      expect(claims?.aud).to.deep.equal([reader.id]);
      expect(claims?.organization).to.deep.equal({ id: organization.id, name: 'Acme' });

      const again = await browser.open(
        (await flows.start({ client: reader, params: { ...params, prompt: 'none' } })).url,
      );
      expect(again.url.searchParams.get('code')).to.be.a('string');
    });

    it('signs the ID token with a published RS256 key', async () => {
      const { id_token: token = '' } = await flows.tokens({ client, person });
      expect(decodeProtectedHeader(token)).to.include({ alg: 'RS256' }).and.to.have.property('kid');
      const keys = createRemoteJWKSet(new URL(`${app.issuer}/identity/jwks`));
      const { payload } = await jwtVerify(token, keys, { issuer: app.issuer, audience: client.id });
      expect(payload.sub).to.match(/^[0-9a-f]{8}-[0-9a-f]{4}-4/);
    });

    it('takes the secret in the header or in the body, form-encoded where the header wants it', async () => {
      for (const auth of [oidc.ClientSecretBasic(client.secret), oidc.ClientSecretPost(client.secret)]) {
        const { callback, verifier } = await flows.authorize({ client, person, params: { state: 's', nonce: 'n' } });
        const config = await flows.configure(client, auth);
        const checks = { pkceCodeVerifier: verifier, expectedState: 's', expectedNonce: 'n' };
        expect(await oidc.authorizationCodeGrant(config, callback, checks)).to.have.property('access_token');
      }
    });

    it('takes a signed assertion of an app that has keys instead of a secret', async () => {
      const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
      const jwk = { ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' };
      const signer = await app.client({ jwks: { keys: [jwk] } });
      const { callback, verifier } = await flows.authorize({
        client: signer,
        person,
        params: { state: 's', nonce: 'n' },
      });
      const config = await flows.configure(signer, oidc.PrivateKeyJwt({ key: privateKey, kid: 'one' }));
      const checks = { pkceCodeVerifier: verifier, expectedState: 's', expectedNonce: 'n' };
      expect(await oidc.authorizationCodeGrant(config, callback, checks)).to.have.property('access_token');
    });

    it('needs neither a nonce nor PKCE from an app with a secret', async () => {
      const landing = await walk(flows.browser(), flows.authorizeUrl(client, ordinary()), person);
      const config = await flows.configure(client);
      const tokens = await oidc.authorizationCodeGrant(config, landing.url, { expectedState: 's' });
      expect(tokens.claims()).not.to.have.property('nonce');
    });

    it('answers at the token endpoint in a way that nobody stores', async () => {
      const { headers, body } = await flows.redeem(client, await flows.authorize({ client, person }));
      expect(headers.get('cache-control')).to.equal('no-store');
      expect(body).to.include({ token_type: 'Bearer', expires_in: 3600 });
      expect(body).not.to.have.property('refresh_token');
    });

    it('does not mind the order of scopes, unknown parameters and languages, or an unknown login hint', async () => {
      const params = {
        scope: 'email profile openid',
        display: 'popup',
        ui_locales: 'se',
        claims_locales: 'se',
        login_hint: 'nobody@nowhere.example',
        unheard_of: '1',
      };
      const tokens = await flows.tokens({ client, person, params });
      expect(tokens.claims()?.email).to.equal(person.email);
    });
  });

  describe('PKCE', () => {
    it('is demanded of an app without a secret', async () => {
      const publicClient = await app.client({ public: true });
      const { url } = await open(ordinary(), publicClient);
      expect(url.searchParams.get('error')).to.equal('invalid_request');
      expect((await flows.tokens({ client: publicClient, person })).claims()?.sub).to.equal(person.id);
    });

    it('takes S256 alone', async () => {
      const challenge = await oidc.calculatePKCECodeChallenge(oidc.randomPKCECodeVerifier());
      for (const method of ['plain', 's256', 'S512', undefined]) {
        const params = { ...ordinary(), code_challenge: challenge, ...(method && { code_challenge_method: method }) };
        expect((await open(params)).url.searchParams.get('error'), String(method)).to.equal('invalid_request');
      }
    });

    it('refuses challenges of another length or alphabet', async () => {
      for (const challenge of ['a'.repeat(42), 'a'.repeat(129), `${'a'.repeat(42)}!`]) {
        const { url } = await open({ ...ordinary(), code_challenge: challenge, code_challenge_method: 'S256' });
        expect(url.searchParams.get('error'), challenge).to.equal('invalid_request');
      }
    });

    it('is kept to once it was asked for, also by an app with a secret', async () => {
      const wrong = [
        undefined,
        '',
        oidc.randomPKCECodeVerifier(),
        'a'.repeat(42),
        'a'.repeat(129),
        `${'a'.repeat(42)}ä`,
      ];
      for (const verifier of wrong) {
        const { code } = await flows.authorize({ client, person });
        const grant = { grant_type: 'authorization_code', redirect_uri: client.redirectUri, code };
        const { status, body } = await flows.post('token', client, {
          ...grant,
          ...(verifier !== undefined && { code_verifier: verifier }),
        });
        expect(`${status} ${body.error}`, String(verifier)).to.be.oneOf(['400 invalid_grant', '400 invalid_request']);
        expect(body).not.to.have.property('access_token');
      }
    });

    it('refuses a verifier that no challenge was sent for', async () => {
      const landing = await walk(flows.browser(), flows.authorizeUrl(client, ordinary()), person);
      const code = String(landing.url.searchParams.get('code'));
      const { body } = await flows.redeem(client, { code, verifier: oidc.randomPKCECodeVerifier() });
      expect(body.error).to.equal('invalid_grant');
    });
  });

  describe('a code', () => {
    it('works once, and what it gave dies when it is used again', async () => {
      const redirected = await flows.authorize({ client, person, params: OFFLINE });
      const first = await redirected.redeem();
      const second = await flows.redeem(client, redirected);
      expect(second).to.include({ status: 400 });
      expect(second.body.error).to.equal('invalid_grant');
      expect((await flows.userinfo(first.access_token)).status).to.equal(401);
      expect((await flows.refresh(client, String(first.refresh_token))).body.error).to.equal('invalid_grant');
    });

    it('is refused and gives the first tokens away still when it is used again after its time', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const redirected = await flows.authorize({ client, person });
      await redirected.redeem();
      mock.timers.tick(31_000);
      expect((await flows.redeem(client, redirected)).body.error).to.equal('invalid_grant');
    });

    it('lives for 60 seconds', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const [early, late] = [await flows.authorize({ client, person }), await flows.authorize({ client, person })];
      mock.timers.tick(58_000);
      expect((await flows.redeem(client, early)).status).to.equal(200);
      mock.timers.tick(3_000);
      expect((await flows.redeem(client, late)).body.error).to.equal('invalid_grant');
    });

    it('is of no use to another app, nor with another redirect URI or none', async () => {
      const other = await app.client();
      expect((await flows.redeem(other, await flows.authorize({ client, person }))).body.error).to.equal(
        'invalid_grant',
      );
      const { code, verifier } = await flows.authorize({ client, person });
      const elsewhere = { ...client, redirectUri: `${client.redirectUri}/` };
      expect((await flows.redeem(elsewhere, { code, verifier })).body.error).to.equal('invalid_grant');
      const none = { grant_type: 'authorization_code', code, code_verifier: verifier };
      expect((await flows.post('token', client, none)).body.error).to.equal('invalid_request');
    });
  });

  describe('a redirect URI', () => {
    const page = async (url: string) => {
      const { response, text } = await open(url);
      expect(response?.status).to.equal(400);
      expect(response?.headers.get('content-type')).to.contain('text/html');
      return titleOf(text);
    };

    it('that is not registered, to the letter, is never gone to', async () => {
      const { redirectUri } = client;
      const wrong = [
        'https://evil.example/callback',
        redirectUri.replace('.', 'x'),
        `${redirectUri}?extra=1`,
        `${redirectUri}/`,
        `${redirectUri}/../other`,
        redirectUri.toUpperCase(),
        `${redirectUri}#fragment`,
        redirectUri.replace('https://', 'https://user@'),
        `${redirectUri}${'a'.repeat(10_000)}`,
        'javascript:alert(1)',
        '',
      ];
      for (const redirect_uri of wrong) await page(flows.authorizeUrl(client, { ...ordinary(), redirect_uri }));
    });

    it('is not chosen for an app that names none', async () => {
      const two = await app.client({ redirectUris: ['https://app.example.com/a', 'https://app.example.com/b'] });
      for (const { id } of [two, client])
        await page(flows.authorizeUrl({ id }, { response_type: 'code', scope: 'openid' }));
    });

    it('that is doubled is an error, whichever comes first', async () => {
      const good = encodeURIComponent(client.redirectUri);
      const evil = encodeURIComponent('https://evil.example/');
      const base = `${app.issuer}/identity/authorize?client_id=${client.id}&response_type=code&scope=openid`;
      await page(`${base}&redirect_uri=${good}&redirect_uri=${evil}`);
      await page(`${base}&redirect_uri=${evil}&redirect_uri=${good}`);
    });

    it('of the loopback interface matches every port of a native app, and nothing else', async () => {
      const native = await app.client({ public: true, redirectUris: ['http://127.0.0.1/cb'] });
      const ask = async (redirect_uri: string) => (await open({ ...ordinary(), redirect_uri }, native)).url;
      expect((await ask('http://127.0.0.1:49152/cb')).searchParams.get('error')).to.equal('invalid_request');
      for (const wrong of [
        'http://127.0.0.1:49152/other',
        'http://localhost:49152/cb',
        'http://127.0.0.1.evil.example/cb',
        'https://127.0.0.1/cb',
      ])
        await page(flows.authorizeUrl(native, { ...ordinary(), redirect_uri: wrong }));
      const { redirectUri } = await app.client({ redirectUris: ['http://127.0.0.1:8080/cb'] });
      await page(flows.authorizeUrl(client, { ...ordinary(), redirect_uri: redirectUri.replace('8080', '8081') }));
    });

    it('of an unknown app leads to a page that shows nothing unescaped', async () => {
      for (const id of ['<script>alert(1)</script>', 'a'.repeat(3000), 'unknown', '']) {
        const { response, text } = await open(ordinary(), { id });
        expect(response?.status).to.equal(400);
        expect(text).not.to.contain('<script>alert');
      }
    });
  });

  describe('a refusal', () => {
    it('goes back to the app with error, state and iss alone, in the way it wants its answers', async () => {
      const cases: [params: Record<string, string>, error: string][] = [
        [{ response_type: 'smoke signals' }, 'unsupported_response_type'],
        [{ response_mode: 'smoke_signals' }, 'unsupported_response_mode'],
        [{ prompt: 'none login' }, 'invalid_request'],
        [{ prompt: 'none' }, 'login_required'],
        [{ max_age: '-1' }, 'invalid_request'],
        [{ scope: 'openid reports-of-others \u0007' }, 'invalid_scope'],
        [{ request: 'eyJhbGciOiJub25lIn0.e30.' }, 'request_not_supported'],
        [{ request_uri: 'https://app.example.com/request' }, 'request_uri_not_supported'],
        [{ registration: '{}' }, 'registration_not_supported'],
        [{ id_token_hint: 'not.a.token' }, 'invalid_request'],
        [{ resource: 'https://api.example.com' }, 'invalid_target'],
        [{ claims: 'not json' }, 'invalid_request'],
      ];
      for (const [params, error] of cases) {
        const { url } = await open({ ...ordinary(), ...params });
        expect(url.searchParams.get('error'), JSON.stringify(params)).to.equal(error);
        expect(url.searchParams.get('state')).to.equal('s');
        expect(url.searchParams.get('iss')).to.equal(app.issuer);
        expect(['error', 'error_description', 'state', 'iss']).to.include.members([...url.searchParams.keys()]);
        expect(url.hash).to.equal('');
        const evil = await open({ ...ordinary(), ...params, redirect_uri: 'https://evil.example/' });
        expect(evil.response?.status, JSON.stringify(params)).to.equal(400);
      }
    });

    it('of a flow with tokens in the fragment goes into the fragment', async () => {
      for (const response_type of ['token', 'code token', 'code id_token']) {
        const { url } = await open({ ...ordinary(), response_type, nonce: 'n' });
        expect(url.search).to.equal('');
        const refusal = { error: 'unsupported_response_type', state: 's', iss: app.issuer };
        expect(Object.fromEntries(fragmentOf(url)), response_type).to.include(refusal);
      }
    });

    it('of a request without response_type, or with a doubled parameter, goes back as well', async () => {
      const { response_type: _, ...without } = ordinary();
      expect((await open(without)).url.searchParams.get('error')).to.equal('invalid_request');
      const doubled = await open(`${flows.authorizeUrl(client, ordinary())}&nonce=a&nonce=b`);
      expect(doubled.url.searchParams.get('error')).to.equal('invalid_request');
      expect(doubled.url.searchParams.get('state')).to.equal('s');
    });

    it('comes as a form when the app asked for form_post, like success', async () => {
      const refused = await open({ ...ordinary(), response_mode: 'form_post', prompt: 'none' });
      expect(formOf(refused.text).action).to.equal(client.redirectUri);
      expect(formOf(refused.text).fields).to.include({ error: 'login_required', state: 's', iss: app.issuer });

      const state = '"><svg onload=alert(1)>';
      const params = { ...ordinary(), state, response_mode: 'form_post' };
      const landing = await walk(flows.browser(), flows.authorizeUrl(client, params), person);
      expect(landing.text).not.to.contain('<svg');
      const { action, fields } = formOf(landing.text);
      expect(action).to.equal(client.redirectUri);
      expect(fields).to.include({ state, iss: app.issuer }).and.to.have.property('code');
      const policy = String(landing.response?.headers.get('content-security-policy'));
      expect(policy)
        .to.match(/script-src 'self' 'sha256-[^']+'/)
        .and.to.contain(`form-action 'self' ${new URL(client.redirectUri).protocol}`);
      expect(policy).to.contain("frame-ancestors 'none'");
      expect(landing.response?.headers.get('cache-control')).to.equal('no-store');
    });

    it('gives the state back as it was sent, whatever it is', async () => {
      for (const state of [
        'ä😀\u{10ffff}',
        '"><svg onload=alert(1)>',
        'a\r\nSet-Cookie: evil=1',
        'a b+c%20&d=e',
        'x'.repeat(128),
      ]) {
        const { url } = await open({ ...ordinary(), state, prompt: 'none' });
        expect(url.searchParams.get('state')).to.equal(state);
      }
    });
  });

  describe('a request that comes as a form', () => {
    it('signs in like one in a URL', async () => {
      const { url, verifier } = await flows.start({ client });
      const browser = flows.browser();
      const login = await browser.submit('/identity/authorize', Object.fromEntries(new URL(url).searchParams));
      const landing = await walk(browser, login.url.href, person);
      const { body } = await flows.redeem(client, { code: String(landing.url.searchParams.get('code')), verifier });
      expect(body).to.have.property('id_token');
    });

    it('may neither double a parameter nor be spread over form and URL', async () => {
      const evil = 'https://evil.example/';
      const good: [string, string][] = Object.entries({ client_id: client.id, ...ordinary() });
      const post = (path: string, pairs: [string, string][]) =>
        flows.browser().open(path, { method: 'POST', body: new URLSearchParams(pairs) });
      const doubled = await post('/identity/authorize', [...good, ['redirect_uri', evil]]);
      const spread = await post(`/identity/authorize?redirect_uri=${encodeURIComponent(evil)}`, good);
      for (const { response } of [doubled, spread]) expect(response?.status).to.equal(400);
    });
  });
});
