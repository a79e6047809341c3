import { type ChildProcess, execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import {
  embeddedStore,
  freePort,
  PASSWORD,
  SECRET_KEY,
  startApp,
  startProcess,
  type TestApp,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import { createBrowser } from '../support/browser.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { startTarget, type Target } from './web-target.ts';

/** Resolves when it is so, with the milliseconds it took; a test that waits in vain ends by its own time limit. */
async function until(isSo: () => Promise<boolean>): Promise<number> {
  const startedAt = performance.now();
  while (!(await isSo())) await sleep(50);
  return performance.now() - startedAt;
}

const statusOf = async (target: Target, path: string) => (await target.send(path)).status;

describe('the pages without Redis', () => {
  let redis: RedisServer;
  let target: Target;

  before(async () => {
    redis = await startRedis();
    target = await startTarget({ storeUrl: redis.url, directory: redis.directory, remove: redis.stop });
  });
  afterEach(async () => {
    target.expectOutage(false);
    await target.unharmed();
  });
  after(async () => {
    await target.close();
    await redis.stop();
  });

  async function openForm() {
    const browser = target.browser();
    const person = await target.person();
    const { url } = await target.start(browser, await target.client({ trusted: true }));
    return { browser, path: url.pathname, fields: { email: person.email, password: person.password } };
  }

  it('say so within two seconds, keep what they can, and go on where they were when it is back', async () => {
    const { browser, path, fields } = await openForm();
    const signedIn = target.browser();
    await target.signIn(signedIn, await target.person());
    target.expectOutage(true);
    await redis.kill();

    const answers = await Promise.all([
      target.send('/account', { as: signedIn }),
      target.send(path, { as: browser }),
      target.send(path, { as: browser, body: fields }),
      target.send('/identity/logout', { as: signedIn }),
      target.send('/setup?code=x'),
      target.send('/identity/authorize?client_id=x'),
      target.send('/identity/token', { body: { grant_type: 'authorization_code', code: 'x', client_id: 'x' } }),
      target.send('/health/ready'),
    ]);
    for (const { status, headers } of answers) {
      expect(status).to.equal(503);
      expect(Number(headers['retry-after'])).to.be.within(1, 2);
    }
    for (const { text } of answers.slice(0, 6)) expect(text).to.contain('We cannot do this right now');
    for (const still of [
      '/.well-known/openid-configuration',
      '/identity/jwks',
      '/health/live',
      '/assets/latchkey.css',
    ]) {
      expect(await statusOf(target, still), still).to.equal(200);
    }

    await redis.start();
    expect(await until(async () => (await statusOf(target, '/health/ready')) === 200), 'back').to.be.lessThan(3_000);
    const landing = await browser.submit(path, fields);
    expect(landing.url.searchParams.get('code')).to.be.a('string');
    expect((await target.send('/account', { as: signedIn })).status).to.equal(200);
  });

  it('do not wait for one that is stuck, nor sign in twice when it wakes', async () => {
    const { browser, path, fields } = await openForm();
    const delay = monitorEventLoopDelay({ resolution: 1 });
    target.expectOutage(true);
    redis.pause();
    delay.enable();
    const waves = [];
    for (let wave = 0; wave < 3; wave++) {
      waves.push(...Array.from({ length: 20 }, () => target.send(path, { as: browser, body: fields })));
      await sleep(500);
    }
    for (const { status } of await Promise.all(waves)) expect(status).to.equal(503);
    delay.disable();
    expect(delay.percentile(99.9) / 1e6, 'milliseconds').to.be.lessThan(250);

    redis.resume();
    expect(await until(async () => (await statusOf(target, '/health/ready')) === 200), 'back').to.be.lessThan(3_000);
    const landing = await browser.submit(path, fields);
    expect(landing.url.searchParams.get('code')).to.be.a('string');
    const account = await target.directory.accounts.getOrFail(fields.email);
    const { events } = await target.directory.audit.list({ accountId: account.id });
    expect(events.filter(({ type }) => type === 'sign_in')).to.have.length(1);
  });
});

describe('the pages on a full disk', () => {
  it('sign nobody in, show who is, and go on when there is room', async function full() {
    const directory = mkdtempSync(join(tmpdir(), 'latchkey-full-'));
    if (!mount(directory, 'size=3m')) {
      rmdirSync(directory);
      return this.skip();
    }
    const target = await startTarget({ storeUrl: `file:${directory}`, directory, remove: async () => undefined });
    try {
      const [signedIn, browser] = [target.browser(), target.browser()];
      await target.signIn(signedIn, await target.person());
      const { email } = await target.person();
      const { url } = await target.start(browser, await target.client({ trusted: true }));

      target.expectOutage(true);
      const ballast = join(directory, 'ballast');
      fill(ballast);
      // What the store had set aside is used up first.
      await until(async () => (await target.send('/identity/logout')).status === 503);
      for (const body of [
        { email, password: PASSWORD },
        { email, password: 'a wrong guess' },
      ]) {
        expect((await target.send(url.pathname, { as: browser, body })).status).to.equal(503);
      }
      expect(await statusOf(target, '/health/ready')).to.equal(503);
      expect(await statusOf(target, '/health/live')).to.equal(200);
      expect((await target.send('/account', { as: signedIn })).status).to.equal(200);
      expect((await target.send(url.pathname, { as: browser })).status).to.equal(200);

      rmSync(ballast);
      target.expectOutage(false);
      const landing = await browser.submit(url.pathname, { email, password: PASSWORD });
      expect(landing.url.searchParams.get('code')).to.be.a('string');
      await target.unharmed();
    } finally {
      await target.close();
      execFileSync('umount', [directory]);
      rmdirSync(directory);
    }
  });

  /** False where this may not be done. */
  function mount(directory: string, options: string): boolean {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  }

  function fill(file: string): void {
    for (let size = 65_536; size >= 1; size = size >> 1) {
      try {
        for (;;) writeFileSync(file, Buffer.alloc(size), { flag: 'a' });
      } catch {}
    }
    expect(statSync(file).size).to.be.greaterThan(100_000);
  }
});

describe('a restart of one of two servers under load', function restarts() {
  this.timeout(40_000);

  for (const [restarted, WORKERS] of [
    [2, '1'],
    [1, '2'],
  ] as const) {
    it(`fails nobody's request and keeps sessions, with WORKERS=${WORKERS}`, async () => {
      const store = await embeddedStore();
      const issuer = `http://localhost:${await freePort()}`;
      const start = (workers = '1') => startProcess(store, { ISSUER: issuer, WORKERS: workers });
      const fixtures = await startApp(store, { ISSUER: issuer });
      const first = await Promise.all([start(WORKERS), start()]);
      const balancer = createBalancer(first);
      try {
        const visits = visitConstantly(balancer, { issuer, fixtures });
        await sleep(500);
        for (const old of first.slice(0, restarted)) {
          balancer.add(await start());
          const startedAt = performance.now();
          await old.kill('SIGTERM');
          expect(performance.now() - startedAt, 'stopped in time').to.be.lessThan(8_000);
          expect(old.child.exitCode).to.equal(0);
        }
        await sleep(300);
        const { problems, requests, signIns } = await visits.stop();
        expect(problems).to.deep.equal([]);
        expect(requests).to.be.greaterThan(200);
        expect(signIns).to.be.greaterThan(3);
      } finally {
        await balancer.close();
        await fixtures.close();
        await store.remove();
      }
    });
  }
});

/** What stands before several servers: asks each whether it is ready and spreads requests over those that are. */
function createBalancer(initial: readonly TestProcess[]) {
  const servers = new Map<TestProcess, { agent: Agent; ready: boolean }>();
  let turn = 0;

  const add = (server: TestProcess) => servers.set(server, { agent: new Agent({ keepAlive: true }), ready: true });
  for (const server of initial) add(server);

  const checking = setInterval(async () => {
    for (const [server, state] of servers) {
      state.ready = await fetch(`${server.url}/health/ready`).then(
        ({ ok }) => ok,
        () => false,
      );
    }
  }, 100);

  /** As the headless browser's fetch, through one of the servers; only a refused connection is tried elsewhere. */
  function send(path: string, { method = 'GET', headers = {}, body }: Sent = {}, refused = 0): Promise<Received> {
    const ready = [...servers].filter(([, state]) => state.ready);
    const [server, state] = ready[turn++ % ready.length] ?? [];
    if (!server || !state) return Promise.reject(new Error('no server is ready'));
    return new Promise((resolve, reject) => {
      const sent = request(`${server.url}${path}`, { method, headers, agent: state.agent }, async (response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of response) chunks.push(chunk);
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: Buffer.concat(chunks).toString(),
        });
      });
      sent.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code !== 'ECONNREFUSED' || refused > 2) return reject(error);
        state.ready = false;
        resolve(send(path, { method, headers, ...(body ? { body } : {}) }, refused + 1));
      });
      sent.end(body);
    });
  }

  return {
    add,
    send,
    async close() {
      clearInterval(checking);
      for (const [server, { agent }] of servers) {
        agent.destroy();
        if (server.child.exitCode === null) await server.kill('SIGKILL');
      }
    },
  };
}

interface Sent {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
}

interface Received {
  status: number;
  headers: NodeJS.Dict<string | string[]>;
  text: string;
}

/** People who sign in and look at their account without a pause, until stopped. */
function visitConstantly(
  balancer: ReturnType<typeof createBalancer>,
  { issuer, fixtures }: { issuer: string; fixtures: TestApp },
) {
  const problems: string[] = [];
  let [stopped, requests, signIns] = [false, 0, 0];

  async function send(path: string, cookies: Map<string, string>, fields?: Record<string, string>): Promise<Received> {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const form = { 'content-type': 'application/x-www-form-urlencoded', origin: issuer };
    const body = fields && new URLSearchParams(fields).toString();
    const headers = { accept: 'text/html', cookie, ...(fields ? form : {}) };
    const received = await balancer.send(path, { headers, ...(body ? { method: 'POST', body } : {}) });
    requests += 1;
    for (const line of [received.headers['set-cookie'] ?? []].flat()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      cookies.set(name, value);
    }
    return received;
  }

  const pathOf = ({ headers }: Received) => {
    const { pathname, search } = new URL(String(headers.location), issuer);
    return `${pathname}${search}`;
  };

  async function visit(): Promise<void> {
    const { email, password } = await fixtures.person();
    const cookies = new Map<string, string>();
    const form = pathOf(await send(pathOf(await send('/account', cookies)), cookies));
    const resume = pathOf(await send(form, cookies, { email, password }));
    await send(resume, cookies);
    signIns += 1;
    for (let look = 0; look < 40 && !stopped; look++) {
      const { status, text } = await send('/account', cookies);
      if (status !== 200 || !text.includes(email)) problems.push(`/account answered ${status}`);
    }
  }

  async function visitAgain(): Promise<void> {
    while (!stopped) await visit().catch((error) => problems.push(`${error}`));
  }
  const lanes = Array.from({ length: 6 }, visitAgain);

  return {
    async stop() {
      stopped = true;
      await Promise.all(lanes);
      return { problems, requests, signIns };
    },
  };
}

describe('a server under strain', function strain() {
  this.timeout(30_000);

  let store: TestStore;
  let server: ChildProcess | undefined;
  let ended: Promise<unknown>;
  let issuer: string;

  beforeEach(async () => {
    store = await embeddedStore();
    issuer = `http://localhost:${await freePort()}`;
  });
  afterEach(async () => {
    server?.kill('SIGKILL');
    await ended;
    await store.remove();
  });

  /** The server with other open files than usual: [program, …arguments] runs it. */
  async function start(command: readonly [string, ...string[]], stdio: StdioOptions): Promise<ChildProcess> {
    const [program, ...args] = command;
    const { port } = new URL(issuer);
    const env = { PATH: process.env.PATH, ISSUER: issuer, PORT: port, STORE_URL: store.storeUrl, SECRET_KEY };
    const child = spawn(program, args, { env, stdio });
    server = child;
    ended = once(child, 'exit');
    await until(async () => child.exitCode !== null || isLive());
    expect(child.exitCode, 'has started').to.equal(null);
    return child;
  }

  const isLive = () =>
    fetch(`${issuer}/health/live`).then(
      ({ ok }) => ok,
      () => false,
    );

  /** Requests that are refused, each with a line in the log. */
  async function fillLog(lines: number): Promise<void> {
    for (let sent = 0; sent < lines; sent += 20) {
      const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => fetch(`${issuer}/nothing/${sent + n}`)));
      for (const answer of answers) {
        expect(answer.status).to.equal(404);
        await answer.arrayBuffer();
      }
    }
  }

  async function stopsInTime(child: ChildProcess): Promise<void> {
    const startedAt = performance.now();
    child.kill('SIGTERM');
    await ended;
    expect(performance.now() - startedAt).to.be.lessThan(5_000);
    expect(child.exitCode).to.equal(0);
  }

  const RUN = [process.execPath, 'src/main.ts'] as const;

  it('outlives a log that has no room', async () => {
    const full = openSync('/dev/full', 'w');
    const child = await start(RUN, ['ignore', full, full]);
    closeSync(full);
    await fillLog(100);
    await stopsInTime(child);
  });

  it('is not held up by a log that nobody reads', async () => {
    const fifo = join(store.directory, 'log');
    execFileSync('mkfifo', [fifo]);
    const unread = openSync(fifo, 'r+');
    const child = await start(RUN, ['ignore', unread, 'ignore']);
    await fillLog(400); // a pipe takes 64 kB, some 250 lines
    await stopsInTime(child);
    closeSync(unread);
  });

  it('outlives whoever read its log', async () => {
    const child = await start(RUN, ['ignore', 'pipe', 'ignore']);
    child.stdout?.destroy();
    await fillLog(100);
    await stopsInTime(child);
  });

  it('outlives more connections than it may have files', async () => {
    const limited = ['bash', '-c', 'ulimit -n 80; exec "$0" src/main.ts', process.execPath] as const;
    const child = await start(limited, ['ignore', 'ignore', 'ignore']);
    const { port } = new URL(issuer);
    const flood = Array.from({ length: 300 }, () => connect(Number(port), '127.0.0.1').on('error', () => undefined));
    for (const socket of flood) socket.write('GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await sleep(500);
    for (const socket of flood) socket.destroy();
    await until(isLive);
    const landing = await createBrowser(issuer).open('/account');
    expect(landing.text).to.contain('name="password"');
    await stopsInTime(child);
  });
});

describe('a flood of wrong passwords', function flood() {
  this.timeout(30_000);

  it('waits in a line that ends, while everybody else is served', async () => {
    const store = await embeddedStore();
    const target = await startTarget(store, { TRUSTED_PROXIES: '127.0.0.1/32' });
    const client = await target.client({ trusted: true });
    const browser = target.browser();
    const { url } = await target.start(browser, client);
    target.expectOutage(true);
    let stopped = false;
    const statuses = new Map<number, number>();

    const guess = async (_: unknown, lane: number) => {
      for (let n = 0; !stopped; n++) {
        const headers = { 'x-forwarded-for': `10.${lane}.${n >> 8}.${n & 255}` };
        const body = { email: `somebody${lane}-${n}@example.com`, password: 'a wrong guess' };
        const { status } = await target.send(url.pathname, { as: browser, body, headers });
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    };
    const lanes = Array.from({ length: 120 }, guess); // a few more than may wait
    const endsAt = performance.now() + 1_500;
    while (performance.now() < endsAt) {
      expect(await statusOf(target, '/.well-known/openid-configuration')).to.equal(200);
      await sleep(10);
    }
    stopped = true;
    await Promise.all(lanes);

    expect([401, 503]).to.include.members([...statuses.keys()]);
    expect(statuses.get(401)).to.be.greaterThan(50);
    target.expectOutage(false);
    await target.unharmed();
    await target.close();
    await store.remove();
  });
});
