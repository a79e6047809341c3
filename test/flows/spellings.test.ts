import { expect } from 'chai';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows, OFFLINE } from '../support/flow.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let person: Awaited<ReturnType<TestApp['person']>>;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    person = await app.person();
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  /** With an empty secret beside the app's name. */
  const ways: Record<string, (client: TestClient, form: Record<string, string>) => RequestInit> = {
    'the header': ({ id }, form) => ({
      headers: { authorization: `Basic ${Buffer.from(`${id}:`).toString('base64')}` },
      body: new URLSearchParams(form),
    }),
    'the header, its name in the form too': ({ id }, form) => ({
      headers: { authorization: `basic ${Buffer.from(`${id}:`).toString('base64')}` },
      body: new URLSearchParams({ ...form, client_id: id }),
    }),
    'the form': ({ id }, form) => ({ body: new URLSearchParams({ ...form, client_id: id, client_secret: '' }) }),
    'header and form': ({ id }, form) => ({
      headers: { authorization: `Basic ${Buffer.from(`${id}:`).toString('base64')}` },
      body: new URLSearchParams({ ...form, client_secret: '' }),
    }),
  };

  for (const [way, spell] of Object.entries(ways)) {
    describe(`an empty secret in ${way}`, () => {
      const send = async (path: string, client: TestClient, form: Record<string, string>) => {
        const response = await fetch(`${app.issuer}/identity/${path}`, { method: 'POST', ...spell(client, form) });
        return { status: response.status, body: (await response.json().catch(() => ({}))) as Record<string, string> };
      };

      it('is none for an app without a secret, wherever apps prove themselves', async () => {
        const client = await app.client({ public: true });
        const { code, verifier } = await flows.authorize({ client, person, params: OFFLINE });
        const redeemed = await send('token', client, {
          grant_type: 'authorization_code',
          code,
          code_verifier: verifier,
          redirect_uri: client.redirectUri,
        });
        expect(redeemed.status, JSON.stringify(redeemed.body)).to.equal(200);
        const { access_token: token = '', refresh_token: refreshToken = '' } = redeemed.body;
        expect((await send('introspect', client, { token })).body).to.include({ active: true });
        const refreshed = await send('token', client, { grant_type: 'refresh_token', refresh_token: refreshToken });
        expect(refreshed.status).to.equal(200);
        expect((await send('revoke', client, { token })).status).to.equal(200);
        expect((await flows.userinfo(token)).status).to.equal(401);
        const request = { response_type: 'code', redirect_uri: client.redirectUri, scope: 'openid' };
        const challenge = { code_challenge: 'x'.repeat(43), code_challenge_method: 'S256' };
        expect((await send('par', client, { ...request, ...challenge })).status).to.equal(201);
      });

      it('proves nothing for an app that has one', async () => {
        const client = await app.client({ clientCredentials: true, introspection: true });
        const forms = {
          token: { grant_type: 'client_credentials' },
          introspect: { token: 'x' },
          revoke: { token: 'x' },
          par: { response_type: 'code', redirect_uri: client.redirectUri, scope: 'openid' },
        };
        for (const [path, form] of Object.entries(forms)) {
          const { status, body } = await send(path, client, form as Record<string, string>);
          expect(status, path).to.be.oneOf([400, 401]);
          expect(body.error, path).to.be.oneOf(['invalid_client', 'invalid_request']);
        }
      });
    });
  }

  it('refuses a public app that names another one in the form', async () => {
    const [client, other] = [await app.client({ public: true }), await app.client({ public: true })];
    const headers = { authorization: `Basic ${Buffer.from(`${client.id}:`).toString('base64')}` };
    const body = new URLSearchParams({ token: 'x', client_id: other.id });
    const response = await fetch(`${app.issuer}/identity/revoke`, { method: 'POST', headers, body });
    expect(response.status).to.equal(400);
    expect(await response.json()).to.include({ error: 'invalid_request', field: 'client_id' });
  });

  for (const scheme of ['Bearer', 'bearer', 'BEARER', 'Bearer ', 'Token', 'token', 'TOKEN', 'Token ']) {
    it(`takes an access token after ${scheme} at userinfo, the API and /verify alike`, async () => {
      const { access_token: token } = await flows.tokens({ client: await app.client(), person });
      for (const path of ['/identity/userinfo', '/api/me', '/verify']) {
        const headers = { authorization: `${scheme} ${token}` };
        expect((await fetch(app.issuer + path, { headers })).status, path).to.equal(200);
        const wrong = { authorization: `${scheme} ${token}x` };
        expect((await fetch(app.issuer + path, { headers: wrong })).status, path).to.equal(401);
      }
      const posted = { method: 'POST', headers: { authorization: `${scheme} ${token}` } };
      expect((await fetch(`${app.issuer}/identity/userinfo`, posted)).status).to.equal(200);
    });
  }

  it('calls whatever else is sent no credential, at userinfo, the API and /verify alike', async () => {
    const { access_token: token } = await flows.tokens({ client: await app.client(), person });
    const basic = Buffer.from(`${token}:`).toString('base64');
    for (const authorization of [
      undefined,
      token,
      `Basic ${basic}`,
      `DPoP ${token}`,
      'Bearer',
      'Token ',
      `Bearer,${token}`,
    ]) {
      for (const path of ['/identity/userinfo', '/api/me', '/verify']) {
        const headers = { ...(authorization === undefined ? {} : { authorization }), accept: 'text/html, */*' };
        const response = await fetch(app.issuer + path, { headers });
        expect(response.status, `${authorization} at ${path}`).to.equal(401);
        expect(response.headers.get('www-authenticate')).to.match(/^Bearer realm=.*, Token realm="/);
        expect(await response.json()).to.include({ error: 'invalid_token', errorCode: '401' });
      }
    }
    const posted = await fetch(`${app.issuer}/identity/userinfo`, {
      method: 'POST',
      body: new URLSearchParams({ a: 'b' }),
    });
    expect(posted.status).to.equal(401);
  });
});
