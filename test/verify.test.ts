import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { createSecretToken } from '../src/secrets/secret-token.ts';
import { onEachEngine, startApp, startProcess, type TestApp, type TestProcess, type TestStore } from './support/app.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let other: TestProcess;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    other = await startProcess(store, { ISSUER: app.issuer });
    for (const name of ['reports', 'settings']) {
      await app.directory.permissions.create({ name, description: `May use ${name}` });
    }
  });
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await store.remove();
  });

  async function makeToken(input: { scope?: string; expiresIn?: number } = {}) {
    const organization = await app.directory.organizations.create({ name: 'Acme' });
    const person = await app.person({ permissions: ['reports', 'settings'], organizationId: organization.id });
    const account = await app.directory.accounts.getOrFail(person.id);
    const { token, record } = await app.directory.personalTokens.create(account, { description: 'a script', ...input });
    return { token, id: record.id, person, organization };
  }

  async function makeAppToken() {
    const client = await app.client({ clientCredentials: true, permissions: ['reports'], redirectUris: [] });
    const response = await fetch(`${app.issuer}/identity/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'reports' }),
    });
    const { access_token: token } = (await response.json()) as { access_token: string };
    return { token, client };
  }

  /** Asks one process; the other one is asked unless told otherwise, since it made none of the changes. */
  const verify = (
    authorization?: string,
    { path = '/verify', url = other.url, ...init }: RequestInit & { path?: string; url?: string } = {},
  ) =>
    fetch(url + path, {
      ...init,
      headers: { ...init.headers, ...(authorization === undefined ? {} : { authorization }) },
    });

  it('says who a personal token belongs to and what it may do, in headers', async () => {
    const { token, person, organization } = await makeToken({ scope: 'reports' });
    const response = await verify(`Token ${token}`, { path: '/verify?scope=reports' });
    expect(response.status).to.equal(200);
    expect(await response.text()).to.equal('');
    expect(response.headers.get('x-auth-subject')).to.equal(person.id);
    expect(response.headers.get('x-auth-email')).to.equal(person.email);
    expect(response.headers.get('x-auth-scope')).to.equal('reports');
    expect(response.headers.get('x-auth-organization')).to.equal(organization.id);
    expect(response.headers.get('x-auth-client-id')).to.equal('');
    expect(response.headers.get('x-auth-token')).to.equal('');
    expect(response.headers.get('cache-control')).to.equal('no-store');
  });

  it('says which app acts for itself', async () => {
    const { token, client } = await makeAppToken();
    const response = await verify(`Bearer ${token}`);
    expect(response.status).to.equal(200);
    expect(response.headers.get('x-auth-subject')).to.equal(client.id);
    expect(response.headers.get('x-auth-client-id')).to.equal(client.id);
    expect(response.headers.get('x-auth-email')).to.equal('');
    expect(response.headers.get('x-auth-organization')).to.equal('');
    expect(response.headers.get('x-auth-token')).to.equal('');
  });

  for (const scheme of ['Token', 'token', 'TOKEN', 'Bearer', 'bearer', 'BEARER', 'Token ']) {
    it(`takes both kinds of token after "${scheme}"`, async () => {
      for (const { token } of [await makeToken(), await makeAppToken()]) {
        expect((await verify(`${scheme} ${token}`)).status).to.equal(200);
      }
    });
  }

  const refusedForms: Record<string, (token: string) => string | undefined> = {
    nothing: () => undefined,
    'the scheme alone': () => 'Token',
    'a scheme cut short': (token) => `tok ${token}`,
    'no scheme': (token) => token,
    'two tokens': (token) => `Token ${token} ${token}`,
    'Basic with the token': (token) => `Basic ${Buffer.from(`x:${token}`).toString('base64')}`,
    'a comma': (token) => `Token ${token},Bearer ${token}`,
    'a token of another kind': () => `Token ${createSecretToken('lk_app_')}`,
    'a token nobody made': () => `Token ${createSecretToken('lk_pat_')}`,
    'a wrong checksum': (token) => `Token ${token.slice(0, -1)}${token.endsWith('x') ? 'y' : 'x'}`,
    'the token with a tail': (token) => `Token ${token}x`,
    '10 kB': () => `Token ${'x'.repeat(10_000)}`,
  };
  for (const [name, wrap] of Object.entries(refusedForms)) {
    it(`refuses ${name} with a challenge for both schemes`, async () => {
      const { token } = await makeToken();
      const response = await verify(wrap(token));
      expect(response.status).to.equal(401);
      expect(response.headers.get('www-authenticate')).to.match(/^Bearer realm=.*, Token realm=/);
      expect([...response.headers.keys()].filter((header) => header.startsWith('x-auth'))).to.deep.equal([]);
      expect(await response.json()).to.include({
        error: 'invalid_token',
        errorCode: '401',
        errorMsg: 'Missing or invalid token.',
      });
      expect((await verify(`Token ${token}`)).status).to.equal(200);
    });
  }

  it('takes a token from the header only, and from one header', async () => {
    const { token } = await makeToken();
    expect((await verify(undefined, { path: `/verify?token=${token}&access_token=${token}` })).status).to.equal(401);
    const form = { method: 'POST', body: new URLSearchParams({ access_token: token }) };
    expect((await verify(undefined, form)).status).to.equal(401);
    const twice = `GET /verify HTTP/1.1\r\nHost: x\r\nAuthorization: Token ${token}\r\nAuthorization: Token ${token}\r\nConnection: close\r\n\r\n`;
    expect(await raw(twice)).to.match(/^HTTP\/1.1 401/);
  });

  it('refuses a token without a demanded scope, and demands them all', async () => {
    const { token } = await makeToken({ scope: 'reports' });
    for (const scope of ['settings', 'reports+settings', 'reports&scope=settings', 'nonsense']) {
      const response = await verify(`Token ${token}`, { path: `/verify?scope=${scope}` });
      expect(response.status).to.equal(403);
      expect(await response.json()).to.include({ error: 'insufficient_scope', errorCode: '403' });
    }
  });

  it('says of an expired token that it is expired', async () => {
    const { token } = await makeToken({ expiresIn: 1 });
    await new Promise((resolve) => setTimeout(resolve, 2100));
    const response = await verify(`Token ${token}`);
    expect(response.status).to.equal(401);
    expect(await response.json()).to.include({
      error: 'invalid_token',
      errorCode: '600',
      errorMsg: 'The sent token is expired.',
    });
  });

  describe('at the very next request on another process', () => {
    const endings: Record<string, (made: Awaited<ReturnType<typeof makeToken>>) => Promise<unknown>> = {
      'its token is revoked': ({ id, person }) => app.directory.personalTokens.revoke(person.id, id),
      'its account is disabled': ({ person }) => app.directory.accounts.disable(person.id),
      'its account is deleted': ({ person }) => app.directory.accounts.remove(person.id),
    };
    for (const [name, end] of Object.entries(endings)) {
      it(`lets nobody through once ${name}`, async () => {
        const made = await makeToken();
        expect((await verify(`Token ${made.token}`)).status).to.equal(200);
        await end(made);
        expect((await verify(`Token ${made.token}`)).status).to.equal(401);
      });
    }

    it('knows that a permission was taken away', async () => {
      const { token, person } = await makeToken();
      await app.directory.accounts.update(person.id, { permissions: ['settings'] });
      expect((await verify(`Token ${token}`, { path: '/verify?scope=reports' })).status).to.equal(403);
      expect((await verify(`Token ${token}`)).headers.get('x-auth-scope')).to.equal('settings');
    });

    it('knows that an app was disabled or deleted', async () => {
      const { token, client } = await makeAppToken();
      await app.directory.clients.disable(client.id);
      expect((await verify(`Bearer ${token}`)).status).to.equal(401);
      const second = await makeAppToken();
      await app.directory.clients.remove(second.client.id);
      expect((await verify(`Bearer ${second.token}`)).status).to.equal(401);
    });
  });

  it('never echoes an identity that the client sends', async () => {
    const { token } = await makeToken();
    const headers = {
      'x-auth-subject': 'root',
      'remote-user': 'root',
      'x-auth-request-user': 'root',
      'x-original-url': 'http://[broken',
      'x-forwarded-uri': '/a/..;/b%00',
    };
    const passed = await verify(`Token ${token}`, { headers });
    expect(passed.status).to.equal(200);
    expect([...passed.headers.values()]).not.to.include('root');
    const refused = await verify(undefined, { headers });
    expect(refused.status).to.equal(401);
    expect([...refused.headers.values()]).not.to.include('root');
  });

  it('answers at once when a proxy announces a body that it keeps', async () => {
    const { token } = await makeToken();
    const request = `POST /verify HTTP/1.1\r\nHost: x\r\nAuthorization: Token ${token}\r\nContent-Length: 1000000\r\n\r\n`;
    const startedAt = Date.now();
    const response = await raw(request);
    expect(response).to.match(/^HTTP\/1.1 200/);
    expect(response.toLowerCase()).to.contain('connection: close');
    expect(Date.now() - startedAt).to.be.lessThan(1000);
  });

  it('answers every method, and below its path, as Envoy asks', async () => {
    const { token } = await makeToken();
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS']) {
      expect((await verify(`Token ${token}`, { method, path: '/verify/some/path?x=1' })).status).to.equal(200);
      expect((await verify(undefined, { method, path: '/verify/some/path?x=1' })).status).to.equal(401);
    }
  });

  it('signs who it is for services behind the proxy, for a minute and one audience', async () => {
    const { token, person, organization } = await makeToken({ scope: 'reports' });
    const response = await verify(`Token ${token}`, { path: '/verify?audience=billing' });
    const keys = createRemoteJWKSet(new URL('/identity/jwks', other.url));
    const { payload } = await jwtVerify(String(response.headers.get('x-auth-token')), keys, {
      issuer: app.issuer,
      audience: 'billing',
    });
    expect(payload).to.include({
      sub: person.id,
      email: person.email,
      organization: organization.id,
      scope: 'reports',
    });
    expect(Number(payload.exp) - Number(payload.iat)).to.equal(60);
    expect((await verify(`Token ${token}`)).headers.get('x-auth-token')).to.equal('');
    expect((await verify(`Token ${token}`, { path: '/verify?audience=' })).status).to.equal(400);
  });

  /** Sends bytes as they are and reads until the connection ends. */
  async function raw(request: string): Promise<string> {
    const socket = connect(Number(new URL(other.url).port), '127.0.0.1');
    socket.write(request);
    return text(socket);
  }
});
