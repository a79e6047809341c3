import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import type { AppError } from '../src/errors.ts';
import { createEmbeddedStorage } from '../src/storage/embedded/embedded.ts';
import type { Storage } from '../src/storage/storage.ts';
import { caughtFrom, refusalOf } from './storage.contract.ts';
import { startStorageProcess } from './support/storage-process.ts';

const NOBODY = 65_534;

describe('storage: the embedded file', () => {
  let directory: string;
  let open: Storage[];
  let ahead = 0;
  /** By which the monotonic clock is ahead as well: time that has really passed. */
  let passed = 0;
  let warnings: string[] = [];
  const now = () => Math.floor(Date.now() / 1000) + passed + ahead;
  const elapsed = () => performance.now() / 1000 + passed;
  const warn = (message: string) => void warnings.push(message);
  const fileOf = (place: string) => join(place, 'latchkey.sqlite');

  function openAt(place: string, sweepEvery = 30): Storage {
    const storage = createEmbeddedStorage({ directory: place, now, elapsed, warn, sweepEvery });
    open.push(storage);
    return storage;
  }

  /** The one line a start would end with. */
  function refusalAt(place: string): string {
    try {
      openAt(place);
    } catch (error) {
      expect((error as Error).message).to.match(/^STORE_URL: cannot use .+$/);
      return (error as Error).message;
    }
    return expect.fail('it should have been refused');
  }

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'latchkey-store-'));
    open = [];
    ahead = 0;
    passed = 0;
    warnings = [];
  });
  afterEach(async () => {
    await Promise.all(open.map((storage) => storage.close()));
    rmSync(directory, { recursive: true });
  });

  it('belongs to its owner alone', async () => {
    const place = join(directory, 'new', 'data');
    await openAt(place).put('a', 1);
    expect(statSync(place).mode & 0o777).to.equal(0o700);
    const files = readdirSync(place);
    expect(files).to.have.members(['latchkey.sqlite', 'latchkey.sqlite-wal', 'latchkey.sqlite-shm']);
    for (const file of files) expect(statSync(join(place, file)).mode & 0o777, file).to.equal(0o600);
  });

  it('is refused when it is damaged, foreign or newer', async () => {
    const places = ['garbage', 'torn', 'foreign', 'newer'].map((name) => join(directory, name));
    const [garbage = '', torn = '', foreign = '', newer = ''] = places;
    mkdirSync(garbage);
    writeFileSync(fileOf(garbage), 'not a database at all, but long enough to be looked at '.repeat(100));
    for (const place of [torn, newer]) {
      const storage = openAt(place);
      await storage.put('a', 'a'.repeat(100_000));
      await storage.close();
    }
    truncateSync(fileOf(torn), 8192);
    mkdirSync(foreign);
    for (const [place, statement] of [
      [foreign, 'CREATE TABLE record (x)'],
      [newer, 'PRAGMA user_version = 99'],
    ] as const) {
      const database = new DatabaseSync(fileOf(place));
      database.exec(statement);
      database.close();
    }
    expect(refusalAt(garbage)).to.contain('not a database');
    expect(refusalAt(torn)).to.contain('malformed');
    expect(refusalAt(foreign)).to.contain('already exists');
    expect(refusalAt(newer)).to.contain('newer version');
  });

  it('is refused where it may not be written', () => {
    const file = join(directory, 'file');
    writeFileSync(file, '');
    expect(refusalAt(file)).to.contain('EEXIST');
    expect(refusalAt(join(file, 'below'))).to.contain('ENOTDIR');
    asNobody(() => expect(refusalAt('/')).to.contain('EACCES'));
    mkdirSync(join(directory, 'theirs'), { mode: 0o555 });
    asNobody(() => expect(refusalAt(join(directory, 'theirs'))).to.contain('EACCES'));
  });

  it('is refused on a read-only mount', function readOnly() {
    const unmount = mountMemory(directory, 'size=1m,ro');
    if (!unmount) return this.skip();
    try {
      expect(refusalAt(directory)).to.contain('EROFS');
    } finally {
      unmount();
    }
  });

  it('refuses writes while the disk is full, serves reads, and goes on when there is room', async function full() {
    const unmount = mountMemory(directory, 'size=4m');
    if (!unmount) return this.skip();
    try {
      const ballast = join(directory, 'ballast');
      writeFileSync(ballast, Buffer.alloc(1_000_000));
      const storage = openAt(directory);
      const value = 'x'.repeat(100_000);
      const written: string[] = [];
      const failure = await caughtFrom(
        (async () => {
          for (let n = 0; ; n++) {
            await storage.put(`big ${n}`, value);
            written.push(`big ${n}`);
          }
        })(),
      );
      expect(failure).to.include({ code: 'temporarily_unavailable', retryAfter: 2 });
      expect(written).not.to.deep.equal([]);
      expect((await refusalOf(storage.insert('more', value))).code).to.equal('temporarily_unavailable');
      expect(await storage.get(written[0] ?? '')).to.equal(value);
      rmSync(ballast);
      expect(await storage.insert('more', value)).to.equal(true);
      await storage.close();
      const again = openAt(directory);
      for (const key of [...written, 'more']) expect(await again.get(key), key).to.equal(value);
      await again.close();
    } finally {
      unmount();
    }
  });

  it('refuses writes in time while somebody else sits on the lock, and serves reads', async () => {
    const storage = openAt(directory);
    await storage.put('a', 1);
    const hog = new DatabaseSync(fileOf(directory));
    hog.exec('BEGIN IMMEDIATE');
    const started = performance.now();
    const writes = [storage.put('a', 2), storage.update('a', () => 3), storage.take('a'), storage.ping()];
    for (const { code } of await Promise.all(writes.map(refusalOf))) expect(code).to.equal('temporarily_unavailable');
    expect(performance.now() - started).to.be.lessThan(2000);
    expect(await storage.get('a')).to.equal(1);
    hog.exec('ROLLBACK');
    hog.close();
    expect(await storage.take('a')).to.equal(1);
  });

  it('begins nothing later that it has refused, whatever waits behind the lock', async () => {
    const storage = openAt(directory);
    await Promise.all(['taken', 'deleted', 'kept', 'counted'].map((key) => storage.put(key, 1)));
    const hog = new DatabaseSync(fileOf(directory));
    hog.exec('BEGIN IMMEDIATE');
    const refusals: Promise<AppError>[] = [];
    for (let n = 0; n < 10; n++) {
      const writes = [
        storage.put('kept', 2),
        storage.insert(`new ${n}`, 1),
        storage.take('taken'),
        storage.delete('deleted'),
        ...Array.from({ length: 5 }, () => storage.update('counted', (count) => Number(count) + 1)),
      ];
      refusals.push(...writes.map(refusalOf));
      await sleep(20); // so that they do not travel together
    }
    for (const { code } of await Promise.all(refusals)) expect(code).to.equal('temporarily_unavailable');
    hog.exec('ROLLBACK');
    hog.close();
    await storage.ping();
    await sleep(300);
    for (const key of ['taken', 'deleted', 'kept', 'counted']) expect(await storage.get(key), key).to.equal(1);
    for (let n = 0; n < 10; n++) expect(await storage.get(`new ${n}`)).to.equal(undefined);
  });

  it('closes while it writes, in a process that nothing else keeps alive', async () => {
    const program = join(directory, 'program.mjs');
    writeFileSync(
      program,
      `import { createEmbeddedStorage } from ${JSON.stringify(new URL('../src/storage/embedded/embedded.ts', import.meta.url))};
      const now = () => Math.floor(Date.now() / 1000);
      const storage = createEmbeddedStorage({ directory: ${JSON.stringify(directory)}, now });
      void storage.put('a', 1);
      await storage.close();
      console.log('closed');`,
    );
    for (let time = 0; time < 5; time++) {
      const { stdout, stderr } = await promisify(execFile)(process.execPath, [program]);
      expect(stdout, stderr).to.equal('closed\n');
    }
    expect(await openAt(directory).get('a')).to.equal(1);
  });

  it('outlives its writer thread: what was under way is refused, later writes work', async () => {
    const threads: Worker[] = [];
    const collect = (thread: Worker) => threads.push(thread);
    process.on('worker', collect);
    const storage = openAt(directory);
    await storage.put('a', 1);
    const hog = new DatabaseSync(fileOf(directory));
    hog.exec('BEGIN IMMEDIATE');
    const writes = [storage.put('a', 2), storage.insert('b', 1)];
    const refusals = Promise.all(writes.map(refusalOf));
    await threads[0]?.terminate();
    for (const { code } of await refusals) expect(code).to.equal('temporarily_unavailable');
    hog.close();
    expect((await refusalOf(storage.put('a', 3))).code).to.equal('temporarily_unavailable');
    expect(await storage.get('a')).to.equal(1);
    await sleep(700);
    expect(await storage.insert('b', 2)).to.equal(true);
    expect(threads).to.have.length(2);
    process.off('worker', collect);
  });

  it('forgets what has expired, and nothing else', async () => {
    const storage = openAt(directory, 0.05);
    await Promise.all(Array.from({ length: 500 }, (_, n) => storage.put(`old ${n}`, n, { ttl: 60, groups: ['all'] })));
    await storage.put('new', 1, { ttl: 600, groups: ['all'] });
    await storage.put('lasting', 1);
    passed = 60;
    const peek = new DatabaseSync(fileOf(directory), { readOnly: true });
    const count = () =>
      peek.prepare('SELECT (SELECT count(*) FROM record) records, (SELECT count(*) FROM membership) memberships').get();
    while (Number(count()?.records) > 2) await sleep(20);
    expect(count()).to.include({ records: 2, memberships: 1 });
    peek.close();
    expect(await storage.get('new')).to.equal(1);
  });

  for (const [jump, seconds] of Object.entries({ 'a minute': 60, 'a day': 86_400, 'ten years': 315_360_000 })) {
    it(`forgets nothing while the clock is ${jump} ahead, says so once, and goes on when it is right again`, async () => {
      const storage = openAt(directory, 0.05);
      await storage.put('short', 1, { ttl: 50 });
      await storage.put('long', 1, { ttl: 40_000_000, groups: ['all'] });
      const peek = new DatabaseSync(fileOf(directory), { readOnly: true });
      const count = () => Number(peek.prepare('SELECT count(*) records FROM record').get()?.records);
      ahead = seconds;
      await sleep(300);
      expect(await storage.get('short')).to.equal(undefined);
      expect(count()).to.equal(2);
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.match(/the clock .* ahead/);
      ahead = 0;
      expect(await storage.get('short')).to.equal(1);
      passed = 60;
      while (count() > 1) await sleep(20);
      expect(await storage.get('long')).to.equal(1);
      expect(warnings).to.have.length(1);
      peek.close();
    });
  }

  it('revives nothing when the clock was set back while nobody ran', async () => {
    const first = openAt(directory);
    await first.put('expired', 1, { ttl: 60, groups: ['all'] });
    await first.put('lasting', 1, { ttl: 86_400, groups: ['all'] });
    passed = 61;
    expect(await first.get('expired')).to.equal(undefined);
    await first.close();
    for (const back of [-60, -86_400, -315_360_000]) {
      ahead = back;
      const again = openAt(directory);
      expect(await again.get('expired'), String(back)).to.equal(undefined);
      expect((await again.list('all')).entries.map(({ key }) => key)).to.deep.equal(['lasting']);
      expect(await again.insert('expired', 2, { ttl: 60 })).to.equal(true);
      expect(await again.get('expired'), 'a new one').to.equal(2);
      expect(await again.take('expired')).to.equal(2);
      await again.put('expired', 1, { ttl: -1, groups: ['all'] });
      await again.close();
    }
  });

  it('revives nothing that was seen expired just before its process was killed', async () => {
    const first = openAt(directory, 3600);
    await first.put('expired', 1, { ttl: 60 });
    passed = 61;
    expect(await first.get('expired')).to.equal(undefined);
    await first.ping(); // later than what was written down on seeing it
    ahead = -60;
    expect(await openAt(directory, 3600).get('expired')).to.equal(undefined);
  });

  it('is not spoiled by a process whose clock is ten years ahead', async () => {
    const storage = openAt(directory, 0.05);
    await storage.put('a', 1, { ttl: 86_400 });
    ahead = 315_360_000;
    const wild = openAt(directory, 0.05);
    expect(await wild.get('a')).to.equal(undefined);
    await sleep(200);
    await wild.close();
    ahead = 0;
    expect(await storage.get('a')).to.equal(1);
    expect(await openAt(directory).get('a')).to.equal(1);
    expect(openAt(directory).now()).to.be.closeTo(now(), 2);
  });

  it('is made once when two processes start on nothing at the same moment', async () => {
    const place = join(directory, 'fresh');
    const processes = await Promise.all([startStorageProcess(`file:${place}`), startStorageProcess(`file:${place}`)]);
    const results = await Promise.all(processes.map((each) => each.perform([{ verb: 'insert', key: 'a', value: 1 }])));
    expect(results.flat()).to.have.members([true, false]);
    await Promise.all(processes.map((each) => each.kill()));
  });

  it('lets two busy processes take turns', async () => {
    const processes = await Promise.all([
      startStorageProcess(`file:${directory}`),
      startStorageProcess(`file:${directory}`),
    ]);
    const written = processes.map((each, n) => each.writeOn(`${n}:`));
    const longest = [0, 0];
    const counts = [0, 0];
    const since = [performance.now(), performance.now()];
    for (const until = performance.now() + 2000; performance.now() < until; await sleep(5)) {
      for (const n of [0, 1]) {
        const count = written[n]?.length ?? 0;
        const waited = performance.now() - (since[n] ?? 0);
        longest[n] = Math.max(longest[n] ?? 0, waited);
        if (count > (counts[n] ?? 0)) since[n] = performance.now();
        counts[n] = count;
      }
    }
    await Promise.all(processes.map((each) => each.kill()));
    expect(Math.max(...longest), 'milliseconds without any progress').to.be.lessThan(1000);
    expect(Math.min(...counts)).to.be.greaterThan(Math.max(...counts) / 20);
  });

  it('loses no acknowledged write when processes are killed at random', async function kills() {
    this.timeout(30_000);
    const witness = openAt(directory);
    const acknowledged: string[] = [];
    for (let round = 0; round < 10; round++) {
      const victim = await startStorageProcess(`file:${directory}`);
      const written = victim.writeOn(`${round}:`);
      while (written.length === 0) await sleep(1);
      await sleep(Math.random() * 100);
      await victim.kill();
      acknowledged.push(...written.map((n) => `${round}:${n}`));
      await witness.put(`witness ${round}`, round);
    }
    await witness.close();
    const again = openAt(directory);
    for (const key of acknowledged) expect(await again.get(key), key).to.deep.equal({ n: Number(key.split(':')[1]) });
    for (let round = 0; round < 10; round++) expect(await again.get(`witness ${round}`)).to.equal(round);
  });
});

/** Rights do not bind root: does the work as nobody when we are root. */
function asNobody(work: () => void): void {
  const root = process.geteuid?.() === 0;
  if (root) process.seteuid?.(NOBODY);
  try {
    work();
  } finally {
    if (root) process.seteuid?.(0);
  }
}

/** A small disk of its own in memory; undefined where we may not mount. */
function mountMemory(place: string, options: string): (() => void) | undefined {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', place], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  return () => execFileSync('umount', [place]);
}
