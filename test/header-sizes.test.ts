import { once } from 'node:events';
import { request } from 'node:http';
import { expect } from 'chai';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from './support/app.ts';
import { recipe } from './support/docs.ts';
import { createFlows, type Flows, walk } from './support/flow.ts';
import { type Nginx, startNginx } from './support/nginx.ts';

const USUAL = 'x'.repeat(2_000);
/** What nginx holds of the head of an answer by default. */
const DEFAULT_BUFFER = 4_096;

onEachEngine((openStore) =>
  describe('the buffers that nginx has by default', () => {
    let store: TestStore;
    let app: TestApp;
    let nginx: Nginx;
    let flows: Flows;
    let client: TestClient;
    let page: TestClient;
    let person: Awaited<ReturnType<TestApp['person']>>;
    const callback = `https://app.example.com/${'callback'.repeat(20)}`;

    before(async () => {
      store = await openStore();
      app = await startApp(store);
      const location = await recipe('run-behind-a-proxy.md', {
        heading: '## nginx',
        language: 'nginx',
        pattern: /location/,
      });
      nginx = await startNginx(location.replace('latchkey;', `127.0.0.1:${new URL(app.issuer).port};`));
      flows = createFlows(app.issuer, nginx.url);
      person = await app.person();
      const postLogoutRedirectUris = [callback];
      client = await app.client({ redirectUris: [callback], postLogoutRedirectUris, trusted: true });
      page = await app.client({ redirectUris: [callback], public: true, implicit: true, trusted: true });
    });
    after(async () => {
      await nginx.stop();
      await app.close();
      await store.remove();
    });

    /** Bytes of the head of what Latchkey itself answers. */
    async function headOf(url: string, cookie: string): Promise<number> {
      const { pathname, search } = new URL(url, app.issuer);
      const outgoing = request(`${app.issuer}${pathname}${search}`, { headers: { cookie, accept: 'text/html' } });
      outgoing.end();
      const [response] = await once(outgoing, 'response');
      response.resume();
      const lines = (response.rawHeaders as string[]).reduce((sum, text) => sum + Buffer.byteLength(text) + 2, 0);
      return `HTTP/1.1 ${response.statusCode} ${response.statusMessage}\r\n`.length + lines + 2;
    }

    const kinds: Record<string, { asks: () => TestClient; state: string; params: Record<string, string> }> = {
      'a code': {
        asks: () => client,
        state: 'x'.repeat(3_000 - callback.length),
        params: { nonce: 'x'.repeat(2_000) },
      },
      'tokens in the fragment': {
        asks: () => page,
        state: 'x'.repeat(1_000),
        params: { response_type: 'id_token token', nonce: 'n' },
      },
    };
    for (const [kind, { asks, state, params }] of Object.entries(kinds)) {
      it(`hold every answer of a sign-in that gives ${kind}, with as long a state as the docs say`, async () => {
        const browser = flows.browser();
        const { url } = await flows.start({ client: asks(), params: { state, ...params } });
        const first = await walk(browser, url, person);
        expect(first.url.href, first.text.slice(0, 500)).to.match(/[?#&](code|id_token)=/);
        const silent = `${url}&prompt=none`;
        expect((await browser.open(silent)).url.href).to.contain(state);
        const cookies = browser.cookies().map(({ name, value }) => `${name}=${value}`);
        expect(await headOf(silent, cookies.join('; '))).to.be.below(DEFAULT_BUFFER);
      });
    }

    it('hold refusals, pages that lead to apps, and what /verify says', async () => {
      const browser = flows.browser();
      const { url } = await flows.start({ client, params: { state: USUAL, nonce: USUAL } });
      await walk(browser, url, person);
      const refused = await browser.open(`${url}&prompt=none&max_age=0`);
      expect(refused.url.searchParams.get('error')).to.equal('login_required');
      const out = new URLSearchParams({ client_id: client.id, post_logout_redirect_uri: callback, state: USUAL });
      const asked = await browser.open(`/identity/logout?${out}`);
      expect(asked.response?.status).to.equal(200);
      const mistaken = await browser.open(url.replace('response_type=code', 'response_type=nonsense'));
      expect(mistaken.url.searchParams.get('error')).to.equal('unsupported_response_type');
      const unknown = await browser.open(url.replace('app.example.com', 'elsewhere.example.com'));
      expect(unknown.response?.status).to.equal(400);
      const account = await app.directory.accounts.getOrFail(person.id);
      const { token } = await app.directory.personalTokens.create(account, { description: 'a script' });
      const headers = { authorization: `Token ${token}` };
      expect((await fetch(`${nginx.url}/verify?audience=${'a'.repeat(200)}`, { headers })).status).to.equal(200);
    });
  }),
);
