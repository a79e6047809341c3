import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { readConfig } from '../../src/config.ts';
import { openCore } from '../../src/core.ts';
import {
  fixtures,
  freePort,
  SECRET_KEY,
  startProcess,
  type TestClient,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { createFlows, type Flows } from '../support/flow.ts';
import { startRedis } from '../support/redis.ts';

/** A store that can be made to read and not to write. */
interface Fillable extends TestStore {
  fill(): Promise<void>;
  empty(): Promise<void>;
  /** What `/health/ready` says of it. */
  problem: RegExp;
}

async function fullRedis(): Promise<Fillable> {
  const redis = await startRedis();
  return {
    storeUrl: redis.url,
    directory: redis.directory,
    remove: redis.stop,
    fill: async () => void (await redis.command('config', 'set', 'maxmemory', '1')),
    empty: async () => void (await redis.command('config', 'set', 'maxmemory', '0')),
    problem: /^STORE_URL: this Redis refuses SET: OOM /,
  };
}

async function replicaOnly(): Promise<Fillable> {
  const redis = await startRedis();
  return {
    storeUrl: redis.url,
    directory: redis.directory,
    remove: redis.stop,
    fill: async () => void (await redis.command('replicaof', '127.0.0.1', String(await freePort()))),
    empty: async () => void (await redis.command('replicaof', 'no', 'one')),
    problem: /^STORE_URL: this Redis refuses SET: READONLY |out of reach/,
  };
}

/** Undefined where we may not mount. */
async function fullDisk(): Promise<Fillable | undefined> {
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-full-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', directory], { stdio: 'ignore' });
  } catch {
    rmdirSync(directory);
    return undefined;
  }
  const ballast = join(directory, 'ballast');
  return {
    storeUrl: `file:${directory}`,
    directory,
    async remove() {
      execFileSync('umount', [directory]);
      rmdirSync(directory);
    },
    async fill() {
      try {
        for (let n = 0; n < 512; n++) writeFileSync(ballast, Buffer.alloc(16_384), { flag: 'a' });
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).to.equal('ENOSPC');
      }
    },
    empty: async () => rmSync(ballast),
    problem: /out of reach/,
  };
}

const STORES: [name: string, open: () => Promise<Fillable | undefined>][] = [
  ['a Redis without memory', fullRedis],
  ['a Redis that has become a replica', replicaOnly],
  ['a full disk', fullDisk],
];

for (const [name, open] of STORES) {
  describe(`the store reads and cannot write: ${name}`, () => {
    let store: Fillable | undefined;
    let server: TestProcess;
    let flows: Flows;
    let client: TestClient;
    let trusted: TestClient;
    let signedIn: Browser;

    before(async function start() {
      this.timeout(30_000);
      store = await open();
      if (!store) return this.skip();
      const directory = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
      const person = await fixtures(directory).person();
      client = await fixtures(directory).client();
      trusted = await fixtures(directory).client({ trusted: true });
      await directory.storage.close();
      server = await startProcess(store, { LOG_LEVEL: 'error' });
      flows = createFlows(server.url);
      signedIn = flows.browser();
      await flows.tokens({ client: trusted, person, browser: signedIn });
      await store.fill();
    });
    after(async () => {
      await server?.kill('SIGKILL');
      await store?.remove();
    });

    /** How many error lines a request adds to the log. */
    async function linesOf(request: () => Promise<unknown>): Promise<number> {
      const count = () => server.output().match(/"msg":"request failed"/g)?.length ?? 0;
      const before = count();
      await request();
      await sleep(200);
      return count() - before;
    }

    it('our own pages say that it does not work now, with one line in the log', async () => {
      for (const path of [
        '/account',
        '/account/tokens',
        '/admin/apps',
        '/account/callback?error=temporarily_unavailable',
      ]) {
        const lines = await linesOf(async () => {
          const { response, text } = await flows.browser().open(path);
          expect(response?.status, path).to.equal(503);
          expect(response?.headers.get('retry-after'), path).to.match(/^[12]$/);
          expect(text, path).not.to.match(/signed out/i);
        });
        expect(lines, path).to.equal(1);
      }
    });

    it('an app hears of it at its own address, as RFC 6749 has it, with one line in the log', async () => {
      const { url } = await flows.start({ client });
      const lines = await linesOf(async () => {
        const landing = await flows.browser().open(url);
        expect(landing.url.searchParams.get('error') ?? landing.response?.status).to.be.oneOf([
          'temporarily_unavailable',
          503,
        ]);
      });
      expect(lines).to.equal(1);
    });

    it('who is signed in is not sent away', async () => {
      const { url } = await flows.start({ client: trusted, params: { prompt: 'none' } });
      const silent = await signedIn.open(url);
      expect(silent.url.searchParams.get('error') ?? silent.response?.status).to.be.oneOf([
        'temporarily_unavailable',
        503,
      ]);
      const { response, text } = await signedIn.open('/account');
      expect(response?.status).to.be.oneOf([200, 503]);
      expect(text).not.to.match(/signed out/i);
    });

    it('it is not ready, says why, and all goes on when there is room', async () => {
      const { status, body } = await fetch(`${server.url}/health/ready`).then(async (response) => ({
        status: response.status,
        body: (await response.json()) as { problems: string[] },
      }));
      expect(status).to.equal(503);
      expect(body.problems.join()).to.match(store?.problem ?? /$^/);
      await store?.empty();
      const started = performance.now();
      while ((await fetch(`${server.url}/health/ready`)).status !== 200) {
        expect(performance.now() - started, 'milliseconds until it is ready').to.be.below(5_000);
        await sleep(100);
      }
      const { response } = await signedIn.open('/account');
      expect(response?.status).to.equal(200);
    });
  });
}
