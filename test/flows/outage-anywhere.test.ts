import { expect } from 'chai';
import type { Storage } from '../../src/storage/storage.ts';
import { unavailable } from '../../src/storage/storage.ts';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows, OFFLINE } from '../support/flow.ts';

const VERBS = ['get', 'put', 'insert', 'update', 'take', 'delete', 'list'] as const;

/** Lets the store fail at the operation with this number, and at all after it, as an outage does. */
function createOutage(storage: Storage) {
  let count = 0;
  let failsFrom = Number.POSITIVE_INFINITY;
  for (const verb of VERBS) {
    const original = storage[verb].bind(storage) as (...args: unknown[]) => Promise<unknown>;
    Object.assign(storage, {
      [verb]: async (...args: unknown[]) => {
        count += 1;
        if (count >= failsFrom) throw unavailable(new Error(`${verb} number ${count}`));
        return original(...args);
      },
    });
  }
  return {
    async during<T>(from: number, work: () => Promise<T>): Promise<{ result: T; operations: number }> {
      count = 0;
      failsFrom = from;
      try {
        return { result: await work(), operations: count };
      } finally {
        failsFrom = Number.POSITIVE_INFINITY;
      }
    },
  };
}

/** A request that can be made again, each time as if for the first time. */
type Repeatable = () => Promise<() => Promise<Response>>;

describe('an outage of the store that begins anywhere in a request', () => {
  onEachEngine((openStore) => {
    let store: TestStore;
    let app: TestApp;
    let flows: Flows;
    let client: TestClient;
    let api: TestClient;
    let person: { id: string; email: string; password: string };
    let outage: ReturnType<typeof createOutage>;

    before(async () => {
      store = await openStore();
      app = await startApp(store);
      flows = createFlows(app.issuer);
      person = await app.person();
      client = await app.client({ trusted: true, postLogoutRedirectUris: ['https://app.example.com/bye'] });
      api = await app.client({ introspection: true });
      outage = createOutage(app.directory.storage);
    });
    after(async () => {
      await app?.close();
      await store?.remove();
    });

    const basic = ({ id, secret }: TestClient) => `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
    const post = (path: string, fields: Record<string, string>, as: TestClient, accept = 'application/json') =>
      fetch(`${app.issuer}${path}`, {
        method: 'POST',
        headers: { authorization: basic(as), accept },
        body: new URLSearchParams(fields),
        redirect: 'manual',
      });

    async function signedIn() {
      const browser = flows.browser();
      const tokens = await flows.tokens({ client, person, browser, params: OFFLINE });
      return { browser, tokens };
    }

    const requests = (): Record<string, Repeatable> => ({
      'authorize, signed in': async () => {
        const [{ browser }, { url }] = [await signedIn(), await flows.start({ client })];
        return () => browser.request(url);
      },
      'authorize, signed out': async () => {
        const { url } = await flows.start({ client });
        return () => flows.browser().request(url);
      },
      'authorize silently': async () => {
        const [{ browser }, { url }] = [await signedIn(), await flows.start({ client, params: { prompt: 'none' } })];
        return () => browser.request(url);
      },
      'our own page': async () => {
        const { browser } = await signedIn();
        return () => browser.request('/account');
      },
      'post the login form': async () => {
        const browser = flows.browser();
        const page = await browser.open((await flows.start({ client })).url);
        const body = new URLSearchParams({ email: person.email, password: person.password });
        return () => browser.request(page.url.pathname, { method: 'POST', body });
      },
      'go on after it': async () => {
        const browser = flows.browser();
        const page = await browser.open((await flows.start({ client })).url);
        const body = new URLSearchParams({ email: person.email, password: person.password });
        const done = await browser.request(page.url.pathname, { method: 'POST', body });
        return () => browser.request(String(done.headers.get('location')));
      },
      'redeem a code': async () => {
        const { code, verifier } = await flows.authorize({ client, person });
        const fields = {
          grant_type: 'authorization_code',
          redirect_uri: client.redirectUri,
          code,
          code_verifier: verifier,
        };
        return () => post('/identity/token', fields, client);
      },
      refresh: async () => {
        const { tokens } = await signedIn();
        const fields = { grant_type: 'refresh_token', refresh_token: String(tokens.refresh_token) };
        return () => post('/identity/token', fields, client);
      },
      introspect: async () => {
        const { tokens } = await signedIn();
        return () => post('/identity/introspect', { token: tokens.access_token }, api);
      },
      'introspect, by the engine': async () => {
        const { tokens } = await signedIn();
        const fields = { token: tokens.access_token, client_id: api.id, client_secret: api.secret };
        return () => fetch(`${app.issuer}/identity/introspect`, { method: 'POST', body: new URLSearchParams(fields) });
      },
      revoke: async () => {
        const { tokens } = await signedIn();
        return () => post('/identity/revoke', { token: String(tokens.refresh_token) }, client);
      },
      push: async () => () => {
        const request = {
          client_id: client.id,
          redirect_uri: client.redirectUri,
          response_type: 'code',
          scope: 'openid',
        };
        return post('/identity/par', request, client);
      },
      userinfo: async () => {
        const { tokens } = await signedIn();
        return () => flows.userinfo(tokens.access_token);
      },
      logout: async () => {
        const { browser, tokens } = await signedIn();
        const query = new URLSearchParams({
          id_token_hint: String(tokens.id_token),
          post_logout_redirect_uri: 'https://app.example.com/bye',
        });
        return () => browser.request(`/identity/logout?${query}`);
      },
      verify: async () => {
        const { tokens } = await signedIn();
        return () => fetch(`${app.issuer}/verify`, { headers: { authorization: `Bearer ${tokens.access_token}` } });
      },
    });

    for (const name of [
      'authorize, signed in',
      'authorize, signed out',
      'authorize silently',
      'our own page',
      'post the login form',
      'go on after it',
      'redeem a code',
      'refresh',
      'introspect',
      'introspect, by the engine',
      'revoke',
      'push',
      'userinfo',
      'logout',
      'verify',
    ]) {
      it(`${name}: says so, whenever it begins`, async function everywhere() {
        this.timeout(120_000);
        const prepare = requests()[name] as Repeatable;
        const whole = await prepare();
        const { operations, result } = await outage.during(Number.POSITIVE_INFINITY, whole);
        expect(result.status, await result.text()).to.be.below(400);
        for (let from = 1; from <= operations; from++) {
          const request = await prepare();
          const { result: response } = await outage.during(from, request);
          const text = await response.text();
          const said = `operation ${from} of ${operations}: ${response.status} ${response.headers.get('location')} ${text}`;
          // What is only noted for later may be left out; nobody is told that a good token is none.
          if (response.status < 300) {
            expect(text, said).not.to.contain('"active":false');
            continue;
          }
          const location = URL.parse(response.headers.get('location') ?? '', app.issuer);
          if (response.status < 400) {
            expect(location?.searchParams.get('error') ?? 'temporarily_unavailable', said).to.equal(
              'temporarily_unavailable',
            );
            continue;
          }
          expect(response.status, said).to.equal(503);
          expect(response.headers.get('retry-after'), said).to.match(/^\d+$/);
        }
      });
    }
  });
});
