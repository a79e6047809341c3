import { expect } from 'chai';
import * as oidc from 'openid-client';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows, OFFLINE } from '../support/flow.ts';

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
  after(async () => {
    await app.close();
    await store.remove();
  });

  const verified = async (token: unknown) =>
    (await fetch(`${app.issuer}/verify`, { headers: { authorization: `Bearer ${token}` } })).status;
  const isActive = async (token: unknown) => (await flows.introspect(client, String(token))).active;

  it('ends an access token', async () => {
    const { access_token: token } = await flows.tokens({ client, person });
    await oidc.tokenRevocation(await flows.configure(client), token);
    expect(await isActive(token)).to.equal(false);
    expect((await flows.userinfo(token)).status).to.equal(401);
    const { events } = await app.directory.audit.list({ accountId: person.id, limit: 5 });
    expect(events[0]).to.include({ type: 'token_revoked', clientId: client.id });
  });

  it('of an access token ends that one alone: neither what else its code brought nor another of the session', async () => {
    const browser = flows.browser();
    const first = await flows.tokens({ client, person, browser, params: OFFLINE });
    const second = await flows.tokens({ client, person, browser });
    const { body: refreshed } = await flows.refresh(client, String(first.refresh_token));
    await oidc.tokenRevocation(await flows.configure(client), first.access_token);
    expect(await isActive(first.access_token)).to.equal(false);
    expect(await verified(first.access_token)).to.equal(401);
    for (const token of [second.access_token, refreshed.access_token]) {
      expect(await isActive(token)).to.equal(true);
      expect((await flows.userinfo(String(token))).status).to.equal(200);
      expect(await verified(token)).to.equal(200);
    }
    expect((await flows.refresh(client, String(refreshed.refresh_token))).status).to.equal(200);
  });

  it('of a refresh token leaves what other codes of the session brought', async () => {
    const browser = flows.browser();
    const first = await flows.tokens({ client, person, browser, params: OFFLINE });
    const second = await flows.tokens({ client, person, browser, params: OFFLINE });
    await oidc.tokenRevocation(await flows.configure(client), String(first.refresh_token));
    for (const token of [first.access_token, first.refresh_token]) expect(await isActive(token)).to.equal(false);
    expect(await verified(first.access_token)).to.equal(401);
    for (const token of [second.access_token, second.refresh_token]) expect(await isActive(token)).to.equal(true);
    expect((await flows.refresh(client, String(second.refresh_token))).status).to.equal(200);
  });

  it('of a refresh token ends the whole family', async () => {
    const first = await flows.tokens({ client, person, params: OFFLINE });
    const { body: second } = await flows.refresh(client, String(first.refresh_token));
    await oidc.tokenRevocation(await flows.configure(client), String(second.refresh_token));
    for (const token of [first.access_token, first.refresh_token, second.access_token, second.refresh_token])
      expect(await isActive(token)).to.equal(false);
    expect((await flows.refresh(client, String(second.refresh_token))).body.error).to.equal('invalid_grant');
  });

  it('of a refresh token that was rotated already ends the family as well', async () => {
    const first = await flows.tokens({ client, person, params: OFFLINE });
    const { body: second } = await flows.refresh(client, String(first.refresh_token));
    expect((await flows.post('revoke', client, { token: String(first.refresh_token) })).status).to.equal(200);
    expect(await isActive(second.access_token)).to.equal(false);
    expect((await flows.refresh(client, String(second.refresh_token))).body.error).to.equal('invalid_grant');
  });

  it('of another app’s token does nothing, and does not say so', async () => {
    const tokens = await flows.tokens({ client, person, params: OFFLINE });
    const other = await app.client();
    const publicOther = await app.client({ public: true });
    for (const who of [other, publicOther]) {
      for (const token of [tokens.access_token, String(tokens.refresh_token)]) {
        const { status, body } = await flows.post('revoke', who, { token });
        expect([status, body]).to.deep.equal([200, {}]);
      }
    }
    expect(await isActive(tokens.access_token)).to.equal(true);
    expect((await flows.refresh(client, String(tokens.refresh_token))).status).to.equal(200);
  });

  it('of what is no token succeeds; of nothing, or by nobody, it fails', async () => {
    for (const token of ['x', 'a'.repeat(5_000), 'ä\u0000', 'lk_pat_none'])
      expect((await flows.post('revoke', client, { token })).status, token.slice(0, 10)).to.equal(200);
    expect((await flows.post('revoke', client, {})).body.error).to.equal('invalid_request');
    const wrong = await flows.post('revoke', { id: client.id, secret: 'wrong' }, { token: 'x' });
    expect([wrong.status, wrong.body.error]).to.deep.equal([401, 'invalid_client']);
  });

  it('of everything, with the account, leaves no record of a token behind', async () => {
    const { storage, accounts } = app.directory;
    const leaver = await app.person();
    const { access_token: token } = await flows.tokens({ client, person: leaver, params: OFFLINE });
    const ofAccount = await storage.list(`engine:account:${leaver.id}`);
    const grants = ofAccount.entries.map(({ key }) => key).filter((key) => key.startsWith('Grant:'));
    const standing = async () => {
      const pages = grants.map((key) => storage.list(key.replace('Grant:', 'engine:grant:')));
      return (await Promise.all(pages)).flatMap(({ entries }) => entries.map(({ key }) => key.split(':')[0]));
    };
    expect(await standing()).to.include.members(['AccessToken', 'RefreshToken']);
    await accounts.disable(leaver.id);
    expect(await standing()).to.deep.equal([]);
    await accounts.enable(leaver.id);
    expect(await isActive(token)).to.equal(false);
  });

  it('leaves the person signed in, and the app able to begin anew', async () => {
    const browser = flows.browser();
    const { access_token: token } = await flows.tokens({ client, person, browser });
    await oidc.tokenRevocation(await flows.configure(client), token);
    const again = await flows.tokens({ client, person, browser, params: { prompt: 'none' } });
    expect(await isActive(again.access_token)).to.equal(true);
    expect(await isActive(token)).to.equal(false);
  });

  it('ends an app’s own token alone', async () => {
    await app.directory.permissions.create({ name: 'jobs', description: 'Run jobs' });
    const worker = await app.client({ clientCredentials: true, permissions: ['jobs'] });
    const tokens = await Promise.all(
      [1, 2].map(
        async () => (await flows.post('token', worker, { grant_type: 'client_credentials', scope: 'jobs' })).body,
      ),
    );
    const [one, two] = tokens.map((body) => String(body.access_token));
    expect((await flows.post('revoke', worker, { token: String(one) })).status).to.equal(200);
    expect(await flows.introspect(worker, String(one))).to.deep.equal({ active: false });
    expect(await flows.introspect(worker, String(two))).to.include({ active: true });
  });
});
