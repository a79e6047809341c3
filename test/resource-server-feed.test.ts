import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { createResourceServer } from '../src/resource-server/middleware.ts';
import { onEachEngine, startApp, type TestApp, type TestStore } from './support/app.ts';
import { startCaddy } from './support/caddy.ts';
import { startNginx } from './support/nginx.ts';

/** The plainest way to put something behind each of them, and one that compresses all it can. */
const proxies = {
  nginx: (origin: string) => startNginx(`location / { proxy_pass ${origin}; }`),
  'an nginx that compresses': (origin: string) =>
    startNginx(`gzip on; gzip_types *; gzip_proxied any; location / { proxy_pass ${origin}; }`),
  Caddy: (origin: string) => startCaddy(`api.example.com {\n\treverse_proxy ${origin}\n}\n`),
  'a Caddy that compresses': (origin: string) =>
    startCaddy(`api.example.com {\n\tencode gzip\n\treverse_proxy ${origin}\n}\n`),
};

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let api: { id: string; secret: string };

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    api = await app.client({ introspection: true });
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  const origin = () => app.issuer.replace('localhost', '127.0.0.1');
  const authorization = () => `Basic ${Buffer.from(`${api.id}:${api.secret}`).toString('base64')}`;

  for (const [name, start] of Object.entries(proxies)) {
    it(`tells of a withdrawal within a second through ${name}`, async () => {
      const proxy = await start(origin());
      const ended = new AbortController();
      const headers = { authorization: authorization(), 'accept-encoding': 'gzip' };
      try {
        const response = await fetch(`${proxy.url}/identity/introspect/feed`, { headers, signal: ended.signal });
        expect(response.status).to.equal(200);
        const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
        const next = async (pattern: RegExp) => {
          const startedAt = performance.now();
          for (let heard = ''; !pattern.test(heard); ) heard += (await reader?.read())?.value;
          return performance.now() - startedAt;
        };
        expect(await next(/event: withdrawal\n/)).to.be.lessThan(1000);
        const person = await app.person();
        await app.directory.accounts.disable(person.id);
        expect(await next(/event: withdrawal\n/)).to.be.lessThan(1000);
      } finally {
        ended.abort();
        await proxy.stop();
      }
    });

    it(`lets the middleware remember and forget through ${name}`, async () => {
      const proxy = await start(origin());
      await app.directory.permissions.create({ name: 'reports', description: 'x' }).catch(() => undefined);
      const person = await app.person({ permissions: ['reports'] });
      const account = await app.directory.accounts.getOrFail(person.id);
      const { token } = await app.directory.personalTokens.create(account, { description: 'a script' });
      const guard = createResourceServer({ issuer: proxy.url, clientId: api.id, clientSecret: api.secret });
      const isLet = async () => (await guard.decide(`Token ${token}`)).caller !== undefined;
      try {
        await sleep(800);
        expect(await isLet()).to.equal(true);
        await app.directory.accounts.disable(person.id);
        await sleep(1000);
        expect(await isLet()).to.equal(false);
      } finally {
        guard.close();
        await proxy.stop();
      }
    });
  }

  it('sends the first bytes at once to a client of HTTP/1.0, and ends no stream early', async () => {
    const socket = connect(Number(new URL(app.issuer).port), '127.0.0.1');
    socket.write(`GET /identity/introspect/feed HTTP/1.0\r\nAuthorization: ${authorization()}\r\n\r\n`);
    let received = '';
    socket.on('data', (chunk) => (received += chunk));
    await sleep(600);
    expect(received).to.match(/^HTTP\/1\.1 200/);
    expect(received.toLowerCase()).to.contain('x-accel-buffering: no').and.to.contain('no-transform');
    expect(received).not.to.match(/transfer-encoding: chunked/i);
    expect(received).to.contain('event: withdrawal\n');
    expect(socket.readyState).to.equal('open');
    socket.destroy();
    await once(socket, 'close');
  });
});

describe('the reader of the feed', () => {
  const { fetch } = globalThis;
  afterEach(() => {
    globalThis.fetch = fetch;
  });

  /** How often an API that hears these bytes, in these pieces, has to ask about one and the same token. */
  async function questionsAfter(pieces: Uint8Array[]): Promise<number> {
    const feed = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 1000 });
    const writer = feed.writable.getWriter();
    let questions = 0;
    globalThis.fetch = async (url) => {
      if (String(url).endsWith('/feed')) return new Response(feed.readable);
      questions += 1;
      return Response.json({ active: true, sub: 'somebody', scope: 'reports' });
    };
    const guard = createResourceServer({ issuer: 'https://id.example.com', clientId: 'an-api', clientSecret: 's' });
    const settled = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    try {
      // A feed may begin with a byte order mark.
      await writer.write(Buffer.from('\uFEFFevent: withdrawal\ndata: 1\n\n'));
      await settled();
      await guard.decide('Bearer token');
      for (const piece of pieces) await writer.write(piece);
      await settled();
      await guard.decide('Bearer token');
      await guard.decide('Bearer token');
      return questions;
    } finally {
      guard.close();
    }
  }

  const withdrawals = {
    'ended by LF': 'id: 7\nevent: withdrawal\ndata: 7\n\n',
    'ended by CRLF': 'id: 7\r\nevent: withdrawal\r\ndata: 7\r\n\r\n',
    'ended by CR': 'id: 7\revent: withdrawal\rdata: 7\r\r',
    'ended by all of them': 'id: 7\r\nevent: withdrawal\ndata: 7\r\n\n',
    'after comments': ': still here ä€😀\n\n:\n\nevent:withdrawal\ndata:7\n\n',
    'with data of several lines': 'event: withdrawal\ndata: 7\ndata\ndata: event: other\n\n',
    'with its type last': 'data: 7\nevent: withdrawal\n\n',
    'between others': 'event: news\ndata: 1\n\nevent: withdrawal\ndata: 7\n\ndata: 1\n\n',
  };
  for (const [name, text] of Object.entries(withdrawals)) {
    it(`hears a withdrawal ${name}, wherever its bytes are parted`, async () => {
      const bytes = Buffer.from(text);
      for (let at = 0; at <= bytes.length; at++) {
        expect(await questionsAfter([bytes.subarray(0, at), bytes.subarray(at)]), `at ${at}`).to.equal(2);
      }
      expect(await questionsAfter([...bytes].map((byte) => Buffer.of(byte)))).to.equal(2);
    });
  }

  const others = {
    'a comment that reads like one': ': event: withdrawal\n\n',
    'data that read like one': 'data: event: withdrawal\n\n',
    'an event without data': 'event: withdrawal\n\n',
    'an event of another type': 'event: withdrawals\ndata: 7\n\n',
    'an event that is not over': 'event: withdrawal\ndata: 7\n',
  };
  for (const [name, text] of Object.entries(others)) {
    it(`takes ${name} for none`, async () => {
      expect(await questionsAfter([Buffer.from(text)])).to.equal(1);
    });
  }
});
