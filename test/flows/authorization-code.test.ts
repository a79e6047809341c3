import { expect } from 'chai';
import * as oidc from 'openid-client';
import { onEachEngine, type TestApp, type TestStore, startApp } from '../support/app.ts';
import { createBrowser } from '../support/browser.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  async function configure(client: { id: string; secret: string }): Promise<oidc.Configuration> {
    const auth = client.secret ? oidc.ClientSecretPost(client.secret) : oidc.None();
    return oidc.discovery(new URL(app.issuer), client.id, undefined, auth, { execute: [oidc.allowInsecureRequests] });
  }

  it('signs a person in to a server app, with consent once, and says who it is', async () => {
    const organization = await app.directory.organizations.create({ name: 'Acme' });
    await app.directory.permissions.create({ name: 'reports', description: 'Read your reports' });
    const person = await app.person({ organizationId: organization.id, permissions: ['reports'] });
    const client = await app.client({ permissions: ['reports'] });
    const config = await configure(client);
    const browser = createBrowser(app.issuer);

    const verifier = oidc.randomPKCECodeVerifier();
    const request = {
      redirect_uri: client.redirectUri,
      scope: 'openid profile email reports',
      state: 'a state',
      nonce: 'a nonce',
      code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    };
    const login = await browser.open(oidc.buildAuthorizationUrl(config, request).href);
    expect(login.url.pathname).to.match(/^\/interaction\//);
    expect(login.text).to.contain('Sample app');

    const consent = await browser.submit(login.url.pathname, { email: person.email, password: person.password });
    expect(consent.text).to.contain('Read your reports');
    const landing = await browser.submit(consent.url.pathname, { decision: 'allow' });
    expect(`${landing.url.origin}${landing.url.pathname}`).to.equal(client.redirectUri);

    const tokens = await oidc.authorizationCodeGrant(config, landing.url, {
      pkceCodeVerifier: verifier,
      expectedState: 'a state',
      expectedNonce: 'a nonce',
      idTokenExpected: true,
    });
    expect(tokens.scope).to.equal('openid profile email reports');
    expect(tokens.expires_in).to.equal(3600);
    const claims = tokens.claims();
    expect(claims).to.include({ sub: person.id, email: person.email, name: 'Pat Example', acr: 'urn:latchkey:acr:password' });
    expect(claims?.aud).to.deep.equal([client.id]);
    expect(claims?.organization).to.deep.equal({ id: organization.id, name: 'Acme' });

    const userinfo = await oidc.fetchUserInfo(config, tokens.access_token, person.id);
    expect(userinfo).to.include({ email: person.email, given_name: 'Pat' });

    const again = await browser.open(oidc.buildAuthorizationUrl(config, { ...request, prompt: 'none' }).href);
    expect(again.url.searchParams.get('code')).to.be.a('string');

    const introspected = await oidc.tokenIntrospection(config, tokens.access_token);
    expect(introspected).to.include({ active: true, sub: person.id, scope: 'openid profile email reports', client_id: client.id });
    await app.directory.accounts.disable(person.id);
    expect(await oidc.tokenIntrospection(config, tokens.access_token)).to.deep.equal({ active: false });
    await app.directory.accounts.enable(person.id);
    expect(await oidc.tokenIntrospection(config, tokens.access_token)).to.deep.equal({ active: false });
  });
});
