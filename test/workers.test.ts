import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { readConfig } from '../src/config.ts';
import { openCore } from '../src/core.ts';
import {
  fixtures,
  freePort,
  onEachEngine,
  SECRET_KEY,
  startProcess,
  type TestProcess,
  type TestStore,
} from './support/app.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let server: TestProcess;
  let folder: string;
  let keyFile: string;

  beforeEach(async function () {
    this.timeout(20_000);
    store = await openStore();
    const port = String(await freePort());
    folder = await mkdtemp(join(tmpdir(), 'latchkey-workers-'));
    keyFile = join(folder, 'key');
    await writeFile(keyFile, SECRET_KEY);
    server = await startProcess(store, {
      ISSUER: `http://localhost:${port}`,
      PORT: port,
      WORKERS: '2',
      SECRET_KEY: '',
      SECRET_KEY_FILE: keyFile,
    });
    await until(() => workers().length === 2);
  });
  afterEach(async () => {
    await server.kill('SIGKILL');
    await store.remove();
    await rm(folder, { recursive: true });
  });

  /** Process ids, in the order of their birth. */
  function workers(): number[] {
    const { pid, exitCode } = server.child;
    if (exitCode !== null) throw new Error(`the server ended:\n${server.output()}`);
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  }

  async function until(isSo: () => boolean): Promise<void> {
    for (const deadline = performance.now() + 15_000; !isSo(); await sleep(50))
      if (performance.now() > deadline) throw new Error(`it is not so in time; workers: ${workers()}`);
  }

  /** Requests without a pause, on connections that are kept and on new ones, until `end` says so. */
  function askConstantly() {
    const answers = new Map<string, number>();
    const agents = [new Agent({ keepAlive: true }), new Agent({ keepAlive: false })];
    let isOver = false;
    const callers = Array.from({ length: 8 }, async (_, index) => {
      while (!isOver) {
        const answer = await ask(agents[index % agents.length] as Agent, index % 4 < 2 ? 'GET' : 'POST');
        answers.set(answer, (answers.get(answer) ?? 0) + 1);
      }
    });
    return async function end() {
      isOver = true;
      await Promise.all(callers);
      for (const agent of agents) agent.destroy();
      return answers;
    };
  }

  function ask(agent: Agent, method: 'GET' | 'POST'): Promise<string> {
    const path = method === 'GET' ? '/health/ready' : '/identity/introspect';
    return new Promise((resolve) => {
      const sent = request(server.url + path, { method, agent }, (response) => {
        response.resume().once('end', () => resolve(String(response.statusCode)));
      });
      sent.once('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
      sent.end();
    });
  }

  it('has all its workers replaced on SIGHUP, one after the other, and refuses nobody meanwhile', async () => {
    const end = askConstantly();
    const before = workers();
    server.child.kill('SIGHUP');
    await until(() => workers().length === 2 && !workers().some((pid) => before.includes(pid)));
    await sleep(300);
    const answers = await end();
    expect([...answers.keys()]).to.have.members(['200', '400']);
    expect(answers.get('200')).to.be.greaterThan(50);
  }).timeout(40_000);

  it('judges no more secrets in all its workers together than in one', async () => {
    const directory = await openCore(readConfig({ ISSUER: server.url, STORE_URL: store.storeUrl, SECRET_KEY }));
    const { id, secret } = await fixtures(directory).client({ introspection: true });
    await directory.storage.close();
    const agent = new Agent({ keepAlive: false });
    const introspectWith = (presented: string) =>
      new Promise<number>((resolve, reject) => {
        const headers = { 'content-type': 'application/x-www-form-urlencoded' };
        const sent = request(`${server.url}/identity/introspect`, { method: 'POST', agent, headers }, (response) => {
          response.resume().once('end', () => resolve(Number(response.statusCode)));
        });
        sent.once('error', reject);
        sent.end(String(new URLSearchParams({ client_id: id, client_secret: presented, token: 'x' })));
      });
    // Fewer than the limit at each of them, and the right one after those.
    const presented = Array.from({ length: 198 }, (_, n) => (n < 190 ? 'wrong' : secret));
    const statuses = await Promise.all(presented.map(introspectWith));
    const [wrong, right] = [statuses.slice(0, 190), statuses.slice(190)];
    expect([...new Set(statuses)].filter((status) => ![200, 401, 429].includes(status))).to.deep.equal([]);
    expect(wrong.filter((status) => status === 401).length).to.be.within(50, 100);
    expect(right, 'right, but too late in one of them at least').to.include(429);
  }).timeout(40_000);

  it('replaces a worker that dies', async () => {
    const [first = 0] = workers();
    process.kill(first, 'SIGKILL');
    await until(() => workers().length === 2 && !workers().includes(first));
    expect(await ask(new Agent(), 'GET')).to.equal('200');
  }).timeout(40_000);

  it('keeps the workers that it has while a new one cannot start', async () => {
    const before = workers();
    await writeFile(keyFile, 'no key');
    server.child.kill('SIGHUP');
    await until(() => server.output().includes('A new worker ended before it listened'));
    expect(server.output()).to.contain('SECRET_KEY');
    expect(workers().some((pid) => before.includes(pid))).to.equal(true);
    expect(await ask(new Agent(), 'GET')).to.equal('200');

    await writeFile(keyFile, SECRET_KEY);
    server.child.kill('SIGHUP');
    await until(() => workers().length === 2 && !workers().some((pid) => before.includes(pid)));
    expect(await ask(new Agent(), 'GET')).to.equal('200');
  }).timeout(60_000);

  it('ends on SIGTERM, workers that are being replaced included', async () => {
    const agent = new Agent({ keepAlive: true });
    await ask(agent, 'GET');
    const before = workers();
    server.child.kill('SIGHUP');
    await until(() => workers().some((pid) => !before.includes(pid)));
    const startedAt = performance.now();
    await server.kill('SIGTERM');
    expect(performance.now() - startedAt).to.be.lessThan(14_000);
    expect(server.child.exitCode).to.equal(0);
    agent.destroy();
  }).timeout(40_000);
});
