import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { expect } from 'chai';
import { onEachEngine, startApp, type TestApp, type TestStore } from './support/app.ts';
import { startCaddy } from './support/caddy.ts';
import { recipe } from './support/docs.ts';
import { startNginx } from './support/nginx.ts';

/** Everything an API hears of its caller, spelled as it came. */
type Heard = [name: string, value: string][];

const proxies = {
  nginx: { heading: '### nginx', language: 'nginx', start: startNginx },
  Caddy: { heading: '### Caddy', language: 'caddyfile', start: startCaddy },
};

/** In the spellings that a framework may read as one of ours. */
const SPELLINGS = [
  (name: string) => name,
  (name: string) => name.toLowerCase(),
  (name: string) => name.replaceAll('-', '_'),
  (name: string) => name.replace(/-(?=\w+$)/, '_'),
  (name: string) => name.replace('X-', 'x_'),
];
const NAMES = ['Subject', 'Email', 'Scope', 'Client-Id', 'Organization', 'Token'].map((name) => `X-Auth-${name}`);

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let api: Server;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    for (const name of ['reports', 'settings', ...LONG_PERMISSIONS]) {
      await app.directory.permissions.create({ name, description: `May use ${name}` });
    }
    api = createServer((incoming, response) => {
      const { rawHeaders } = incoming;
      const heard = rawHeaders.flatMap((name, index) => (index % 2 ? [] : [[name, rawHeaders[index + 1]]]));
      response.end(JSON.stringify(heard));
    });
    api.listen(0, '127.0.0.1');
    await once(api, 'listening');
  });
  after(async () => {
    api.closeAllConnections();
    api.close();
    await app.close();
    await store.remove();
  });

  async function makeToken(scope: string) {
    const person = await app.person({ permissions: scope.split(' ') });
    const account = await app.directory.accounts.getOrFail(person.id);
    const { token } = await app.directory.personalTokens.create(account, { description: 'a script', scope });
    return { token, person };
  }

  /** The recipe as it stands in the docs, with our addresses. */
  async function read(where: { heading: string; language: string }): Promise<string> {
    return (await recipe('protect-an-api.md', where))
      .replaceAll('https://id.example.com', app.issuer.replace('localhost', '127.0.0.1'))
      .replaceAll('127.0.0.1:9000', `127.0.0.1:${(api.address() as AddressInfo).port}`);
  }

  it('lets nginx move a token from the URL into the header as the docs say, once, and hands it to no API', async () => {
    const maps = await recipe('protect-an-api.md', { heading: '### A token in the URL', language: 'nginx' });
    const server = (await read(proxies.nginx))
      .replace('auth_request ', 'set $sent $credential; set $args $args_without_token; auth_request ')
      .replaceAll('internal;', 'internal; proxy_set_header Authorization $sent;');
    const nginx = await startNginx(server, maps);
    try {
      const { token } = await makeToken('reports');
      const heard: string[] = [];
      const note = (incoming: { url?: string }) => heard.push(String(incoming.url));
      api.on('request', note);
      const statuses = async (query: string, headers = {}) =>
        (await fetch(`${nginx.url}/x?${query}`, { headers })).status;
      expect(await statuses(`accessToken=${token}`)).to.equal(200);
      expect(await statuses(`a=1&accesstoken=${token}&b=2`)).to.equal(200);
      expect(await statuses(`accessToken=${token}&accessToken=${token}`)).to.equal(200);
      expect(await statuses('q=1', { authorization: `Token ${token}` })).to.equal(200);
      expect(await statuses(`accessToken=${token}`, { authorization: 'Token x' })).to.equal(401);
      expect(await statuses(`accessToken=${token}%0d%0aX-Auth-Subject:%20x`)).to.equal(401);
      expect(await statuses('accessToken=x')).to.equal(401);
      expect(await statuses('q=1')).to.equal(401);
      api.off('request', note);
      expect(heard.filter((url) => url.includes(token))).to.deep.equal([]);
      expect(heard).to.include('/x?q=1');
    } finally {
      await nginx.stop();
    }
  });

  for (const [name, { start, ...where }] of Object.entries(proxies)) {
    describe(`behind a real ${name} set up as the docs say`, () => {
      let proxy: Awaited<ReturnType<typeof start>>;

      before(async () => {
        proxy = await start(await read(where));
      });
      after(() => proxy.stop());

      const call = (token?: string, init: RequestInit = {}) =>
        fetch(`${proxy.url}/anything?x=1`, {
          ...init,
          headers: token === undefined ? {} : { authorization: `Token ${token}` },
        });

      /** Sends headers as they are, repeated ones too. */
      async function heardOf(headers: [string, string][]): Promise<Heard> {
        const outgoing = request(proxy.url, { headers: [...headers, ['Host', new URL(proxy.url).host]].flat() });
        outgoing.end();
        const [response] = await once(outgoing, 'response');
        expect(response.statusCode).to.equal(200);
        return json(response) as Promise<Heard>;
      }

      it('lets the API know who calls', async () => {
        const { token, person } = await makeToken('reports');
        const heard = Object.fromEntries((await (await call(token)).json()) as Heard);
        const lowerCase = Object.fromEntries(Object.entries(heard).map(([key, value]) => [key.toLowerCase(), value]));
        expect(lowerCase).to.include({
          'x-auth-subject': person.id,
          'x-auth-email': person.email,
          'x-auth-scope': 'reports',
        });
        expect(lowerCase).not.to.have.property('authorization');
        const posted = await call(token, { method: 'POST', body: 'x'.repeat(100_000) });
        expect(posted.status).to.equal(200);
      });

      for (const [index, spell] of SPELLINGS.entries()) {
        it(`lets no caller say who they are with ${spell('X-Auth-Client-Id')}, once or twice`, async () => {
          const { token, person } = await makeToken('reports');
          const forged = NAMES.map((header): [string, string] => [spell(header), 'forged']);
          const repeated = index === 0 ? [] : NAMES.map((header): [string, string] => [header, 'forged']);
          const heard = await heardOf([['Authorization', `Token ${token}`], ...forged, ...forged, ...repeated]);
          expect(heard.filter(([, value]) => value.includes('forged'))).to.deep.equal([]);
          expect(heard.filter(([header]) => header.toLowerCase() === 'x-auth-subject')).to.deep.equal([
            ['X-Auth-Subject', person.id],
          ]);
        });
      }

      it('lets no caller have the headers taken away on the way', async () => {
        const { token, person } = await makeToken('reports');
        for (const connection of [
          'X-Auth-Subject',
          'close, x-auth-subject',
          'keep-alive, X-Auth-Scope,x-auth-subject',
        ]) {
          const heard = await heardOf([
            ['Authorization', `Token ${token}`],
            ['Connection', connection],
          ]);
          expect(heard).to.deep.include(['X-Auth-Subject', person.id]);
        }
      });

      it('tells a caller who may not pass why, once', async () => {
        const { token: narrow } = await makeToken('settings');
        const refusals = [
          { token: undefined, status: 401, error: 'invalid_token', errorCode: '401' },
          { token: 'nonsense', status: 401, error: 'invalid_token', errorCode: '401' },
          { token: narrow, status: 403, error: 'insufficient_scope', errorCode: '403' },
        ];
        for (const { token, status, ...body } of refusals) {
          for (const method of ['GET', 'POST']) {
            const response = await call(token, { method });
            expect(response.status).to.equal(status);
            expect(response.headers.get('www-authenticate')?.match(/(Bearer|Token) realm=/g)).to.deep.equal([
              'Bearer realm=',
              'Token realm=',
            ]);
            expect(response.headers.get('content-type')).to.match(/^application\/json/);
            expect(await response.json()).to.include(body);
          }
        }
      });

      it('answers 503 or 502, and lets nobody through, while Latchkey cannot be asked', async () => {
        const { token } = await makeToken('reports');
        const lonely = await start((await read(where)).replaceAll(new URL(app.issuer).port, '1'));
        try {
          const response = await fetch(lonely.url, { headers: { authorization: `Token ${token}` } });
          expect(response.status).to.be.oneOf([502, 503]);
        } finally {
          await lonely.stop();
        }
      });

      it('holds what a token of forty of the longest permissions says', async () => {
        const { token } = await makeToken(`reports ${LONG_PERMISSIONS.slice(1).join(' ')}`);
        const heard = (await (await call(token)).json()) as Heard;
        const [, scope = ''] = heard.find(([header]) => header.toLowerCase() === 'x-auth-scope') ?? [];
        expect(scope.split(' ')).to.have.members(['reports', ...LONG_PERMISSIONS.slice(1)]);
      });
    });
  }
});

const LONG_PERMISSIONS = Array.from({ length: 40 }, (_, index) => `area${index}.`.padEnd(64, 'x'));
