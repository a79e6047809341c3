import { expect } from 'chai';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import * as oidc from 'openid-client';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows } from '../support/flow.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let client: TestClient;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    await app.directory.permissions.create({ name: 'jobs.run', description: 'Run jobs' });
    await app.directory.permissions.create({ name: 'jobs.stop', description: 'Stop jobs' });
    client = await app.client({ redirectUris: [], clientCredentials: true, permissions: ['jobs.run'] });
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  const ask = (params: Record<string, string> = {}, who: { id: string; secret: string } = client) =>
    flows.post('token', who, { grant_type: 'client_credentials', ...params });

  it('gives an app a token of its own, for what it may do and an hour at most', async () => {
    const tokens = await oidc.clientCredentialsGrant(await flows.configure(client), { scope: 'jobs.run' });
    expect(tokens).to.include({ token_type: 'bearer', expires_in: 3600, scope: 'jobs.run' });
    expect(tokens).not.to.have.any.keys('refresh_token', 'id_token');
    const { sub, ...known } = await flows.introspect(client, tokens.access_token);
    expect(known).to.include({ active: true, scope: 'jobs.run', client_id: client.id, token_type: 'Bearer' });
    expect(sub).to.be.oneOf([undefined, client.id]);
    expect((await flows.userinfo(tokens.access_token)).status).to.equal(401);
  });

  it('refuses what the app may not do, and never grants what nobody knows', async () => {
    expect((await ask({ scope: 'jobs.run jobs.stop' })).body).to.include({ error: 'invalid_scope' });
    for (const scope of ['unheard.of', 'jobs.run unheard.of', 'admin', 'jobs.run\u0007']) {
      const { status, body } = await ask({ scope });
      expect(status, scope).to.be.oneOf([200, 400]);
      const known = typeof body.access_token === 'string' ? await flows.introspect(client, body.access_token) : {};
      for (const granted of [body.scope, known.scope]) expect(granted ?? '', scope).to.be.oneOf(['', 'jobs.run']);
    }
  });

  it('never acts for a person: no openid, no refresh token', async () => {
    for (const scope of ['openid', 'profile jobs.run', 'jobs.run offline_access']) {
      const { body } = await ask({ scope });
      expect(body, scope).to.include({ error: 'invalid_scope' }).and.not.to.have.property('access_token');
    }
  });

  it('is closed to apps that were not made for it', async () => {
    const { status, body } = await ask({}, await app.client());
    expect(`${status} ${body.error}`).to.be.oneOf(['400 unauthorized_client', '400 invalid_request']);
    expect(body).not.to.have.property('access_token');
  });

  describe('proving to be the app', () => {
    async function attempt(init: RequestInit) {
      const response = await fetch(`${app.issuer}/identity/token`, { method: 'POST', ...init });
      const { error } = (await response.json()) as { error?: string };
      return { status: response.status, error, challenge: response.headers.get('www-authenticate') };
    }
    const basic = (id: string, secret: string) => `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
    const body = (params: Record<string, string> = {}) =>
      new URLSearchParams({ grant_type: 'client_credentials', ...params });

    it('fails with a wrong, empty, foreign or enormous secret, and with headers that are none', async () => {
      const other = await app.client({ redirectUris: [], clientCredentials: true });
      const headers = [
        basic(client.id, 'wrong'),
        basic(client.id, ''),
        basic(client.id, other.secret),
        basic(client.id, 'a'.repeat(10_000)),
        basic('nobody', client.secret),
        basic(client.id, '%'),
        'Basic ====',
        'Basic',
        `Bearer ${client.secret}`,
        `Basic ${Buffer.from([0xff, 0xfe, 0x3a, 0xff]).toString('base64')}`,
      ];
      for (const authorization of headers) {
        const { status, error, challenge } = await attempt({ headers: { authorization }, body: body() });
        const answer = `${status} ${error}`;
        expect(answer, authorization.slice(0, 60)).to.be.oneOf(['401 invalid_client', '400 invalid_request']);
        if (status === 401) expect(challenge).to.match(/^Basic /);
      }
    });

    it('fails in two ways at once, or with two names', async () => {
      const header = { authorization: basic(client.id, client.secret) };
      const twice = await attempt({
        headers: header,
        body: body({ client_id: client.id, client_secret: client.secret }),
      });
      expect(twice).to.include({ status: 400, error: 'invalid_request' });
      const other = await attempt({ headers: header, body: body({ client_id: 'another' }) });
      expect(other).to.include({ status: 400, error: 'invalid_request' });
    });

    it('fails in another way than the registered one', async () => {
      const none = await attempt({ body: body({ client_id: client.id }) });
      expect(none).to.include({ status: 401, error: 'invalid_client' });
      const publicClient = await app.client({ public: true });
      const secret = await attempt({ body: body({ client_id: publicClient.id, client_secret: 'anything' }) });
      expect(secret).to.include({ status: 401, error: 'invalid_client' });
    });

    describe('by a signed assertion', () => {
      let signer: TestClient;
      let privateKey: Awaited<ReturnType<typeof generateKeyPair>>['privateKey'];

      before(async () => {
        const pair = await generateKeyPair('ES256', { extractable: true });
        privateKey = pair.privateKey;
        const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'one', alg: 'ES256' };
        signer = await app.client({ redirectUris: [], clientCredentials: true, jwks: { keys: [jwk] } });
      });

      const time = () => Math.floor(Date.now() / 1000);
      const claims = () => ({
        iss: signer.id,
        sub: signer.id,
        aud: app.issuer,
        jti: crypto.randomUUID(),
        exp: time() + 60,
        nbf: time(),
      });
      const sign = (payload: Record<string, unknown>) =>
        new SignJWT(payload).setProtectedHeader({ alg: 'ES256', kid: 'one' }).sign(privateKey);
      const present = (assertion: string) =>
        flows.post(
          'token',
          { id: signer.id, secret: '' },
          {
            grant_type: 'client_credentials',
            client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
            client_assertion: assertion,
          },
        );

      it('works once for each assertion', async () => {
        const assertion = await sign(claims());
        expect((await present(assertion)).status).to.equal(200);
        expect((await present(assertion)).body.error).to.equal('invalid_client');
        const fresh = await sign(claims());
        const parallel = await Promise.all([1, 2, 3, 4, 5].map(() => present(fresh)));
        expect(parallel.filter(({ status }) => status === 200)).to.have.length(1);
      });

      it('allows for clocks that differ a little', async () => {
        expect((await present(await sign({ ...claims(), nbf: time() + 8 }))).status).to.equal(200);
      });

      it('refuses one for somebody else, expired, too early, without an id, or signed otherwise', async () => {
        const { jti: _, ...withoutId } = claims();
        const wrong = {
          'another audience': await sign({ ...claims(), aud: 'https://other.example' }),
          'two audiences': await sign({ ...claims(), aud: [app.issuer, 'https://other.example'] }),
          expired: await sign({ ...claims(), exp: time() - 60 }),
          'too early': await sign({ ...claims(), nbf: time() + 61 }),
          'no id': await sign(withoutId),
          'another subject': await sign({ ...claims(), sub: client.id }),
          'no signature': `${btoa('{"alg":"none"}')}.${btoa(JSON.stringify(claims()))}.`.replaceAll('=', ''),
          'a public key as secret': await new SignJWT(claims())
            .setProtectedHeader({ alg: 'HS256' })
            .sign(new TextEncoder().encode(JSON.stringify(signer.record.jwks?.keys[0]))),
        };
        for (const [what, assertion] of Object.entries(wrong)) {
          const { status, body: answer } = await present(assertion);
          expect(`${status} ${answer.error}`, what).to.be.oneOf(['401 invalid_client', '400 invalid_request']);
        }
      });
    });
  });
});
