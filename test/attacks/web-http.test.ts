import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { cookieName } from '../../src/oidc/cookie-name.ts';
import { embeddedStore, type TestStore } from '../support/app.ts';
import { startTarget, type Target } from './web-target.ts';

const FORM = 'application/x-www-form-urlencoded';
const PATHS = [
  '/account',
  '/setup',
  '/identity/authorize',
  '/identity/token',
  '/identity/logout',
  '/interaction/x',
  '/nothing',
];

describe('an attacker of the wire', () => {
  let store: TestStore;
  let target: Target;

  before(async () => {
    store = await embeddedStore();
    target = await startTarget(store);
  });
  afterEach(() => target.unharmed());
  after(async () => {
    await target.close();
    await store.remove();
  });

  /** Raw requests, one a connection; answers the status lines. */
  async function statusOf(...lines: readonly (string | Buffer)[]): Promise<number> {
    const answer = await target.sendBytes(...lines);
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]);
  }

  const post = (path: string, ...headers: string[]) =>
    [`POST ${path} HTTP/1.1`, 'Host: localhost', ...headers, '', ''].join('\r\n');

  it('cannot smuggle a second request in a first one', async () => {
    const inner = 'GET /account HTTP/1.1\r\nHost: localhost\r\n\r\n';
    const requests: Record<string, string> = {
      'a length and chunks': `${post('/setup', `Content-Type: ${FORM}`, 'Content-Length: 4', 'Transfer-Encoding: chunked')}0\r\n\r\n${inner}`,
      'two lengths': `${post('/setup', 'Content-Length: 0', `Content-Length: ${inner.length}`)}${inner}`,
      'a length with a sign': `${post('/setup', 'Content-Length: +0')}${inner}`,
      'a length that is none': `${post('/setup', 'Content-Length: 0x0')}${inner}`,
      'chunks by an unknown name': `${post('/setup', 'Transfer-Encoding: xchunked')}${inner}`,
      'chunks twice removed': `${post('/setup', 'Transfer-Encoding: chunked, identity')}0\r\n\r\n${inner}`,
      'a chunk size with a sign': `${post('/setup', 'Transfer-Encoding: chunked')}-1\r\n\r\n${inner}`,
      'a space before the colon': `${post('/setup', 'Content-Length : 0')}${inner}`,
      'a folded header': `${post('/setup', 'X-A: b\r\n Content-Length: 0')}${inner}`,
      'bare line feeds': 'GET /account HTTP/1.1\nHost: localhost\n\n',
      'a header without a name': `GET /account HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n`,
      'NUL in a header': 'GET /account HTTP/1.1\r\nHost: localhost\r\nX-A: a\0b\r\n\r\n',
      'a line feed in a header': 'GET /account HTTP/1.1\r\nHost: localhost\r\nX-A: a\nSet-Cookie: x\r\n\r\n',
      'another version': 'GET /account HTTP/9.9\r\nHost: localhost\r\n\r\n',
    };
    for (const [name, request] of Object.entries(requests)) {
      const answer = await target.sendBytes(request);
      expect(answer, name).to.match(/^HTTP\/1\.1 400 /);
      expect(answer.match(/HTTP\/1\.1 \d/g), name).to.have.length(1);
    }
  });

  it('is answered shortly when a head is larger than any can be', async () => {
    const heads = [
      `GET /account HTTP/1.1\r\nHost: localhost\r\nX-A: ${'x'.repeat(20_000)}\r\n\r\n`,
      `GET /account HTTP/1.1\r\nHost: localhost\r\n${Array.from({ length: 3_000 }, (_, n) => `X-${n}: y\r\n`).join('')}\r\n`,
      `GET /account HTTP/1.1\r\nHost: localhost\r\nCookie: ${Array.from({ length: 1_000 }, (_, n) => `latchkey${n}=${'x'.repeat(20)}`).join('; ')}\r\n\r\n`,
      `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      `GET /account?${'a&'.repeat(10_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    ];
    for (const head of heads) expect(await statusOf(head)).to.equal(431);
  });

  it('cannot stall the server with headers that are expensive to read', async () => {
    const heavy = [
      ',',
      ' ,',
      ';',
      '; ',
      'a;q=',
      'a;q=1,',
      '"',
      '\\"',
      '=',
      ' ',
      'a ',
      'en-',
      'latchkey=;',
      ' latchkey',
    ];
    const names = [
      'accept',
      'accept-language',
      'accept-encoding',
      'cookie',
      'authorization',
      'x-forwarded-for',
      'x-forwarded-host',
      'x-forwarded-proto',
      'forwarded',
      'content-type',
      'if-none-match',
      'range',
      'user-agent',
      'origin',
      'sec-fetch-site',
    ];
    for (const name of names) {
      for (const part of heavy) {
        const value = `a${part.repeat(Math.floor(14_000 / part.length))}a`;
        const before = process.cpuUsage();
        const { status } = await target.send('/account', { headers: { [name]: value } });
        const { user, system } = process.cpuUsage(before);
        expect(status, `${name}: ${part}`).to.be.oneOf([302, 303, 400]);
        expect((user + system) / 1_000, `milliseconds of work for ${name}: ${part}`).to.be.lessThan(50);
      }
    }
  });

  it('cannot get in with three hundred cookies, or with names and values nobody sends', async () => {
    const name = cookieName(target.issuer, 'latchkey');
    const many = Array.from({ length: 300 }, (_, n) => `${name}=${n}; ${name}.sig=${n}`).join('; ');
    const cookies = [
      many,
      name,
      `${name}=`,
      '=',
      ';;;;',
      `${name}="x"; ${name}.sig="y"`,
      `${name}=%00; ${name}.sig=%ff`,
      '__proto__=x; constructor=y',
      `${name}=\u00e9`,
    ];
    for (const cookie of cookies) {
      for (const path of PATHS) {
        const { status, headers } = await target.send(path, {
          headers: { cookie: Buffer.from(cookie).toString('latin1') },
        });
        expect(status, `${path} ${cookie.slice(0, 40)}`).to.be.oneOf([200, 302, 303, 400, 403, 404]);
        expect(headers).not.to.have.property('x-powered-by');
      }
    }
  });

  it('cannot break a path or query by bytes that are no text', async () => {
    const parts = [
      '%',
      '%ff',
      '%c0%af',
      '%00',
      '%ed%a0%80',
      '%e2%80%ae',
      '%F0%9F%92%A9',
      '..',
      '..%2f',
      '%2e%2e/',
      ';/',
      '..;/',
      '\\',
      '/',
      '//',
      '.',
      '*',
      '%0d%0a',
    ];
    for (const part of parts) {
      for (const path of [
        `/${part}`,
        `/account/${part}`,
        `/interaction/${part}`,
        `/identity/${part}`,
        `/assets/${part}`,
        `/health/${part}`,
        `/setup?code=${part}`,
        `/account/callback?state=${part}&error=${part}`,
        `/identity/authorize?client_id=${part}`,
        `/identity/logout?ui_locales=${part}`,
      ]) {
        const { status, text } = await target.send(path);
        expect(status, path).to.be.lessThan(500);
        expect(text, path).not.to.contain('root:');
      }
    }
    const raw = (line: string | Buffer) =>
      statusOf(Buffer.concat([Buffer.from('GET /'), Buffer.from(line), Buffer.from(' HTTP/1.1\r\nHost: x\r\n\r\n')]));
    for (const line of [Buffer.from([0xff, 0xfe]), Buffer.from([0xc3, 0x28]), Buffer.from([0])]) {
      expect(await raw(line)).to.be.oneOf([400, 404]);
    }
    for (const line of [
      'GET http://evil.example/account HTTP/1.1',
      'GET * HTTP/1.1',
      'OPTIONS * HTTP/1.1',
      'CONNECT evil.example:443 HTTP/1.1',
      'GET evil HTTP/1.1',
      'GET //evil.example/account HTTP/1.1',
    ]) {
      const answer = await target.sendBytes(`${line}\r\nHost: evil.example\r\nConnection: close\r\n\r\n`);
      expect(answer, line)
        .not.to.match(/^HTTP\/1\.1 (2|5)/)
        .and.not.contain('Location: http://evil')
        .and.not.contain('Location: //');
    }
  });

  it('finds no back door in another spelling of a path', async () => {
    const browser = target.browser();
    await target.signIn(browser, await target.person());
    const own = await target.send('/account', { as: browser });
    expect(own.status).to.equal(200);
    const spellings = [
      '/account/',
      '/ACCOUNT',
      '/%61ccount',
      '//account',
      '/./account',
      '/x/../account',
      '/account;x',
      '/account%2f',
      '/account%00',
      '/account/.',
      '/account.json',
      '/..;/account',
      '/account?x',
      '/account#x',
    ];
    for (const path of spellings) {
      const { status } = await target.send(path);
      expect(status, path).to.be.oneOf([302, 303, 404]);
    }
    const overridden = { 'x-original-url': '/account', 'x-rewrite-url': '/account', 'x-forwarded-uri': '/account' };
    expect((await target.send('/nothing', { as: browser, headers: overridden })).status).to.equal(404);
  });

  it('cannot use a method that an address does not know', async () => {
    const client = await target.client();
    const fields = {
      client_id: client.id,
      client_secret: client.secret,
      grant_type: 'authorization_code',
      code: 'x',
      token: 'x',
    };
    const query = new URLSearchParams(fields);
    const override = { 'x-http-method-override': 'POST', 'x-http-method': 'POST', 'x-method-override': 'POST' };
    for (const path of ['/identity/token', '/identity/revoke', '/identity/introspect', '/identity/par']) {
      for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'TRACE']) {
        const { status } = await target.send(`${path}?${query}&_method=POST`, { method, headers: override });
        expect(status, `${method} ${path}`).to.be.oneOf([404, 405]);
      }
    }
    const traced = await target.send('/account', { method: 'TRACE', headers: { 'x-secret': 'tell me' } });
    expect(traced.text).not.to.contain('tell me');
  });

  it('cannot send endpoints and forms a body in a coding that has to be undone', async () => {
    const bomb = gzipSync(Buffer.alloc(5_000_000, 'a'));
    for (const path of ['/setup', '/identity/token', '/identity/logout/confirm']) {
      for (const encoding of ['gzip', 'br', 'deflate', 'x-gzip', 'gzip, gzip']) {
        const headers = { 'content-type': FORM, 'content-encoding': encoding };
        const { status } = await target.send(path, { method: 'POST', headers, body: bomb.subarray(0, 5_000) });
        expect(status, `${path} ${encoding}`).to.be.oneOf([400, 413, 415]);
      }
    }
  });

  it('cannot send an endpoint anything but one plain form', async () => {
    const client = await target.client();
    const fields = { client_id: client.id, client_secret: client.secret, grant_type: 'authorization_code', code: 'x' };
    const form = new URLSearchParams({ ...fields, redirect_uri: client.redirectUri, token: 'x' }).toString();
    const bodies: Record<string, [type: string | undefined, body: string]> = {
      JSON: ['application/json', JSON.stringify(fields)],
      'a polluting JSON': [
        'application/json',
        '{"__proto__":{"isAdmin":true},"constructor":{"prototype":{"isAdmin":true}}}',
      ],
      multipart: [
        'multipart/form-data; boundary=x',
        `--x\r\ncontent-disposition: form-data; name="code"\r\n\r\nx\r\n--x--\r\n`,
      ],
      'text/plain': ['text/plain', form],
      'no type': [undefined, form],
      'another character set': [`${FORM}; charset=utf-7`, form],
      'an unknown character set': [`${FORM}; charset=nothing`, form],
      'a doubled parameter': [FORM, `${form}&client_id=${client.id}`],
      'five thousand parameters': [FORM, `${Array.from({ length: 5_000 }, (_, n) => `f${n}=1`).join('&')}`],
      'a prototype': [FORM, '__proto__[isAdmin]=1&constructor[prototype][isAdmin]=1&__proto__=x'],
      'broken escapes': [FORM, 'client_id=%ff%fe&client_secret=%&grant_type=%E0%A4%A'],
      'only separators': [FORM, '&=&'.repeat(5_000)],
    };
    for (const [name, [type, body]] of Object.entries(bodies)) {
      for (const path of ['/identity/token', '/identity/revoke', '/identity/introspect', '/identity/par']) {
        const headers = { accept: '*/*', ...(type === undefined ? {} : { 'content-type': type }) };
        const { status, text } = await target.send(path, { method: 'POST', headers, body });
        expect(status, `${name} to ${path}`).to.be.oneOf([400, 401, 415]);
        expect(JSON.parse(text).error, `${name} to ${path}`).to.match(/^[a-z_]+$/);
      }
    }
    expect(({} as Record<string, unknown>).isAdmin).to.equal(undefined);
  });

  it('is stopped early when a body is too large, whether it says so or never ends', async () => {
    for (const path of ['/setup', '/identity/token', '/identity/authorize', '/identity/logout/confirm']) {
      expect(
        await statusOf(post(path, `Content-Type: ${FORM}`, 'Content-Length: 10000000'), 'a='),
        `${path} 10 MB`,
      ).to.be.oneOf([400, 404, 413]);
      const { status } = await target.send(path, {
        body: `a=${'x'.repeat(58_000)}`,
        headers: { 'content-type': FORM },
      });
      expect(status, `${path} 58 kB`).to.be.oneOf([400, 404, 413]);
    }

    const before = process.memoryUsage.rss();
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
    for (const path of ['/setup', '/identity/token']) {
      const socket = connect(Number(new URL(target.origin).port), '127.0.0.1').setEncoding('utf8');
      socket.on('error', () => undefined);
      let answer = '';
      socket.on('data', (data) => {
        answer += data;
      });
      await once(socket, 'connect');
      socket.write(post(path, `Content-Type: ${FORM}`, 'Transfer-Encoding: chunked'));
      for (let sent = 0; sent < 2_000 && answer === '' && !socket.destroyed; sent++) {
        if (!socket.write(chunk)) await sleep(20);
      }
      socket.destroy();
      expect(answer, path).to.match(/^HTTP\/1\.1 4(00|13) /);
    }
    expect((process.memoryUsage.rss() - before) / 1e6, 'megabytes').to.be.lessThan(60);
  });

  it('keeps nobody from the server with connections that dawdle', async () => {
    const slow = Array.from({ length: 300 }, () => connect(Number(new URL(target.origin).port), '127.0.0.1'));
    for (const socket of slow) {
      socket.on('error', () => undefined);
      socket.write('POST /setup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n');
    }
    await sleep(100);
    const startedAt = performance.now();
    expect((await target.send('/health/live')).status).to.equal(200);
    expect(performance.now() - startedAt).to.be.lessThan(500);
    for (const socket of slow) socket.destroy();
  });

  it('reads answers from another origin only where an app of that origin may', async () => {
    const client = await target.client({ public: true, redirectUris: ['https://spa.example.com/callback'] });
    const paths = [
      '/account',
      '/account/callback',
      '/setup',
      '/identity/authorize',
      '/identity/logout',
      '/interaction/x',
      '/health/live',
    ];
    for (const origin of ['https://spa.example.com', 'https://evil.example', 'null', 'https://spa.example.com.evil']) {
      for (const path of paths) {
        for (const method of ['GET', 'OPTIONS', 'POST']) {
          const { headers } = await target.send(path, {
            method,
            headers: { origin, 'access-control-request-method': 'GET' },
          });
          expect(headers['access-control-allow-origin'] ?? 'none', `${method} ${path} ${origin}`).not.to.be.oneOf([
            '*',
            'null',
            'https://evil.example',
          ]);
        }
      }
      const body = {
        client_id: client.id,
        grant_type: 'authorization_code',
        code: 'x',
        redirect_uri: client.redirectUri,
        code_verifier: 'x'.repeat(43),
      };
      const { headers } = await target.send('/identity/token', { headers: { origin, accept: '*/*' }, body });
      const isTheirs = origin === 'https://spa.example.com';
      expect(headers['access-control-allow-origin'], origin).to.equal(isTheirs ? origin : undefined);
      expect(headers['access-control-allow-credentials'], origin).to.equal(undefined);
      for (const path of ['/identity/token', '/identity/userinfo']) {
        for (const method of ['POST', 'OPTIONS']) {
          const preflight = {
            origin,
            'access-control-request-method': 'POST',
            'access-control-request-headers': 'authorization',
          };
          const { headers } = await target.send(path, { method, headers: preflight });
          expect(headers['access-control-allow-origin'], `${method} ${path}`).not.to.be.oneOf(
            origin === 'null' ? ['null', '*'] : ['*'],
          );
          expect(headers['access-control-allow-credentials']).to.equal(undefined);
        }
      }
    }
  });

  it('finds nothing of a token answer in a cache', async () => {
    for (const path of ['/identity/token', '/identity/userinfo', '/identity/introspect', '/identity/par']) {
      const { headers } = await target.send(path, {
        body: { grant_type: 'authorization_code' },
        headers: { accept: '*/*' },
      });
      expect(headers['cache-control'], path).to.contain('no-store');
    }
  });
});
