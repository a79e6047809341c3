/** What whoever has been let in can have made: many times what any app needs, and no more. */
import { createHash, randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { wallClock } from '../../src/clock.ts';
import { ISSUED } from '../../src/oidc/admission.ts';
import { counterKey, type TallyRule } from '../../src/throttle.ts';
import { onEachEngine, type TestClient, type TestStore } from '../support/app.ts';
import {
  type ExchangingApp,
  exchangeToken,
  exchangingApp,
  FAKES_ALLOWED,
  type Fakes,
  fakePerson,
  linkedAccount,
  OWN,
  startFakes,
} from '../support/exchange.ts';
import { createFlows, type Flows, fragmentOf, OFFLINE } from '../support/flow.ts';
import { startTarget, type Target } from './web-target.ts';

type Person = Awaited<ReturnType<Target['person']>>;

onEachEngine((openStore) => {
  describe('whoever has been let in and asks without end', function () {
    this.timeout(60_000);
    let store: TestStore;
    let target: Target;
    let flows: Flows;
    let fakes: Fakes;
    let web: TestClient;
    let page: TestClient;
    let person: Person;

    before(async () => {
      [store, fakes] = await Promise.all([openStore(), startFakes()]);
      target = await startTarget(store, FAKES_ALLOWED);
      await fakes.register(target.directory);
      flows = createFlows(target.issuer);
      web = await target.client({ trusted: true });
      page = await target.client({ trusted: true, public: true, implicit: true });
      person = await target.person();
    });
    afterEach(() => target.unharmed());
    after(async () => {
      await target.close();
      await fakes.close();
      await store.remove();
    });

    /** As if it had been had so many times, less one step of a process. */
    async function fill({ limit, step, window, ...rule }: TallyRule, owner: readonly (string | null)[]): Promise<void> {
      const key = counterKey({ ...rule, limit, window }, JSON.stringify(owner));
      const count = { used: limit - step, until: wallClock() + window, judging: 0 };
      await target.directory.storage.put(key, count, { ttl: window });
    }

    /** Has it two steps of times: the first one fits. Answers what the one after that gets. */
    async function firstRefused<T extends { status: number }>(ask: () => Promise<T>): Promise<T> {
      for (let had = 0; had < 2 * 100; had += 20) {
        const answers = await Promise.all(Array.from({ length: 20 }, ask));
        const refused = answers.find(({ status }) => status === 429);
        if (refused) {
          expect(had + answers.filter(({ status }) => status === 200).length).to.be.within(198, 200);
          return refused;
        }
      }
      throw new Error('nothing was refused');
    }

    function expectRefused({ headers, body }: { headers: Headers; body: Record<string, unknown> }, what: string): void {
      expect(body.error).to.equal('too_many_requests');
      expect(body.error_description).to.contain(what);
      expect(Number(headers.get('retry-after'))).to.be.within(1, 86_400);
      expect(target.log()).to.contain(what);
    }

    it('gets no token for an app itself beyond its bound, and another app does', async () => {
      const [service, other] = [
        await target.client({ clientCredentials: true }),
        await target.client({ clientCredentials: true }),
      ];
      await fill(ISSUED.ClientCredentials, [null, service.id]);
      const ask = (client: TestClient) => flows.post('token', client, { grant_type: 'client_credentials' });
      expectRefused(await firstRefused(() => ask(service)), 'more than 2000000 client credentials tokens in 24 h');
      expect((await ask(other)).status).to.equal(200);
      const lines = target.log().match(/"level":40[^\n]*client credentials tokens/g);
      expect(lines, 'said once').to.have.length(1);
    });

    it('gets no tokens for a refresh token or a code beyond the bound, which are not used up by it', async () => {
      const offline = await flows.tokens({ client: web, person, params: OFFLINE });
      const code = await flows.authorize({ client: web, person });
      await fill(ISSUED.AccessToken, [person.id, web.id]);
      let refreshToken = String(offline.refresh_token);
      let answer = await flows.refresh(web, refreshToken);
      let had = 1;
      for (; answer.status === 200; had += 1) {
        refreshToken = String(answer.body.refresh_token);
        answer = await flows.refresh(web, refreshToken);
      }
      expect(had).to.be.within(195, 200);
      expectRefused(answer, 'more than 200000 access tokens in 24 h');
      expectRefused(await flows.redeem(web, code), 'access tokens');
      expect((await flows.tokens({ client: page, person })).access_token, 'in another app').to.be.a('string');

      await target.directory.storage.delete(counterKey(ISSUED.AccessToken, JSON.stringify([person.id, web.id])));
      expect((await flows.redeem(web, code)).status).to.equal(200);
      expect((await flows.refresh(web, refreshToken)).status).to.equal(200);
    });

    it('gets no code and no token without a code beyond the bound, but a page that says so', async () => {
      const web = await target.client({ trusted: true });
      const browser = target.browser();
      await target.signIn(browser, person, web);
      const request = {
        prompt: 'none',
        nonce: 'n',
        code_challenge: createHash('sha256').update('v').digest('base64url'),
        code_challenge_method: 'S256',
      };
      const askCode = async () => {
        const landing = await target.start(browser, web, request);
        return {
          status: landing.url.searchParams.has('code') ? 200 : Number(landing.response?.status),
          text: landing.text,
        };
      };
      await fill(ISSUED.AuthorizationCode, [person.id, web.id]);
      expect((await firstRefused(askCode)).text)
        .to.contain('<h1>')
        .and.to.contain('Too many');

      const askToken = async () => {
        const { url, response } = await target.start(browser, page, { ...request, response_type: 'id_token token' });
        return { status: fragmentOf(url).has('access_token') ? 200 : Number(response?.status) };
      };
      expect((await askToken()).status).to.equal(200);
      await fill(ISSUED.AccessToken, [person.id, page.id]);
      let had = 0;
      while ((await askToken()).status === 200) had += 1;
      expect(had).to.be.within(195, 200);
    });

    it('swaps no token of an identity provider beyond the bound', async () => {
      const client: ExchangingApp = await exchangingApp(target.directory);
      const somebody = fakePerson();
      const { id } = await linkedAccount(target.directory, somebody);
      const providerToken = fakes.github.issue(somebody, OWN);
      await fill(ISSUED.AccessToken, [id, client.id]);
      const ask = () => exchangeToken(target.origin, client.tokens.github?.token, providerToken);
      const refused = await firstRefused(ask);
      expect(refused.status).to.equal(429);
      expect(Number(refused.headers.get('retry-after'))).to.be.within(1, 86_400);
    });

    it('has no more signed assertions remembered than the bound', async () => {
      const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
      const jwks = { keys: [{ ...(await exportJWK(publicKey)), use: 'sig' } as Record<string, unknown>] };
      const client = await target.client({ introspection: true, jwks });
      await fill(ISSUED.ReplayDetection, [null, client.id]);
      const ask = async () =>
        flows.post('introspect', client, {
          token: 'x',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: await new SignJWT({ iss: client.id, sub: client.id, aud: target.issuer, jti: randomUUID() })
            .setProtectedHeader({ alg: 'ES256' })
            .setExpirationTime('60s')
            .sign(privateKey),
        });
      expectRefused(await firstRefused(ask), 'more than 1000000 client assertions in 1 h');
    });
  });
});
