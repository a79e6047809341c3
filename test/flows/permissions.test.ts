import { expect } from 'chai';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows, OFFLINE } from '../support/flow.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let client: TestClient;
  let api: TestClient;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    await app.directory.permissions.create({ name: 'reports', description: 'Read your reports' });
    await app.directory.permissions.create({ name: 'billing', description: 'Pay in your name' });
    client = await app.client({ permissions: ['reports', 'billing', 'tokens'] });
    api = await app.client({ redirectUris: [], introspection: true });
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  it('that a person does not hold are neither shown nor granted, whatever the app asks for', async () => {
    const person = await app.person({ permissions: ['reports'] });
    const browser = flows.browser();
    const { url, verifier } = await flows.start({ client, params: { scope: 'openid reports billing' } });
    const login = await browser.open(url);
    const consent = await browser.submit(login.url.pathname, person);
    expect(consent.text).to.contain('Read your reports').and.not.to.contain('Pay in your name');
    const landing = await browser.submit(consent.url.pathname, { decision: 'allow', scope: 'openid reports billing' });
    const code = String(landing.url.searchParams.get('code'));
    const { body } = await flows.redeem(client, { code, verifier });
    expect(body.scope).to.equal('openid reports');
    expect(await flows.introspect(api, String(body.access_token))).to.include({ scope: 'openid reports' });
  });

  it('beyond what an app was given are refused, and unknown ones never granted', async () => {
    const person = await app.person({ permissions: ['reports', 'billing'] });
    const modest = await app.client({ permissions: ['reports'] });
    const { url } = await flows.start({ client: modest, params: { scope: 'openid billing' } });
    expect((await flows.browser().open(url)).url.searchParams.get('error')).to.equal('invalid_scope');
    const tokens = await flows.tokens({ client: modest, person, params: { scope: 'openid reports unheard.of admin' } });
    expect(tokens.scope).to.equal('openid reports');
    expect(await flows.introspect(api, tokens.access_token)).to.include({ scope: 'openid reports' });
  });

  it('include one that every account holds and an app may be given: to manage one’s own tokens', async () => {
    const person = await app.person();
    const tokens = await flows.tokens({ client, person, params: { scope: 'openid tokens' } });
    expect(tokens.scope).to.equal('openid tokens');
    const without = await app.client();
    const { url } = await flows.start({ client: without, params: { scope: 'openid tokens' } });
    const { url: answer } = await flows.browser().open(url);
    expect(answer.searchParams.get('error')).to.equal('invalid_scope');
  });

  it('taken from a person are missing from live tokens at the next look and from fresh ones, until they are given back', async () => {
    const person = await app.person({ permissions: ['reports', 'billing'] });
    const params = { ...OFFLINE, scope: 'openid offline_access reports billing' };
    const tokens = await flows.tokens({ client, person, params });
    expect(tokens.scope).to.equal(params.scope);

    await app.directory.accounts.update(person.id, { permissions: ['reports'] });
    const narrowed = 'openid offline_access reports';
    expect(await flows.introspect(api, tokens.access_token)).to.include({ active: true, scope: narrowed });
    const { body } = await flows.refresh(client, String(tokens.refresh_token));
    expect(body.scope).to.equal(narrowed);
    expect(await flows.introspect(api, String(body.access_token))).to.include({ scope: narrowed });

    await app.directory.accounts.update(person.id, { permissions: ['reports', 'billing'] });
    expect((await flows.refresh(client, String(body.refresh_token))).body.scope).to.equal(params.scope);
  });

  it('taken from a person between code and token are not in the token', async () => {
    const person = await app.person({ permissions: ['reports', 'billing'] });
    const redirected = await flows.authorize({ client, person, params: { scope: 'openid reports billing' } });
    await app.directory.accounts.update(person.id, { permissions: [] });
    const { body } = await flows.redeem(client, redirected);
    expect(body.scope).to.equal('openid');
    expect(await flows.introspect(api, String(body.access_token))).to.include({ scope: 'openid' });
  });

  it('taken from a person while the consent page is open are not granted by it', async () => {
    const person = await app.person({ permissions: ['reports', 'billing'] });
    const browser = flows.browser();
    const { url, verifier } = await flows.start({ client, params: { scope: 'openid reports billing' } });
    const login = await browser.open(url);
    const consent = await browser.submit(login.url.pathname, person);
    expect(consent.text).to.contain('Pay in your name');
    await app.directory.accounts.update(person.id, { permissions: ['reports'] });
    const landing = await browser.submit(consent.url.pathname, { decision: 'allow' });
    const { body } = await flows.redeem(client, { code: String(landing.url.searchParams.get('code')), verifier });
    expect(body.scope).to.equal('openid reports');
  });

  it('given later are asked about, then granted', async () => {
    const person = await app.person({ permissions: [] });
    const browser = flows.browser();
    const params = { scope: 'openid reports' };
    expect((await flows.tokens({ client, person, browser, params })).scope).to.equal('openid');
    await app.directory.accounts.update(person.id, { permissions: ['reports'] });
    const silent = await flows.start({ client, params: { ...params, prompt: 'none' } });
    expect((await browser.open(silent.url)).url.searchParams.get('error')).to.equal('consent_required');
    expect((await flows.tokens({ client, person, browser, params })).scope).to.equal('openid reports');
  });

  it('taken from and given back to an app or person widen nothing beyond what a token was given', async () => {
    const person = await app.person({ permissions: ['reports', 'billing'] });
    const tokens = await flows.tokens({ client, person, params: { scope: 'openid reports' } });
    await app.directory.accounts.update(person.id, { permissions: [] });
    await app.directory.accounts.update(person.id, { permissions: ['reports', 'billing'] });
    expect(await flows.introspect(api, tokens.access_token)).to.include({ scope: 'openid reports' });
  });
});
