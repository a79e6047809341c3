import { createHash } from 'node:crypto';
import { mock } from 'node:test';
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import * as oidc from 'openid-client';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows, fragmentOf, OFFLINE, walk } from '../support/flow.ts';

const DAY = 24 * 60 * 60 * 1000;

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

  /** By the time that the store goes by, which did not stop with the clock. */
  const passTime = (seconds: number) => mock.timers.setTime((app.directory.storage.now() + seconds) * 1000);

  async function offlineTokens(who: TestClient = client) {
    const tokens = await flows.tokens({ client: who, person, params: OFFLINE });
    return { ...tokens, refresh_token: String(tokens.refresh_token), id_token: String(tokens.id_token) };
  }

  it('are given for offline_access that the person allows, now or before, or need not be asked about', async () => {
    const { scope } = OFFLINE;
    const asked = await app.client();
    const browser = flows.browser();
    const silently = async (params: Record<string, string>) => {
      const { url, request } = await flows.start({ client: asked, params: { prompt: 'none', ...params } });
      const pushed = await flows.post('par', asked, { client_id: asked.id, ...request });
      const byReference = flows.authorizeUrl(asked, { request_uri: String(pushed.body.request_uri) });
      const landings = await Promise.all([browser.open(url), browser.open(byReference)]);
      return landings.map((landing) => landing.url.searchParams.get('error'));
    };
    expect(
      (await flows.tokens({ client: asked, person, browser, params: { prompt: 'consent' } })).refresh_token,
    ).to.equal(undefined);
    expect(await silently({ scope })).to.deep.equal(['consent_required', 'consent_required']);
    for (let time = 0; time < 2; time++) {
      const tokens = await flows.tokens({ client: asked, person, browser, params: { scope } });
      expect(tokens.refresh_token, 'allowed now, then before').to.be.a('string');
      expect(tokens.scope).to.equal(scope);
    }
    expect(await silently({ scope })).to.deep.equal([null, null]);
    expect(
      (await flows.tokens({ client: asked, person, browser, params: { scope, prompt: 'none' } })).refresh_token,
    ).to.be.a('string');
    const own = await app.client({ trusted: true });
    for (const prompt of [{}, { prompt: 'login' }, { max_age: '0' }]) {
      const tokens = await flows.tokens({
        client: own,
        person,
        browser,
        params: { scope, ...prompt } as Record<string, string>,
      });
      expect(tokens.scope, JSON.stringify(prompt)).to.equal(scope);
      expect((await flows.refresh(own, String(tokens.refresh_token))).status).to.equal(200);
    }
  });

  it('are not given to who did not ask for them, and the answer says so', async () => {
    const own = await app.client({ trusted: true, implicit: true });
    const { scope, refresh_token: token } = await flows.tokens({ client: own, person });
    expect([scope, token]).to.deep.equal(['openid profile email', undefined]);
    const params = { response_type: 'id_token token', scope: OFFLINE.scope };
    const { url } = await walk(flows.browser(), (await flows.start({ client: own, params })).url, person);
    expect(fragmentOf(url).get('scope')).to.equal('openid profile email');
  });

  it('bring fresh tokens of the same person, app and sign-in', async () => {
    for (const who of [client, await app.client({ public: true })]) {
      const first = await offlineTokens(who);
      const config = await flows.configure(who);
      const next = await oidc.refreshTokenGrant(config, first.refresh_token);
      expect(next.refresh_token).to.be.a('string').and.not.to.equal(first.refresh_token);
      expect(next.access_token).not.to.equal(first.access_token);
      expect(next).to.include({ expires_in: 3600, scope: first.scope });
      const [before, after] = [decodeJwt(first.id_token), decodeJwt(String(next.id_token))];
      for (const claim of ['sub', 'iss', 'auth_time', 'acr']) expect(after[claim], claim).to.equal(before[claim]);
      expect(after.aud).to.deep.equal(before.aud);
      expect(after.email).to.equal(person.email);
      expect((await flows.userinfo(next.access_token)).status).to.equal(200);
    }
  });

  it('are narrowed by a smaller scope for that token alone, and never widened', async () => {
    const { refresh_token: token } = await offlineTokens();
    const wider = await flows.refresh(client, token, { scope: 'openid address' });
    expect(wider.body.error).to.equal('invalid_scope');
    const narrow = await flows.refresh(client, token, { scope: 'openid email' });
    expect(narrow.body.scope).to.equal('openid email');
    const whole = await flows.refresh(client, String(narrow.body.refresh_token));
    expect(whole.body.scope).to.equal(OFFLINE.scope);
  });

  it('used again later end the whole family, the newest access and refresh token included', async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const first = await offlineTokens();
    const second = (await flows.refresh(client, first.refresh_token)).body;
    const third = (await flows.refresh(client, String(second.refresh_token))).body;
    expect((await flows.userinfo(String(third.access_token))).status).to.equal(200);

    passTime(11);
    expect((await flows.refresh(client, first.refresh_token)).body.error).to.equal('invalid_grant');
    expect((await flows.refresh(client, String(third.refresh_token))).body.error).to.equal('invalid_grant');
    for (const { access_token: token } of [first, second, third]) {
      expect((await flows.userinfo(String(token))).status).to.equal(401);
      expect(await flows.introspect(client, String(token))).to.deep.equal({ active: false });
    }
    const { events } = await app.directory.audit.list({ accountId: person.id, limit: 20 });
    expect(events.map(({ type }) => type)).to.include('token_reuse_detected');
  });

  it('used again within ten seconds bring the same successor, twice in a row too, and the family lives on', async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    for (const who of [client, await app.client({ public: true })]) {
      const first = await offlineTokens(who);
      const answers = [await flows.refresh(who, first.refresh_token)];
      mock.timers.tick(9_000);
      answers.push(await flows.refresh(who, first.refresh_token));
      const [successor] = answers.map(({ body }) => String(body.refresh_token));
      for (const { body } of answers) {
        expect(body.refresh_token).to.equal(successor);
        expect((await flows.userinfo(String(body.access_token))).status).to.equal(200);
      }
      const next = (await flows.refresh(who, String(successor))).body;
      expect((await flows.refresh(who, String(successor))).body.refresh_token).to.equal(next.refresh_token);
      expect((await flows.refresh(who, first.refresh_token)).body.refresh_token, 'from the beginning').to.equal(
        successor,
      );
      expect((await flows.refresh(who, String(successor))).body.refresh_token).to.equal(next.refresh_token);
      expect(next.refresh_token).not.to.equal(successor);
      expect(await flows.introspect(client, first.refresh_token)).to.deep.equal({ active: false });
      passTime(11);
      expect((await flows.refresh(who, String(next.refresh_token))).status).to.equal(200);
    }
  });

  it('that follow cannot be found in the store, nor be used by another app', async () => {
    const first = await offlineTokens();
    const { body } = await flows.refresh(client, first.refresh_token);
    expect((await flows.refresh(await app.client(), first.refresh_token)).body.error).to.equal('invalid_grant');
    const key = `RefreshToken:${createHash('sha256').update(first.refresh_token).digest('base64url')}`;
    expect(JSON.stringify(await app.directory.storage.get(key)))
      .to.contain('consumed')
      .and.not.contain(String(body.refresh_token));
  });

  it('outlast a server that ended before it could answer', async () => {
    const first = await offlineTokens();
    const key = `RefreshToken:${createHash('sha256').update(first.refresh_token).digest('base64url')}`;
    const { body } = await flows.refresh(client, first.refresh_token);
    const successor = `RefreshToken:${createHash('sha256').update(String(body.refresh_token)).digest('base64url')}`;
    expect(await app.directory.storage.get(key)).to.have.property('consumed');
    await app.directory.storage.delete(successor);
    const again = (await flows.refresh(client, first.refresh_token)).body;
    expect(again.refresh_token).to.equal(body.refresh_token);
    expect((await flows.refresh(client, String(again.refresh_token))).status).to.equal(200);
  });

  it('stay good for an app that does not rotate them, except one that was used while it did', async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const steady = await app.client({ refreshTokenRotation: false });
    const { refresh_token: token } = await offlineTokens(steady);
    for (let use = 0; use < 3; use++) {
      passTime(20);
      const { status, body } = await flows.refresh(steady, token);
      expect([status, body.refresh_token]).to.deep.equal([200, token]);
      expect((await flows.userinfo(String(body.access_token))).status).to.equal(200);
    }
    await app.directory.clients.update(steady.id, { refreshTokenRotation: true });
    const { body: rotated } = await flows.refresh(steady, token);
    expect(rotated.refresh_token).to.be.a('string').and.not.equal(token);
    await app.directory.clients.update(steady.id, { refreshTokenRotation: false });
    passTime(20);
    expect((await flows.refresh(steady, token)).body.error).to.equal('invalid_grant');
    expect((await flows.refresh(steady, String(rotated.refresh_token))).body.error).to.equal('invalid_grant');
  });

  it('leave a stolen one of no use to another app, and the family alive', async () => {
    const { refresh_token: token } = await offlineTokens();
    const other = await app.client();
    expect((await flows.refresh(other, token)).body.error).to.equal('invalid_grant');
    expect((await flows.refresh({ id: client.id, secret: other.secret }, token)).body.error).to.equal('invalid_client');
    expect((await flows.refresh(client, token)).status).to.equal(200);
  });

  it('live for 14 days after their last use, and 90 days in all', async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const unused = await offlineTokens();
    let { refresh_token: token } = await offlineTokens();
    for (let day = 13; day < 90; day += 13) {
      mock.timers.tick(13 * DAY);
      const { status, body } = await flows.refresh(client, token);
      expect(status, `on day ${day}`).to.equal(200);
      token = String(body.refresh_token);
      if (day === 13) expect((await flows.refresh(client, unused.refresh_token)).status).to.equal(200);
    }
    mock.timers.tick(11.99 * DAY);
    const last = await flows.refresh(client, token);
    expect(last.status, 'just before day 90').to.equal(200);
    mock.timers.tick(0.02 * DAY);
    expect((await flows.refresh(client, String(last.body.refresh_token))).body.error).to.equal('invalid_grant');
  }).timeout(20_000);

  it('die unused after 14 days', async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const { refresh_token: token } = await offlineTokens();
    mock.timers.tick(14 * DAY + 1000);
    expect((await flows.refresh(client, token)).body.error).to.equal('invalid_grant');
  });

  it('outlive the session, which tokens without them do not', async () => {
    const browser = flows.browser();
    const offline = await flows.tokens({ client, person, browser, params: OFFLINE });
    const other = await app.client();
    const online = await flows.tokens({ client: other, person, browser });
    const { text } = await browser.open(`${app.issuer}/identity/logout`);
    const [, xsrf = ''] = /name="xsrf" value="([^"]+)"/.exec(text) ?? [];
    await browser.submit('/identity/logout/confirm', { xsrf, logout: 'yes' });
    expect((await flows.userinfo(online.access_token)).status).to.equal(401);
    expect((await flows.refresh(client, String(offline.refresh_token))).status).to.equal(200);
  });

  it('refuses what is no refresh token', async () => {
    const { access_token: token, id_token: idToken } = await offlineTokens();
    for (const wrong of [token, idToken, 'x', 'a'.repeat(5_000), 'ä\u0000'])
      expect((await flows.refresh(client, wrong)).body.error, wrong.slice(0, 20)).to.equal('invalid_grant');
    expect((await flows.refresh(client, '')).body.error).to.equal('invalid_request');
  });
});
