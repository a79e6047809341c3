import { expect } from 'chai';
import { createLocalJWKSet, decodeProtectedHeader, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose';
import type { NewClient } from '../../src/clients/clients.ts';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows, formOf, fragmentOf, OFFLINE, walk } from '../support/flow.ts';

/** Its lists are read by name, and those that are not lists as they are. */
interface Metadata {
  [name: string]: unknown;
  jwks_uri: string;
  response_types_supported: string[];
  response_modes_supported: string[];
  grant_types_supported: string[];
  id_token_signing_alg_values_supported: string[];
  scopes_supported: string[];
  claims_supported: string[];
  ui_locales_supported: string[];
}

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let metadata: Metadata;
  let person: Awaited<ReturnType<TestApp['person']>>;
  let client: TestClient;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    await app.directory.permissions.create({ name: 'reports', description: 'Read your reports' });
    const organization = await app.directory.organizations.create({ name: 'Acme Oy' });
    person = await app.person({
      organizationId: organization.id,
      permissions: ['reports'],
      middleName: 'Maria',
      nickname: 'aino',
      preferredUsername: 'aino',
      website: 'https://aino.example',
      birthdate: '1990-02-28',
      zoneinfo: 'Europe/Helsinki',
      locale: 'fi-FI',
      phoneNumber: '+358 40 1234567',
      address: { country: 'FI' },
    });
    client = await app.client({ permissions: ['reports', 'tokens'], clientCredentials: true, introspection: true });
    metadata = (await (await fetch(`${app.issuer}/.well-known/openid-configuration`)).json()) as Metadata;
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  /** Where an app of all response types lands, and what it is told there. */
  async function landed(params: Record<string, string>, made: Partial<NewClient> = {}) {
    const asking = await app.client({ implicit: true, trusted: true, ...made });
    const { url } = await flows.start({ client: asking, params });
    const landing = await walk(flows.browser(), url, person);
    const { fields } = formOf(landing.text);
    return { landing, query: landing.url.searchParams, fragment: fragmentOf(landing.url), fields };
  }

  it('names endpoints that are there', async () => {
    const names = Object.keys(metadata).filter((name) => /_(endpoint|uri)$/.test(name));
    expect(names).to.have.length.above(7);
    for (const name of names) {
      const posted = /token|introspection|revocation|pushed/.test(name);
      const { status } = await fetch(String(metadata[name]), { method: posted ? 'POST' : 'GET', redirect: 'manual' });
      expect(status, name).to.be.oneOf([200, 303, 400, 401]);
    }
  });

  it('names response types and modes of which each pair works or is refused by the rule for it, and no other does', async () => {
    const answers = {
      code: ['code'],
      id_token: ['id_token'],
      'id_token token': ['id_token', 'access_token'],
      none: [],
    };
    for (const type of metadata.response_types_supported) {
      const expected = ['state', ...answers[type as keyof typeof answers]];
      for (const mode of metadata.response_modes_supported) {
        const { landing, query, fragment, fields } = await landed({ response_type: type, response_mode: mode });
        const told = { query, fragment, form_post: new URLSearchParams(fields) }[mode];
        // Tokens never go into a query (OAuth Multiple Response Types §5).
        if (mode === 'query' && type.includes('token'))
          expect(query.has('id_token') || query.has('access_token')).to.equal(false);
        else
          expect([...(told ?? new URLSearchParams()).keys()], `${type} ${mode} ${landing.url}`).to.include.members(
            expected,
          );
      }
    }
    for (const response_type of ['token', 'code token', 'code id_token', 'code id_token token']) {
      const { query, fragment } = await landed({ response_type });
      expect(query.get('error') ?? fragment.get('error'), response_type).to.equal('unsupported_response_type');
    }
    for (const response_mode of ['web_message', 'jwt', 'query.jwt']) {
      const { query } = await landed({ response_mode });
      expect(query.get('error'), response_mode).to.be.oneOf(['unsupported_response_mode', 'invalid_request']);
    }
  });

  it('names the grant types that there are', async () => {
    const others = ['password', 'urn:ietf:params:oauth:grant-type:device_code', 'urn:openid:params:grant-type:ciba'];
    for (const grant_type of [...metadata.grant_types_supported, ...others]) {
      if (grant_type === 'implicit') continue;
      const { body } = await flows.post('token', client, { grant_type });
      const isListed = metadata.grant_types_supported.includes(grant_type);
      expect(body.error === 'unsupported_grant_type', `${grant_type} ${body.error}`).to.equal(!isListed);
    }
    const { refresh_token: token } = await flows.tokens({ client, person, params: OFFLINE });
    expect((await flows.refresh(client, String(token))).status).to.equal(200);
  });

  it('names the algorithms that an app can have its ID tokens signed with, and no other can be chosen', async () => {
    const { keys } = (await (await fetch(String(metadata.jwks_uri))).json()) as { keys: [] };
    for (const alg of metadata.id_token_signing_alg_values_supported) {
      const chosen = await app.client({ idTokenSigningAlg: alg as 'RS256' });
      const { id_token: token = '' } = await flows.tokens({ client: chosen, person });
      expect(decodeProtectedHeader(token).alg).to.equal(alg);
      await jwtVerify(token, createLocalJWKSet({ keys }), { issuer: app.issuer, audience: chosen.id });
    }
    for (const alg of ['none', 'HS256', 'PS256', 'ES384']) {
      const made = app.client({ idTokenSigningAlg: alg as 'RS256' });
      expect(
        await made.then(
          () => undefined,
          (error: Error) => error,
        ),
        alg,
      ).to.be.instanceOf(Error);
    }
  });

  it('names the algorithms with which an app proves itself by its keys, at each endpoint', async () => {
    const endpoints = ['token', 'introspection', 'revocation'];
    for (const endpoint of endpoints) {
      const algorithms = metadata[`${endpoint}_endpoint_auth_signing_alg_values_supported`];
      expect(algorithms, endpoint).to.be.an('array').that.includes('ES256');
      for (const alg of algorithms as string[]) {
        const { publicKey, privateKey } = await generateKeyPair(alg);
        const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: alg, alg, use: 'sig' }] } as NewClient['jwks'];
        const proving = await app.client({ jwks, clientCredentials: true });
        const assertion = await new SignJWT({ jti: `${endpoint}-${alg}` })
          .setProtectedHeader({ alg, kid: alg })
          .setIssuer(proving.id)
          .setSubject(proving.id)
          .setAudience(app.issuer)
          .setIssuedAt()
          .setExpirationTime('1m')
          .sign(privateKey);
        const params = {
          client_id: proving.id,
          client_assertion: assertion,
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          grant_type: 'client_credentials',
          token: 'x',
        };
        const path = String(metadata[`${endpoint}_endpoint`]).replace(/.*\//, '');
        const { status, body } = await flows.post(path, { id: proving.id, secret: '' }, params);
        expect(status, `${alg} at ${endpoint}: ${JSON.stringify(body)}`).to.equal(200);
      }
    }
  });

  it('names scopes and claims that somebody who has told everything is told of, and no others', async () => {
    const scope = [...metadata.scopes_supported, 'unheard-of'].join(' ');
    const tokens = await flows.tokens({ client, person, params: { scope, prompt: 'consent', max_age: '600' } });
    expect(tokens.scope?.split(' ')).to.have.members(metadata.scopes_supported);
    const known = { ...tokens.claims(), ...((await (await flows.userinfo(tokens.access_token)).json()) as object) };
    const envelope = ['aud', 'exp', 'iat', 'iss', 'nonce', 'at_hash', 'sid'];
    const told = Object.keys(known).filter((name) => !envelope.includes(name));
    const promised = metadata.claims_supported.filter((name) => !envelope.includes(name));
    expect(told).to.have.members(promised);
    for (const name of promised) {
      const claims = JSON.stringify({ userinfo: { [name]: null } });
      const asked = await flows.tokens({ client, person, params: { scope: 'openid', claims, prompt: 'consent' } });
      const answer = (await (await flows.userinfo(asked.access_token)).json()) as object;
      if (!['acr', 'amr', 'auth_time'].includes(name)) expect(answer, name).to.have.property(name);
    }
  });

  it('says what of a request is taken and what is not', async () => {
    // Not named is not supported, which the address of a request would be by default (OIDC Discovery §3).
    expect(metadata).to.include({ claims_parameter_supported: true, request_uri_parameter_supported: false });
    expect(metadata.request_parameter_supported ?? false).to.equal(false);
    const { query } = await landed({ request: 'eyJhbGciOiJub25lIn0.e30.' });
    expect(query.get('error')).to.equal('request_not_supported');
    const { query: byUri } = await landed({ request_uri: 'https://app.example.com/request' });
    expect(byUri.get('error')).to.equal('request_uri_not_supported');
    expect(metadata.code_challenge_methods_supported).to.deep.equal(['S256']);
    const { query: plain } = await landed({ code_challenge_method: 'plain' });
    expect(plain.get('error')).to.equal('invalid_request');
  });

  it('names the languages of its pages', async () => {
    for (const language of [...metadata.ui_locales_supported, 'tlh']) {
      const { url } = await flows.start({ client, params: { ui_locales: language } });
      const { response } = await flows.browser().open(url);
      const expected = metadata.ui_locales_supported.includes(language) ? language : 'en';
      expect(response?.headers.get('content-language'), language).to.equal(expected);
    }
  });

  it('names the contexts of authentication that an answer may have', async () => {
    const tokens = await flows.tokens({ client, person });
    expect(metadata.acr_values_supported).to.include(tokens.claims()?.acr);
  });
});
