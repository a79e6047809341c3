/**
 * A server under attack. Every answer it gives, to whoever and about whatever, is held against what must be true of all
 * answers; a suite calls `unharmed` after each of its cases.
 */
import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
  type ServerResponse,
} from 'node:http';
import { connect } from 'node:net';
import { availableParallelism, loadavg } from 'node:os';
import { expect } from 'chai';
import { pino } from 'pino';
import { createApp } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { openCore } from '../../src/core.ts';
import {
  fixtures,
  freePort,
  PASSWORD,
  SECRET_KEY,
  type TestApp,
  type TestClient,
  type TestStore,
} from '../support/app.ts';
import { type Browser, createBrowser, type Landing } from '../support/browser.ts';

/** Milliseconds for any answer, also to an attack, on a machine that has nothing else to do. */
const PATIENCE = 2_000 * Math.max(1, (loadavg()[0] ?? 0) / availableParallelism());

/** The cookie whose holder is signed in, and its signature. */
const SESSION_COOKIE = /^(__Host-)?latchkey(\.sig)?=[^;]+/;
const CREDENTIAL = /[?&#](code|access_token|id_token|refresh_token)=|"(access|id|refresh)_token"/;
const INSIDES = /\n\s+at |node_modules|node:internal|\.[jt]s:\d+|file:\/\/|\/work\/|\/src\//;

export interface Attack {
  /** Whose cookies are sent; they stay as they are. */
  as?: Browser;
  method?: string;
  headers?: OutgoingHttpHeaders;
  /** Fields of an urlencoded form, or any other body with its own type. */
  body?: Record<string, string> | string | Buffer;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  cookies: readonly string[];
  text: string;
}

export interface Target extends TestApp {
  /** Where the server answers, whatever its issuer. */
  origin: string;
  person(account?: Parameters<TestApp['person']>[0]): ReturnType<TestApp['person']>;
  /** A browser of its own: no cookies yet. */
  browser(): Browser;
  /** One request, byte for byte as told: no cookies, no `Origin`, no redirect followed. */
  send(path: string, attack?: Attack): Promise<Answer>;
  /** Whatever the server answers to these bytes before it closes the connection, or for half a second. */
  sendBytes(...chunks: readonly (string | Buffer)[]): Promise<string>;
  /** Opens an authorization request of the app. */
  start(browser: Browser, client: TestClient, more?: Record<string, string>): Promise<Landing>;
  /** The whole way to a code for an app that needs no consent. */
  signIn(browser: Browser, person: { email: string; password?: string }, client?: TestClient): Promise<Landing>;
  /** Lets answers be 503 with `Retry-After` of at most so many seconds from now on, or no longer. */
  expectOutage(expected: boolean, seconds?: number): void;
  /** Nothing any answer must not be has been seen, and nothing secret is in the log. */
  harmless(): Promise<void>;
  /** Besides, a stranger can sign in. */
  unharmed(): Promise<void>;
  log(): string;
}

/** @param environment settings that differ; an https issuer is spoken to as behind a proxy that ends TLS. */
export async function startTarget(store: TestStore, environment: NodeJS.ProcessEnv = {}): Promise<Target> {
  const port = await freePort();
  const origin = `http://localhost:${port}`;
  const config = readConfig({
    ISSUER: origin,
    STORE_URL: store.storeUrl,
    SECRET_KEY,
    LOG_LEVEL: 'trace',
    ...environment,
  });
  const directory = await openCore(config);
  const lines: string[] = [];
  const log = pino({ level: config.logLevel }, { write: (line) => lines.push(line) });
  const { app } = await createApp(directory, { config, log });
  const witness = createWitness();
  const handle = app.callback();
  const server = createServer((req, res) => {
    witness.watch(req, res);
    void handle(req, res);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const made = fixtures(directory);
  const bystander = await made.person();
  const trusted = await made.client({ trusted: true });
  for (const secret of [PASSWORD, SECRET_KEY, trusted.secret]) witness.secrets.add(secret);

  const target: Target = {
    issuer: config.issuer,
    origin,
    directory,
    ...made,
    browser: () => createBrowser(config.issuer, origin),
    send: (path, attack = {}) => send(port, path, attack),
    sendBytes: (...chunks) => sendBytes(port, chunks),

    start(browser, client, more = {}) {
      const query = { client_id: client.id, redirect_uri: client.redirectUri, response_type: 'code', scope: 'openid' };
      return browser.open(`/identity/authorize?${new URLSearchParams({ ...query, state: 'a state', ...more })}`);
    },

    async signIn(browser, { email, password = PASSWORD }, client = trusted) {
      const login = await target.start(browser, client);
      return browser.submit(login.url.pathname, { email, password });
    },

    expectOutage(expected, seconds = 2) {
      witness.outage = expected ? seconds : 0;
    },

    log: () => lines.join(''),

    async unharmed() {
      const landing = await target.signIn(target.browser(), bystander);
      expect(landing.url.searchParams.get('code'), 'a stranger signs in').to.be.a('string');
      await target.harmless();
    },

    async harmless() {
      expect(witness.violations.splice(0), 'what no answer may be').to.deep.equal([]);
      for (const cookie of witness.gifts.splice(0)) {
        const { headers } = await target.send('/account', { headers: { cookie } });
        expect(headers.location, 'a refusal signs in').to.match(/^\/identity\/authorize\?/);
      }
      const printed = target.log();
      const leaked = [...witness.secrets].filter((secret) => printed.includes(secret));
      expect(leaked, 'secrets in the log').to.deep.equal([]);
    },

    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await directory.storage.close();
    },
  };
  return target;
}

/** Sees every answer from inside the server, in all its bytes. */
function createWitness() {
  const violations: string[] = [];
  /** Sessions that came with refusals; there may be such, but they must not be anybody's. */
  const gifts: string[] = [];
  const secrets = new Set<string>();

  function watch(req: IncomingMessage, res: ServerResponse): void {
    const startedAt = performance.now();
    const name = `${req.method} ${req.url?.slice(0, 200)}`;
    const chunks: Buffer[] = [];
    for (const method of ['write', 'end'] as const) {
      const original = res[method] as (...args: unknown[]) => never;
      res[method] = (...args: unknown[]) => {
        if (typeof args[0] === 'string' || args[0] instanceof Uint8Array) chunks.push(Buffer.from(args[0] as string));
        return original.apply(res, args);
      };
    }
    res.once('finish', () => {
      const body = Buffer.concat(chunks).toString();
      const cookies = [res.getHeader('set-cookie') ?? []].flat().map(String);
      remember(cookies, String(res.getHeader('location') ?? ''), body);
      const milliseconds = performance.now() - startedAt;
      if (isRefusal(res)) gifts.push(...newSession(cookies, req.headers.cookie));
      for (const problem of problemsOf(res, { body, milliseconds, outage: witness.outage })) {
        violations.push(`${name} → ${res.statusCode}: ${problem}`);
      }
    });
  }

  /** Whatever the server hands out as a credential must not be in its log. */
  function remember(cookies: readonly string[], location: string, body: string): void {
    for (const cookie of cookies) secrets.add(/=([^;]*)/.exec(cookie)?.[1] ?? '');
    for (const [, value = ''] of location.matchAll(/[?&#](?:code|access_token|id_token)=([^&]+)/g)) secrets.add(value);
    for (const [, value = ''] of body.matchAll(/"(?:access|id|refresh)_token":"([^"]+)"/g)) secrets.add(value);
    for (const [, value = ''] of body.matchAll(/name="(?:xsrf|form_token)" value="([^"]+)"/g)) secrets.add(value);
    secrets.delete('');
  }

  const witness = { violations, gifts, secrets, watch, outage: 0 };
  return witness;
}

interface Seen {
  body: string;
  milliseconds: number;
  /** Seconds of `Retry-After` that an answer of 503 may have; 0: there is to be none. */
  outage: number;
}

function isRefusal(res: ServerResponse): boolean {
  return res.statusCode >= 400 || /[?&#]error=/.test(String(res.getHeader('location') ?? ''));
}

/** The session an answer sets and its signature, as the next request would carry them; none when it is the one that was sent. */
function newSession(cookies: readonly string[], sent = ''): string[] {
  const pairs = cookies.flatMap((cookie) => SESSION_COOKIE.exec(cookie)?.[0] ?? []);
  return pairs.every((pair) => sent.includes(pair)) ? [] : [pairs.join('; ')];
}

function problemsOf(res: ServerResponse, { body, milliseconds, outage }: Seen): string[] {
  const problems: string[] = [];
  const header = (name: string) => String(res.getHeader(name) ?? '');
  const { statusCode: status } = res;
  const location = header('location');
  const isOutage = outage > 0 && status === 503 && Number(header('retry-after')) <= outage;
  if (status >= 500 && !isOutage) problems.push('a 5xx');
  if (milliseconds > PATIENCE) problems.push(`after ${Math.round(milliseconds)} ms`);
  if (INSIDES.test(body)) problems.push(`the body shows our insides: ${INSIDES.exec(body)?.[0]}`);
  if (body.includes(PASSWORD)) problems.push('the body repeats a password');

  if (isRefusal(res) && (CREDENTIAL.test(location) || CREDENTIAL.test(body)))
    problems.push('a refusal carries a credential');

  if (/lk_(pat|app|sso)_/.test(location)) problems.push('a token in a URL');

  if (!location) problems.push(...dangersOfPage(header));
  if (header('x-content-type-options') !== 'nosniff') problems.push('may be sniffed');
  if (header('referrer-policy') !== 'strict-origin') problems.push('tells where people come from');
  if (header('content-type').startsWith('text/html') && !location && header('cache-control') !== 'no-store') {
    problems.push('a page that may be stored');
  }
  return problems;
}

/** What a redirect cannot do. */
function dangersOfPage(header: (name: string) => string): string[] {
  const problems: string[] = [];
  const policy = header('content-security-policy');
  for (const directive of [
    "default-src 'none'",
    "base-uri 'none'",
    "object-src 'none'",
    "frame-ancestors 'none'",
    'form-action ',
  ]) {
    if (!policy.includes(directive)) problems.push(`no ${directive} in the policy`);
  }
  if (policy.includes('unsafe')) problems.push('an unsafe policy');
  if (header('x-frame-options') !== 'DENY') problems.push('may be framed');
  return problems;
}

function send(port: number, path: string, { as, method, headers = {}, body }: Attack): Promise<Answer> {
  const isForm = typeof body === 'object' && !Buffer.isBuffer(body);
  const content = isForm ? new URLSearchParams(body).toString() : body;
  const type = isForm ? { 'content-type': 'application/x-www-form-urlencoded' } : {};
  return new Promise((resolve, reject) => {
    const options = {
      host: '127.0.0.1',
      port,
      path,
      method: method ?? (content === undefined ? 'GET' : 'POST'),
      headers: { accept: 'text/html', ...type, ...cookieHeader(as, path), ...headers },
      agent: false,
    };
    const sent = request(options, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk);
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        cookies: response.headers['set-cookie'] ?? [],
        text: Buffer.concat(chunks).toString(),
      });
    });
    sent.on('error', reject);
    sent.end(content);
  });
}

function cookieHeader(browser: Browser | undefined, path: string): OutgoingHttpHeaders {
  const [pathname = ''] = path.split('?');
  const cookies = browser?.cookies().filter((cookie) => cookie.path === '/' || pathname.startsWith(cookie.path)) ?? [];
  return cookies.length === 0 ? {} : { cookie: cookies.map(({ name, value }) => `${name}=${value}`).join('; ') };
}

async function sendBytes(port: number, chunks: readonly (string | Buffer)[]): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  socket.setEncoding('utf8');
  socket.on('data', (data) => {
    answer += data;
  });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  const ended = once(socket, 'close');
  for (const chunk of chunks) socket.write(chunk);
  await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 500))]);
  socket.destroy();
  return answer;
}
