import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { wallClock } from '../../src/clock.ts';
import { readConfig } from '../../src/config.ts';
import { openCore } from '../../src/core.ts';
import { counterKey } from '../../src/throttle.ts';
import { fixtures, onEachEngine, SECRET_KEY, startProcess, type TestClient, type TestStore } from '../support/app.ts';
import { createBrowser } from '../support/browser.ts';
import { startTarget, type Target } from './web-target.ts';

/** The network in which strangers and people are together. */
const FROM = '203.0.113.20';

/** Sent by so many at a time. */
const PARALLEL = 40;

async function repeat<T>(times: number, send: (n: number) => Promise<T>): Promise<T[]> {
  const answers: T[] = [];
  for (let n = 0; n < times; n += PARALLEL)
    answers.push(...(await Promise.all(Array.from({ length: Math.min(PARALLEL, times - n) }, (_, m) => send(n + m)))));
  return answers;
}

function withStatus<T extends { status: number }>(answers: readonly T[], status: number): T[] {
  return answers.filter((answer) => answer.status === status);
}

onEachEngine((openStore) => {
  describe('a stranger who makes us keep things', function () {
    // Thousands of requests take their time on a machine that is busy otherwise.
    this.timeout(60_000);
    let store: TestStore;
    let target: Target;
    let app: TestClient;
    let page: TestClient;

    before(async () => {
      store = await openStore();
      target = await startTarget(store, { TRUSTED_PROXIES: '127.0.0.1/32' });
      app = await target.client({ trusted: true });
      page = await target.client({ public: true, name: 'Page', redirectUris: ['https://page.example/cb'] });
    });
    afterEach(() => target.unharmed());
    after(async () => {
      await target.close();
      await store.remove();
    });

    function sizeOfStore(): number {
      const files = readdirSync(store.directory, { recursive: true, encoding: 'utf8' });
      return files.reduce((sum, file) => sum + statSync(join(store.directory, file)).size, 0);
    }

    const requestOf = (client: TestClient, more: Record<string, string> = {}) =>
      new URLSearchParams({
        client_id: client.id,
        redirect_uri: client.redirectUri,
        response_type: 'code',
        scope: 'openid',
        state: 's'.repeat(4_000),
        code_challenge: createHash('sha256').update('v').digest('base64url'),
        code_challenge_method: 'S256',
        ...more,
      });
    const browserFrom = (address: string) =>
      createBrowser(target.issuer, target.origin, { 'x-forwarded-for': address });
    const authorize = (from: string, more?: Record<string, string>) =>
      target.send(`/identity/authorize?${requestOf(app, more)}`, { headers: { 'x-forwarded-for': from } });
    const push = (from: string) =>
      target.send('/identity/par', {
        body: Object.fromEntries(requestOf(page)),
        headers: { accept: 'application/json', 'x-forwarded-for': from },
      });

    it('begins no more than 1,000 sign-ins from one network, while all others go on', async () => {
      const person = await target.person();
      const signedIn = browserFrom(FROM);
      await target.signIn(signedIn, person, app);
      const underWay = browserFrom(FROM);
      const login = await target.start(underWay, app);

      const before = sizeOfStore();
      const answers = await repeat(1_200, () => authorize(FROM));
      const refused = withStatus(answers, 429);
      expect(withStatus(answers, 303).length + refused.length).to.equal(1_200);
      expect(refused.length).to.be.within(200, 202);
      expect(Number(refused[0]?.headers['retry-after'])).to.be.within(1, 1_200);
      expect(refused[0]?.text).to.contain('Too many');
      expect(sizeOfStore() - before, 'bytes, with all that a store writes beside').to.be.below(40_000_000);

      const silent = await target.start(signedIn, app);
      expect(silent.url.searchParams.get('code'), 'who is signed in').to.be.a('string');
      const again = await target.start(signedIn, app, { prompt: 'login' });
      expect(again.response?.status, 'who is asked again').to.equal(200);
      const arrived = await underWay.submit(login.url.pathname, person);
      expect(arrived.url.searchParams.get('code'), 'who was about to sign in').to.be.a('string');
      expect((await authorize('203.0.113.25')).status, 'from elsewhere').to.equal(303);
      expect((await authorize(FROM)).status, 'in place of who has arrived').to.equal(303);
      expect((await authorize(FROM)).status).to.equal(429);
    });

    it('pushes no more than 1,000 requests a minute for an app without a secret', async () => {
      const answers = await repeat(1_100, () => push('203.0.113.21'));
      expect(withStatus(answers, 201)).to.have.lengthOf(1_000);
      const [refused] = withStatus(answers, 429);
      expect(JSON.parse(refused?.text ?? '{}')).to.include({ error: 'too_many_requests' });
      expect(Number(refused?.headers['retry-after'])).to.be.within(1, 60);
      expect((await push('203.0.113.22')).status).to.equal(201);
    });

    it('asks for the sign-out page no more often than for others', async () => {
      const answers = await repeat(1_100, () =>
        target.send('/identity/logout?state=x', { headers: { 'x-forwarded-for': '203.0.113.23' } }),
      );
      expect(withStatus(answers, 429)).to.have.lengthOf(100);
    });

    it('finds no room beyond the total, from wherever it comes, while who is signed in goes on', async () => {
      const person = await target.person();
      const signedIn = browserFrom('203.0.113.60');
      await target.signIn(signedIn, person, app);
      const { storage } = target.directory;
      const totals = ['interactions', 'pushed-requests', 'anonymous-sessions'].flatMap((kind) => {
        const rule = { name: `${kind}-total`, limit: 20_000 / 64, window: 1_200 };
        return Array.from({ length: 64 }, (_, n) => counterKey(rule, String(n)));
      });
      const full = { used: 312, until: wallClock() + 60, judging: 0 };
      for (const key of totals) await storage.put(key, full, { ttl: 1_200 });
      target.expectOutage(true, 60);

      const before = sizeOfStore();
      const answers = await repeat(200, (n) => authorize(`198.51.100.${n}`));
      const told = answers.filter(({ headers }) => headers.location?.includes('error=temporarily_unavailable'));
      expect(told, 'the app is told').to.have.lengthOf(200);
      const page = await target.send('/identity/logout?state=x', { headers: { 'x-forwarded-for': '198.51.100.1' } });
      for (const { status, headers } of [page, await push('198.51.100.1')]) {
        expect(status).to.equal(503);
        expect(Number(headers['retry-after'])).to.be.within(1, 60);
      }
      expect(sizeOfStore() - before, 'bytes').to.be.below(100_000);
      const silent = await target.start(signedIn, app);
      expect(silent.url.searchParams.get('code'), 'who is signed in').to.be.a('string');

      for (const key of totals) await storage.delete(key);
      target.expectOutage(false);
      expect((await authorize('198.51.100.1')).status).to.equal(303);
    });

    it('sends no request that is larger than any has to be', async () => {
      for (const more of [
        { nonce: 'n'.repeat(4_000) },
        { claims: JSON.stringify({ userinfo: { email: { value: 'x'.repeat(4_000) } } }) },
        { login_hint: 'x'.repeat(4_000) },
        { acr_values: 'x '.repeat(2_000) },
      ]) {
        const { status, headers } = await authorize('203.0.113.24', more);
        expect(status).to.equal(303);
        expect(headers.location, Object.keys(more).join()).to.contain('error=invalid_request');
      }
    });
  });

  describe('a stranger who goes to two servers of one store', () => {
    it('begins no more than 1,000 sign-ins at both together', async () => {
      const store = await openStore();
      const settings = { TRUSTED_PROXIES: '127.0.0.1/32' };
      const first = await startProcess(store, settings);
      const servers = [first, await startProcess(store, { ...settings, ISSUER: first.url })];
      const directory = await openCore(readConfig({ ISSUER: first.url, STORE_URL: store.storeUrl, SECRET_KEY }));
      try {
        const { id, redirectUri } = await fixtures(directory).client({});
        const query = { client_id: id, redirect_uri: redirectUri, response_type: 'code', scope: 'openid', state: 's' };
        const headers = { 'x-forwarded-for': FROM };
        const statuses = await repeat(1_200, async (n) => {
          const url = `${servers[n % 2]?.url}/identity/authorize?${new URLSearchParams(query)}`;
          const response = await fetch(url, { headers, redirect: 'manual' });
          await response.arrayBuffer();
          return { status: response.status };
        });
        expect(withStatus(statuses, 303)).to.have.lengthOf(1_000);
        expect(withStatus(statuses, 429)).to.have.lengthOf(200);
      } finally {
        await directory.storage.close();
        await Promise.all(servers.map((server) => server.kill('SIGKILL')));
        await store.remove();
      }
    }).timeout(60_000);
  });
});
