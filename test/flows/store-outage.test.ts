import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { readConfig } from '../../src/config.ts';
import { openCore } from '../../src/core.ts';
import { createSecretToken } from '../../src/secrets/secret-token.ts';
import { fixtures, SECRET_KEY, startProcess, type TestClient, type TestProcess } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { createFlows, type Flows, OFFLINE } from '../support/flow.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';

describe('while Redis', () => {
  let redis: RedisServer;
  let server: TestProcess;
  let flows: Flows;
  let person: { id: string; email: string; password: string };
  let client: TestClient;
  let browser: Browser;
  let access: string;
  let refresh: string;

  before(async () => {
    redis = await startRedis();
    const directory = await openCore(readConfig({ STORE_URL: redis.url, SECRET_KEY }));
    server = await startProcess({ storeUrl: redis.url, directory: redis.directory, remove: () => redis.stop() });
    flows = createFlows(server.url);
    person = await fixtures(directory).person();
    client = await fixtures(directory).client();
    await directory.storage.close();
    browser = flows.browser();
    const tokens = await flows.tokens({ client, person, browser, params: OFFLINE });
    access = tokens.access_token;
    refresh = String(tokens.refresh_token);
  }).timeout(20_000);
  after(async () => {
    await server.kill('SIGKILL');
    await redis.stop();
  });

  /** Every kind of request that needs the store. */
  async function requests(): Promise<Record<string, () => Promise<Response>>> {
    const { url, verifier } = await flows.start({ client });
    const ssoToken = createSecretToken('lk_sso_');
    const authorization = `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}`;
    const bearer = { authorization: `Bearer ${access}` };
    const get =
      (path: string, headers = {}) =>
      () =>
        fetch(new URL(path, server.url), { headers, redirect: 'manual' });
    const post = (path: string, fields: Record<string, string>) => () =>
      fetch(`${server.url}${path}`, { method: 'POST', headers: { authorization }, body: new URLSearchParams(fields) });
    const code = {
      grant_type: 'authorization_code',
      code: 'x',
      code_verifier: verifier,
      redirect_uri: client.redirectUri,
    };
    return {
      authorize: get(url),
      'authorize with a session': () => browser.request(url),
      'authorize silently': () => browser.request(`${url}&prompt=none`),
      'redeem a code': post('/identity/token', code),
      refresh: post('/identity/token', { grant_type: 'refresh_token', refresh_token: refresh }),
      introspect: post('/identity/introspect', { token: access }),
      revoke: post('/identity/revoke', { token: access }),
      push: post('/identity/par', { response_type: 'code', redirect_uri: client.redirectUri }),
      userinfo: get('/identity/userinfo', bearer),
      logout: () => browser.request('/identity/logout'),
      interaction: get('/interaction/unknown'),
      account: () => browser.request('/account'),
      setup: get('/setup?code=x'),
      ready: get('/health/ready'),
      verify: get('/verify', bearer),
      me: get('/api/me', bearer),
      "a partner's question": post('/sso/token', { organization_id: 'x', email: person.email }),
      'arrive from a partner': get(`/sso/login?token=${ssoToken}`),
      'sign in by a partner': post('/sso/login', { token: ssoToken }),
      'authorize by a partner': get(`${url}&sso_token=${ssoToken}`),
    };
  }

  async function expectOutage(): Promise<void> {
    // Whoever asks twice in half a second gets the same answer.
    await sleep(600);
    const all = Object.entries(await requests());
    const answers = await Promise.all(
      all.map(async ([name, request]) => {
        const started = performance.now();
        const response = await request();
        const took = performance.now() - started;
        return { name, took, response, text: await response.text() };
      }),
    );
    for (const { name, took, response, text } of answers) {
      expect(response.status, `${name}: ${text}`).to.equal(503);
      expect(response.headers.get('retry-after'), name).to.match(/^[12]$/);
      expect(response.headers.getSetCookie(), name).to.deep.equal([]);
      expect(took, name).to.be.below(2_300);
      expect(text, name).not.to.match(/ECONNREFUSED|ioredis|\n\s+at /);
    }
    for (const path of [
      '/.well-known/openid-configuration',
      '/.well-known/oauth-authorization-server',
      '/identity/jwks',
      '/health/live',
    ]) {
      const started = performance.now();
      expect((await fetch(`${server.url}${path}`)).status, path).to.equal(200);
      expect(performance.now() - started, path).to.be.below(2_300);
    }
    await expectReadableElsewhere();
  }

  /** A page on another origin gets to know that it has to wait, and how long. */
  async function expectReadableElsewhere(): Promise<void> {
    const origin = 'https://spa.example';
    const authorization = `Bearer ${access}`;
    for (const [method, path] of [
      ['GET', '/api/me'],
      ['GET', '/identity/userinfo'],
      ['POST', '/identity/token'],
      ['POST', '/identity/revoke'],
    ] as const) {
      const asks = { 'access-control-request-method': method, 'access-control-request-headers': 'authorization' };
      const preflight = await fetch(server.url + path, { method: 'OPTIONS', headers: { origin, ...asks } });
      expect(preflight.status, path).to.equal(204);
      expect(preflight.headers.get('access-control-allow-origin'), path).to.be.oneOf(['*', origin]);
      const fields = {
        grant_type: 'authorization_code',
        token: 'x',
        client_id: client.id,
        client_secret: client.secret,
      };
      const body = method === 'POST' ? new URLSearchParams(fields) : null;
      const headers = { origin, ...(body ? {} : { authorization }) };
      const answer = await fetch(server.url + path, { method, headers, body });
      expect(answer.status, path).to.equal(503);
      expect(answer.headers.get('access-control-allow-origin'), path).to.be.oneOf(['*', origin]);
      expect(answer.headers.get('access-control-expose-headers'), path).to.contain('Retry-After');
      expect(answer.headers.get('access-control-allow-credentials'), path).to.equal(null);
    }
  }

  async function expectRecovery(): Promise<void> {
    const started = performance.now();
    while ((await fetch(`${server.url}/health/ready`)).status !== 200) {
      expect(performance.now() - started, 'ms until it is ready').to.be.below(3_000);
      await sleep(50);
    }
    expect((await flows.userinfo(access)).status).to.equal(200);
    const silent = await flows.start({ client, params: { prompt: 'none' } });
    expect((await browser.open(silent.url)).url.searchParams.get('code')).to.be.a('string');
    const { status, body } = await flows.refresh(client, refresh);
    expect(status, JSON.stringify(body)).to.equal(200);
    [access, refresh] = [String(body.access_token), String(body.refresh_token)];
  }

  it('is dead, every answer is 503 within two seconds, keys stay readable, and it comes back by itself', async () => {
    await redis.kill();
    await expectOutage();
    await redis.start();
    await expectRecovery();
  }).timeout(20_000);

  it('hangs, a process that has answered nothing yet answers with its keys at once', async () => {
    const fresh = await startProcess({
      storeUrl: redis.url,
      directory: redis.directory,
      remove: async () => undefined,
    });
    redis.pause();
    for (const path of [
      '/.well-known/openid-configuration',
      '/.well-known/oauth-authorization-server',
      '/identity/jwks',
    ]) {
      const started = performance.now();
      const response = await fetch(`${fresh.url}${path}`);
      expect(response.status, path).to.equal(200);
      expect(performance.now() - started, path).to.be.below(1_000);
    }
    redis.resume();
    await fresh.kill('SIGKILL');
    await expectRecovery();
  }).timeout(20_000);

  it('is stopped, the same, with nothing done twice when it wakes', async () => {
    redis.pause();
    await expectOutage();
    redis.resume();
    await sleep(500);
    await expectRecovery();
  }).timeout(20_000);
});
