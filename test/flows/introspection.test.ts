import { mock } from 'node:test';
import { expect } from 'chai';
import * as oidc from 'openid-client';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows, OFFLINE } from '../support/flow.ts';

const DEAD = { active: false };

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let person: Awaited<ReturnType<TestApp['person']>>;
  let client: TestClient;
  let api: TestClient;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    person = await app.person();
    client = await app.client();
    api = await app.client({ redirectUris: [], introspection: true });
  });
  afterEach(() => mock.timers.reset());
  after(async () => {
    await app.close();
    await store.remove();
  });

  /** By the secret in the header and in the body, which must come to the same. */
  async function introspect(who: TestClient, token: string): Promise<Record<string, unknown>> {
    const byHeader = await flows.post('introspect', who, { token });
    const byBody = await flows.post('introspect', who, { token, client_id: who.id, client_secret: who.secret });
    expect([byBody.status, byBody.body]).to.deep.equal([byHeader.status, byHeader.body]);
    expect(byHeader.status).to.equal(200);
    for (const { headers } of [byHeader, byBody]) expect(headers.get('cache-control')).to.equal('no-store');
    return byHeader.body;
  }

  it('tells an app about its own tokens, whatever it takes them for', async () => {
    const { access_token: token, refresh_token: refreshToken } = await flows.tokens({
      client,
      person,
      params: OFFLINE,
    });
    const config = await flows.configure(client);
    const known = await oidc.tokenIntrospection(config, token);
    expect(known).to.include({ active: true, sub: person.id, client_id: client.id, scope: OFFLINE.scope });
    expect(known).to.include({ token_type: 'Bearer', iss: app.issuer });
    expect(Number(known.exp) - Number(known.iat)).to.equal(3600);
    for (const hint of ['access_token', 'refresh_token', 'smoke']) {
      const parameters = { token_type_hint: hint };
      expect(await oidc.tokenIntrospection(config, token, parameters), hint).to.deep.equal(known);
      const refresh = await oidc.tokenIntrospection(config, String(refreshToken), parameters);
      expect(refresh).to.include({ active: true, sub: person.id, client_id: client.id });
    }
  });

  it('tells an app nothing about the tokens of others, and an API about all', async () => {
    const { access_token: token } = await flows.tokens({ client, person });
    const other = await app.client();
    expect(await introspect(other, token)).to.deep.equal(DEAD);
    expect(await introspect(api, token)).to.include({ active: true, sub: person.id, client_id: client.id });
  });

  it('wants to know who asks', async () => {
    const { access_token: token } = await flows.tokens({ client, person });
    const anonymous = await fetch(`${app.issuer}/identity/introspect`, {
      method: 'POST',
      body: new URLSearchParams({ token }),
    });
    expect(anonymous.status).to.be.oneOf([400, 401]);
    const wrong = await flows.post('introspect', { id: client.id, secret: 'wrong' }, { token });
    expect(wrong).to.include({ status: 401 });
    expect(wrong.body).to.include({ error: 'invalid_client' }).and.not.to.have.property('active');
    expect(wrong.headers.get('www-authenticate')).to.match(/^Basic /);
  });

  it('says no more than inactive of what is no token, and lets nobody store the answer', async () => {
    const { id_token: idToken } = await flows.tokens({ client, person });
    for (const token of ['x', String(idToken), 'a'.repeat(5_000), 'ä\u0000\ud800', 'lk_pat_none'])
      expect(await introspect(api, token), token.slice(0, 20)).to.deep.equal(DEAD);
    expect((await flows.post('introspect', api, {})).body.error).to.equal('invalid_request');
  });

  it('says no more than inactive of an expired token', async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const { access_token: token } = await flows.tokens({ client, person });
    mock.timers.tick(3_599_000);
    expect(await introspect(api, token)).to.include({ active: true });
    mock.timers.tick(2_000);
    for (const who of [api, client]) expect(await introspect(who, token)).to.deep.equal(DEAD);
    expect((await flows.userinfo(token)).status).to.equal(401);
  });

  it('says no more than inactive of the tokens of a deleted app, its own and a person’s', async () => {
    await app.directory.permissions.create({ name: 'jobs', description: 'Run jobs' });
    const doomed = await app.client({ clientCredentials: true, permissions: ['jobs'] });
    const { body } = await flows.post('token', doomed, { grant_type: 'client_credentials', scope: 'jobs' });
    const tokens = await flows.tokens({ client: doomed, person, params: OFFLINE });
    const all = [body.access_token, tokens.access_token, tokens.refresh_token].map(String);
    for (const token of all) expect(await introspect(api, token)).to.include({ active: true });
    await app.directory.clients.remove(doomed.id);
    for (const token of all) expect(await introspect(api, token)).to.deep.equal(DEAD);
    expect((await flows.post('introspect', doomed, { token: all[0] ?? '' })).body.error).to.equal('invalid_client');
  });
});
