import { hash } from 'node:crypto';
import { expect } from 'chai';
import * as oidc from 'openid-client';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import type { Landing } from '../support/browser.ts';
import { createFlows, type Flows, formOf, fragmentOf, walk } from '../support/flow.ts';

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
    client = await app.client({ public: true, implicit: true });
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  const ordinary = () => ({
    redirect_uri: client.redirectUri,
    response_type: 'id_token token',
    scope: 'openid profile email',
    state: 'a state',
    nonce: 'a nonce',
  });

  async function signIn(params: Record<string, string>, who: TestClient = client): Promise<Landing> {
    return walk(flows.browser(), flows.authorizeUrl(who, params), person);
  }

  it('signs a person in by an ID token in the fragment, with the claims of the granted scopes in it', async () => {
    const { url } = await signIn({ ...ordinary(), response_type: 'id_token' });
    expect(url.search).to.equal('');
    expect([...fragmentOf(url).keys()]).to.have.members(['id_token', 'state', 'iss']);

    const config = await flows.configure(client);
    oidc.useIdTokenResponseType(config);
    const claims = await oidc.implicitAuthentication(config, url, 'a nonce', { expectedState: 'a state' });
    expect(claims).to.include({ sub: person.id, email: person.email, name: 'Pat Example', nonce: 'a nonce' });
    expect(claims.aud).to.deep.equal([client.id]);
  });

  it('gives an access token beside it, bound to it by at_hash, and no refresh token', async () => {
    const { url } = await signIn({ ...ordinary(), scope: 'openid profile email offline_access', prompt: 'consent' });
    expect(url.search).to.equal('');
    const answer = Object.fromEntries(fragmentOf(url));
    expect(answer).to.include({ state: 'a state', iss: app.issuer, token_type: 'Bearer', expires_in: '3600' });
    expect(answer).to.include({ scope: 'openid profile email' });
    expect(answer).not.to.have.any.keys('refresh_token', 'code');

    const { access_token: token = '', id_token: idToken = '' } = answer;
    const claims = JSON.parse(Buffer.from(idToken.split('.')[1] ?? '', 'base64url').toString());
    const half = Buffer.from(hash('sha256', token, 'buffer').subarray(0, 16)).toString('base64url');
    expect(claims).to.include({ at_hash: half, sub: person.id, nonce: 'a nonce' });
    const userinfo = await oidc.fetchUserInfo(await flows.configure(client), token, person.id);
    expect(userinfo.email).to.equal(person.email);
  });

  it('wants a nonce, and says so in the fragment', async () => {
    for (const response_type of ['id_token', 'id_token token']) {
      const { nonce: _, ...without } = ordinary();
      const { url } = await signIn({ ...without, response_type });
      expect(url.search).to.equal('');
      const refusal = { error: 'invalid_request', state: 'a state', iss: app.issuer };
      expect(Object.fromEntries(fragmentOf(url))).to.include(refusal);
    }
  });

  it('is closed to apps that were not made for it, and for tokens without an ID token', async () => {
    const other = await app.client({ public: true });
    for (const response_type of ['id_token', 'id_token token']) {
      const { url } = await signIn({ ...ordinary(), response_type }, other);
      expect(fragmentOf(url).get('error')).to.equal('invalid_request');
    }
    for (const response_type of ['token', 'code id_token', 'code token', 'code id_token token']) {
      const { url } = await signIn({ ...ordinary(), response_type });
      expect(fragmentOf(url).get('error'), response_type).to.equal('unsupported_response_type');
      expect(fragmentOf(url).get('access_token')).to.equal(null);
    }
  });

  it('never puts a token into a query string', async () => {
    const { url } = await signIn({ ...ordinary(), response_mode: 'query' });
    expect(url.href).not.to.match(/(access_token|id_token)=/);
    expect(Object.fromEntries(url.searchParams)).to.include({ error: 'invalid_request', iss: app.issuer });
  });

  it('answers by a form when asked to, in success and in refusal', async () => {
    const params = { ...ordinary(), response_mode: 'form_post' };
    const { text } = await signIn(params);
    expect(formOf(text).action).to.equal(client.redirectUri);
    expect(formOf(text).fields).to.include({ state: 'a state', iss: app.issuer });
    expect(formOf(text).fields).to.have.any.keys('id_token').and.to.have.any.keys('access_token');
    const refused = await flows.browser().open(flows.authorizeUrl(client, { ...params, prompt: 'none' }));
    expect(formOf(refused.text).fields).to.include({ error: 'login_required', state: 'a state', iss: app.issuer });
  });

  it('renews silently while the person is signed in, and says when that is over', async () => {
    const browser = flows.browser();
    await walk(browser, flows.authorizeUrl(client, ordinary()), person);
    const silent = { ...ordinary(), prompt: 'none', nonce: 'another' };
    const renewed = await browser.open(flows.authorizeUrl(client, silent));
    expect([...fragmentOf(renewed.url).keys()]).to.include.members(['access_token', 'id_token', 'state', 'iss']);
    const anonymous = await flows.browser().open(flows.authorizeUrl(client, silent));
    expect(Object.fromEntries(fragmentOf(anonymous.url))).to.include({ error: 'login_required', iss: app.issuer });
  });

  it('works for an app on the developer’s own machine', async () => {
    const local = await app.client({ public: true, implicit: true, redirectUris: ['http://localhost:8080/callback'] });
    const { url } = await signIn({ ...ordinary(), redirect_uri: local.redirectUri }, local);
    expect(url.origin).to.equal('http://localhost:8080');
    expect(fragmentOf(url).get('access_token')).to.be.a('string');
  });
});
