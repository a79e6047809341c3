import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import {
  fixtures,
  onEachEngine,
  SECRET_KEY,
  startProcess,
  type TestApp,
  type TestClient,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import { type Answer, createFlows, type Flows, OFFLINE, type Redirected, walk } from '../support/flow.ts';

onEachEngine((openStore) => {
  describe('an attacker who goes to another server of the same store', function () {
    this.timeout(30_000);
    let store: TestStore;
    let directory: Core;
    let made: Pick<TestApp, 'client' | 'person'>;
    let processes: TestProcess[] = [];
    let issuer: string;
    let here: Flows;
    let there: Flows;
    let web: TestClient;
    let person: { email: string; password: string };
    let service: { id: string; key: CryptoKey };
    /** Whatever was handed out and must not be printed. */
    const secrets = new Set<string>();
    let printed = '';

    before(async () => {
      store = await openStore();
      const first = await startProcess(store, { LOG_LEVEL: 'trace' });
      issuer = first.url;
      speakTo(first, await another());
      directory = await openCore(readConfig({ ISSUER: issuer, STORE_URL: store.storeUrl, SECRET_KEY }));
      made = fixtures(directory);
      web = await made.client({ trusted: true });
      person = await made.person();
      service = await withKeys();
      remember(web.secret, person.password, SECRET_KEY);
    });
    after(async () => {
      await directory.storage.close();
      await Promise.all(processes.map((process) => process.kill('SIGKILL')));
      await store.remove();
    });

    const another = () => startProcess(store, { ISSUER: issuer, LOG_LEVEL: 'trace' });

    function speakTo(one: TestProcess, other: TestProcess): void {
      processes = [one, other];
      here = createFlows(issuer, one.url);
      there = createFlows(issuer, other.url);
    }

    async function killAndRestart(): Promise<void> {
      await Promise.all(processes.map((process) => process.kill('SIGKILL')));
      printed += processes.map((process) => process.output()).join('');
      const [one, other] = await Promise.all([another(), another()]);
      speakTo(one, other);
    }

    function remember(...values: unknown[]): void {
      for (const value of values) secrets.add(String(value));
    }

    async function withKeys(): Promise<typeof service> {
      const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
      const jwk = { ...(await exportJWK(publicKey)), use: 'sig' } as Record<string, unknown>;
      const { id } = await made.client({ clientCredentials: true, jwks: { keys: [jwk] } });
      return { id, key: privateKey };
    }

    async function newAssertion(): Promise<string> {
      const assertion = await new SignJWT({ iss: service.id, sub: service.id, aud: issuer, jti: randomUUID() })
        .setProtectedHeader({ alg: 'ES256' })
        .setExpirationTime('60s')
        .sign(service.key);
      remember(assertion);
      return assertion;
    }

    const present = ({ post }: Flows, assertion: string): Promise<Answer> =>
      post(
        'token',
        { id: service.id, secret: '' },
        {
          grant_type: 'client_credentials',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: assertion,
        },
      );

    function expectNothing({ status, body }: Answer, expected: string): void {
      expect(`${status} ${body.error}`).to.equal(expected);
      expect(body).not.to.have.any.keys('access_token', 'id_token', 'refresh_token');
    }

    it('gets nothing for an assertion that this one has seen, nor a second time by showing it to both at once', async () => {
      const seen = await newAssertion();
      expect((await present(here, seen)).status).to.equal(200);
      expectNothing(await present(there, seen), '401 invalid_client');

      const raced = await newAssertion();
      const both = Array.from({ length: 12 }, (_, n) => (n % 2 === 0 ? here : there));
      const answers = await Promise.all(both.map((flows) => present(flows, raced)));
      expect(answers.filter(({ status }) => status === 200)).to.have.length(1);
      expect(answers.filter(({ status }) => status === 401)).to.have.length(11);
    });

    it('gets no second code for a pushed request by keeping its interaction open while it is used elsewhere', async () => {
      const { request } = await here.start({ client: web });
      const { body } = await here.post('par', web, { client_id: web.id, ...request });
      const url = here.authorizeUrl(web, { request_uri: String(body.request_uri) });
      const waiting = here.browser();
      const login = await waiting.open(url);
      expect((await walk(there.browser(), url, person)).url.searchParams.has('code')).to.equal(true);

      const late = await waiting.submit(login.url.pathname, { email: person.email, password: person.password });
      expect(late.url.searchParams.get('error')).to.equal('invalid_request_uri');
      expect(late.url.searchParams.has('code')).to.equal(false);
      const again = await walk(there.browser(), url, person);
      expect(again.response?.status).to.equal(400);
    });

    describe('after all were killed', () => {
      let assertion: string;
      let used: Redirected;
      let accessToken: string;
      let rotated: string;
      let family: { access_token: string; refresh_token: string };

      before(async () => {
        used = await here.authorize({ client: web, person });
        accessToken = String((await there.redeem(web, used)).body.access_token);
        rotated = String((await here.tokens({ client: web, person, params: OFFLINE })).refresh_token);
        family = (await there.refresh(web, rotated)).body as typeof family;
        remember(used.code, used.verifier, accessToken, rotated, family.access_token, family.refresh_token);
        assertion = await newAssertion();
        await present(here, assertion);
        await killAndRestart();
      });

      it('gets nothing for an assertion that had been seen', async () => {
        expectNothing(await present(there, assertion), '401 invalid_client');
        expect((await present(there, await newAssertion())).status).to.equal(200);
      });

      it('gets nothing for a code that had been used, and ends what it gave', async () => {
        expect((await there.userinfo(accessToken)).status).to.equal(200);
        expectNothing(await here.redeem(web, used), '400 invalid_grant');
        expectNothing(await there.redeem(web, used), '400 invalid_grant');
        expect((await there.userinfo(accessToken)).status).to.equal(401);
      });

      it('gets nothing for a refresh token that had been used, and ends its family', async () => {
        expect((await there.userinfo(family.access_token)).status).to.equal(200);
        expect((await here.refresh(web, rotated)).body.refresh_token, 'while it may').to.equal(family.refresh_token);
        await sleep(11_000);
        expectNothing(await here.refresh(web, rotated), '400 invalid_grant');
        expectNothing(await there.refresh(web, family.refresh_token), '400 invalid_grant');
        expect((await there.userinfo(family.access_token)).status).to.equal(401);
      });
    });

    // The last: from here on this address is stopped.
    describe('and makes noise there', () => {
      it('is counted by all servers together when it guesses secrets', async () => {
        const guess = ({ post }: Flows) => post('introspect', { id: web.id, secret: 'wrong' }, { token: 'x' });
        const all = Array.from({ length: 120 }, (_, n) => (n % 2 === 0 ? here : there));
        const statuses: number[] = [];
        for (let from = 0; from < all.length; from += 20) {
          const answers = await Promise.all(all.slice(from, from + 20).map(guess));
          statuses.push(...answers.map(({ status }) => status));
        }
        const refused = statuses.filter((status) => status === 401);
        // Those of the tests before count, too.
        expect(refused).to.have.length.within(80, 100);
        for (const flows of [here, there]) {
          expect((await guess(flows)).status).to.equal(429);
          expect((await flows.post('introspect', web, { token: 'x' })).status, 'right, but too late').to.equal(429);
        }
      });

      it('finds nothing secret in what all of them have printed', () => {
        const all = printed + processes.map((process) => process.output()).join('');
        expect(all).to.contain(issuer).and.to.contain('request refused');
        expect([...secrets].filter((secret) => all.includes(secret))).to.deep.equal([]);
      });
    });
  });
});
