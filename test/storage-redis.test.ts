import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { AppError } from '../src/errors.ts';
import { openStorage } from '../src/storage/open.ts';
import { type Storage, UnfitStore } from '../src/storage/storage.ts';
import { caughtFrom, refusalOf } from './storage.contract.ts';
import {
  freePort,
  type RedisGroup,
  type RedisServer,
  startRedis,
  startRedisCluster,
  startRedisSentinel,
} from './support/redis.ts';

let ahead = 0;
const now = () => Math.floor(Date.now() / 1000) + ahead;

/** Every verb once. */
function allVerbs(storage: Storage): Promise<unknown>[] {
  return [
    storage.get('a'),
    storage.put('a', 2),
    storage.put('b', 2, { groups: ['g'] }),
    storage.insert('c', 2, { ttl: 60, groups: ['g', 'h'] }),
    storage.update('a', () => 3),
    storage.update('a', () => 4),
    storage.take('a'),
    storage.delete('a'),
    storage.list('g'),
    storage.ping(),
  ];
}

async function expectOutage(verbs: Promise<unknown>[]): Promise<void> {
  const started = performance.now();
  for (const refusal of await Promise.all(verbs.map(refusalOf))) {
    expect(refusal).to.include({ code: 'temporarily_unavailable', retryAfter: 2 });
    expect((refusal.cause as Error).message, 'for the log').not.to.equal('');
  }
  expect(performance.now() - started, 'milliseconds').to.be.lessThan(2000);
}

/** Milliseconds until the work is done without a refusal. */
async function recovery(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  for (;;) {
    const error = await work().then(
      () => undefined,
      (reason: AppError) => reason,
    );
    if (!error) return performance.now() - started;
    expect(error.code).to.equal('temporarily_unavailable');
    await sleep(20);
  }
}

describe('storage: one Redis', () => {
  let server: RedisServer;
  let storage: Storage;

  before(async () => {
    server = await startRedis();
    storage = await openStorage(server.url, { now });
  });
  after(async () => {
    await storage?.close();
    await server?.stop();
  });
  beforeEach(async () => {
    ahead = 0;
    await server.command('flushall');
  });

  it('answers every verb in time when it is gone, and comes back by itself with all it had', async () => {
    await storage.put('a', 1);
    await server.kill();
    await expectOutage(allVerbs(storage));
    await sleep(1500);
    await expectOutage(allVerbs(storage));
    await server.start();
    expect(await recovery(() => storage.ping())).to.be.lessThan(3000);
    expect(await storage.get('a')).to.equal(1);
  });

  it('answers every verb in time when it hangs, under load too, and comes back', async () => {
    await storage.put('kept', 1);
    server.pause();
    await expectOutage([...allVerbs(storage), ...Array.from({ length: 2000 }, (_, n) => storage.get(`k${n}`))]);
    await expectOutage(allVerbs(storage));
    await sleep(1000);
    await expectOutage(allVerbs(storage));
    server.resume();
    expect(await recovery(() => storage.ping())).to.be.lessThan(3000);
    expect(await storage.get('kept')).to.equal(1);
  });

  it('carries out nothing that it has refused when Redis goes on', async () => {
    await Promise.all(['taken', 'deleted', 'kept', 'counted'].map((key) => storage.put(key, 1)));
    server.pause();
    const writes = [
      storage.put('kept', 2),
      storage.put('listed', 1, { groups: ['g'] }),
      storage.insert('new', 1),
      storage.take('taken'),
      storage.delete('deleted'),
      storage.update('counted', () => 2),
      storage.update('made', () => 2),
    ];
    await expectOutage(writes);
    server.resume();
    await recovery(() => storage.ping());
    await sleep(300);
    for (const key of ['taken', 'deleted', 'kept', 'counted']) expect(await storage.get(key), key).to.equal(1);
    for (const key of ['listed', 'new', 'made']) expect(await storage.get(key), key).to.equal(undefined);
    expect(await storage.list('g')).to.deep.equal({ entries: [] });
  });

  it('carries out nothing that a line held up for longer than its caller waited', async () => {
    const proxy = await startProxy(server.port);
    const through = await openStorage(proxy.url, { now });
    await through.put('a', 1);
    proxy.holdUp();
    await expectOutage([through.put('a', 2), through.take('a'), through.insert('b', 1)]);
    proxy.letGo();
    await sleep(300);
    expect(await storage.get('a')).to.equal(1);
    expect(await storage.get('b')).to.equal(undefined);
    await through.close();
    proxy.stop();
  });

  it('reports a lost answer as an outage and sends nothing twice', async () => {
    const proxy = await startProxy(server.port);
    const through = await openStorage(proxy.url, { now });
    await storage.put('a', 1);
    for (const verb of [through.insert.bind(through, 'b', 1), through.take.bind(through, 'a')]) {
      proxy.loseNextAnswer();
      await expectOutage([verb()]);
      await recovery(() => through.ping());
    }
    expect(await storage.get('b'), 'it had happened').to.equal(1);
    expect(await storage.get('a')).to.equal(undefined);
    await through.close();
    proxy.stop();
  });

  it('refuses writes without memory for them, and still reads, takes and deletes', async () => {
    await storage.put('a', 1);
    await storage.put('b', 1);
    await server.command('config', 'set', 'maxmemory', '1');
    await expectOutage([storage.put('c', 1), storage.insert('d', 1), storage.update('a', () => 2), storage.ping()]);
    expect(await storage.get('a')).to.equal(1);
    expect(await storage.take('a')).to.equal(1);
    expect(await storage.delete('b')).to.equal(true);
    await server.command('config', 'set', 'maxmemory', '0');
    await storage.ping();
    expect(await storage.insert('d', 1)).to.equal(true);
  });

  it('refuses writes as a replica and serves reads', async () => {
    await storage.put('a', 1);
    await server.command('replicaof', '127.0.0.1', String(await freePort()));
    await expectOutage([storage.put('a', 2), storage.take('a'), storage.update('a', () => 2), storage.ping()]);
    await recovery(() => storage.get('a'));
    expect(await storage.get('a')).to.equal(1);
    await expectOutage([storage.delete('a')]);
    expect(await storage.get('a')).to.equal(1);
    await server.command('replicaof', 'no', 'one');
    expect(await recovery(() => storage.ping())).to.be.lessThan(3000);
  });

  it('refuses writes that too few replicas would get', async () => {
    await server.command('config', 'set', 'min-replicas-to-write', '1');
    await expectOutage([storage.put('a', 1), storage.ping()]);
    expect(await storage.get('a')).to.equal(undefined);
    await server.command('config', 'set', 'min-replicas-to-write', '0');
    await storage.ping();
  });

  it('says that it is not ready once it was told to evict', async () => {
    await server.command('config', 'set', 'maxmemory-policy', 'volatile-ttl');
    const refusal = await refusalOf(storage.ping());
    expect((refusal.cause as Error).message).to.contain('volatile-ttl');
    await server.command('config', 'set', 'maxmemory-policy', 'noeviction');
    await storage.ping();
  });

  it('leaves nothing behind of records that are gone', async () => {
    const groups = ['g', 'h'];
    await storage.put('a', 1, { groups });
    await storage.put('a', 2, { ttl: 60, groups });
    await storage.update('a', () => 3, { groups: ['h'] });
    expect(await storage.insert('a', 4, { groups })).to.equal(false);
    await storage.delete('a');
    await storage.insert('b', 1, { ttl: 60, groups });
    await storage.take('b');
    expect(await server.command('dbsize')).to.equal('0');
  });

  it('collects by itself what expires, groups included', async () => {
    await storage.put('a', 1, { ttl: 60, groups: ['g'] });
    await storage.put('b', 1, { ttl: 600, groups: ['g'] });
    const keys = (await server.command('keys', '*')).split('\n');
    expect(keys).to.have.length(4);
    for (const key of keys) expect(Number(await server.command('ttl', key)), key).to.be.within(59, 660);
    const [members = ''] = keys.filter((key) => key.includes(':members:'));
    // Only Redis' own clock counts for what is forgotten.
    ahead = 315_360_000;
    await storage.put('c', 1, { ttl: 60, groups: ['g'] });
    expect(await server.command('zcard', members)).to.equal('3');
    ahead = 0;
    await storage.delete('c');
    const expire = "return redis.call('ZADD', KEYS[1], 1, redis.call('ZRANGE', KEYS[1], 0, 0)[1])";
    await server.command('eval', expire, '1', members.replace(':members:', ':expiries:'));
    await storage.put('c', 1, { ttl: 60, groups: ['g'] });
    expect(await server.command('zcard', members), 'the expired membership is pruned').to.equal('2');
    await storage.put('d', 1, { groups: ['g'] });
    expect(await server.command('ttl', members), 'a lasting record keeps its group').to.equal('-1');
    await storage.put('e', 1, { ttl: 60, groups: ['g'] });
    expect(await server.command('ttl', members)).to.equal('-1');
  });

  it('goes by Redis’ clock where its own is behind, so that nothing lives again', async () => {
    await storage.put('a', 1, { ttl: 1 });
    const raw = await server.command('get', 'latchkey:record:a');
    await sleep(1100);
    await server.command('set', 'latchkey:record:a', raw); // as if Redis had not collected it yet
    ahead = -86_400;
    expect(storage.now()).to.be.closeTo(Date.now() / 1000, 2);
    expect(await storage.get('a')).to.equal(undefined);
    expect(await storage.take('a')).to.equal(undefined);
    await storage.put('b', 1, { ttl: 60 });
    expect(await storage.get('b')).to.equal(1);
  });

  it('skips memberships whose record never came', async () => {
    for (const key of ['a', 'b', 'c']) await storage.put(key, key, { groups: ['g'] });
    await server.command('del', 'latchkey:record:a', 'latchkey:record:b');
    expect(await storage.list('g')).to.deep.equal({ entries: [{ key: 'c', value: 'c' }] });
    const page = await storage.list('g', { limit: 2 });
    expect(page.entries).to.deep.equal([]);
    expect((await storage.list('g', { after: page.next ?? '' })).entries).to.deep.equal([{ key: 'c', value: 'c' }]);
  });
});

describe('storage: which Redis is accepted', () => {
  const start = (url: string) => openStorage(url, { now });
  const servers: RedisServer[] = [];
  afterEach(() => Promise.all(servers.splice(0).map((server) => server.stop())));

  async function startHearing(url: string, options: { mayLoseWrites?: boolean } = {}) {
    const warnings: string[] = [];
    const storage = await openStorage(url, { now, warn: (message) => warnings.push(message), ...options });
    return { storage, warnings };
  }

  async function redisWith(settings: Record<string, string> = {}): Promise<RedisServer> {
    const server = await startRedis(settings);
    servers.push(server);
    return server;
  }

  it('none that evicts', async () => {
    for (const policy of ['allkeys-lru', 'volatile-lru']) {
      const server = await redisWith({ 'maxmemory-policy': policy });
      const refusal = (await caughtFrom(start(server.url))) as Error;
      expect(refusal.message).to.match(
        /^STORE_URL: this Redis evicts records \(maxmemory-policy (all|vol).*\); it must be noeviction$/,
      );
    }
  });

  it('none that only takes snapshots, or flushes when it likes, unless that is accepted aloud', async () => {
    const forgetful: Record<string, string>[] = [
      { appendonly: 'no' },
      { appendonly: 'no', save: '60 1' },
      { appendfsync: 'no' },
    ];
    for (const settings of forgetful) {
      const server = await redisWith(settings);
      expect(((await caughtFrom(start(server.url))) as Error).message)
        .to.match(/^STORE_URL: this Redis .*; set "append/)
        .and.contain('STORE_DURABILITY=any');
      const { storage, warnings } = await startHearing(server.url, { mayLoseWrites: true });
      await storage.ping();
      await storage.close();
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.contain('STORE_DURABILITY=any');
    }
  });

  it('one that flushes every second, with a warning that names the setting', async () => {
    const server = await redisWith({ appendfsync: 'everysec' });
    const { storage, warnings } = await startHearing(server.url);
    await storage.ping();
    await storage.close();
    expect(warnings).to.have.length(1);
    expect(warnings[0]).to.contain('appendfsync everysec');
  });

  it('one that does not show its settings is trusted, which is said once', async () => {
    const server = await redisWith();
    await server.command('acl', 'setuser', 'latchkey', 'on', '>p@ss/word', '~*', '+@all', '-config', '-info');
    await server.command('config', 'set', 'appendonly', 'no');
    const { storage, warnings } = await startHearing(server.url.replace('//', '//latchkey:p%40ss%2Fword@'));
    await storage.put('a', 1);
    expect(await storage.take('a')).to.equal(1);
    await storage.ping();
    await storage.close();
    expect(warnings).to.have.length(1);
    expect(warnings[0]).to.contain('INFO');
  });

  it('that has become forgetful is not ready, and is again once it is set right', async () => {
    const server = await redisWith();
    const storage = await start(server.url);
    for (const [name, wrong, right] of [
      ['appendonly', 'no', 'yes'],
      ['appendfsync', 'no', 'always'],
      ['maxmemory-policy', 'allkeys-lru', 'noeviction'],
    ] as const) {
      await server.command('config', 'set', name, wrong);
      expect((await refusalOf(storage.ping())).cause, name).to.be.instanceOf(UnfitStore);
      await server.command('config', 'set', name, right);
      await storage.ping();
    }
    await storage.close();
  });

  it('none whose user may not do all that we do; the command is named', async () => {
    const server = await redisWith();
    const commands = ['get', 'set', 'getdel', 'eval', 'zadd', 'zrem', 'zrangebyscore', 'zrangebylex', 'zrevrangebylex'];
    for (const command of [...commands, 'ttl', 'expire', 'persist']) {
      await server.command('acl', 'setuser', 'ann', 'reset', 'on', '>pw', '~latchkey:*', '+@all', `-${command}`);
      const { message } = (await caughtFrom(start(server.url.replace('//', '//ann:pw@')))) as Error;
      expect(message).to.match(/^STORE_URL: this Redis does not let its user run /);
      expect(message).to.contain(command.toUpperCase());
    }
    for (const keys of ['~latchkey:record:*', '~latchkey:{*', '~other:*', '%R~latchkey:*']) {
      await server.command('acl', 'setuser', 'ann', 'reset', 'on', '>pw', keys, '+@all');
      const { message } = (await caughtFrom(start(server.url.replace('//', '//ann:pw@')))) as Error;
      expect(message).to.contain('allow ~latchkey:*');
    }
  });

  it('one whose user may do just what the docs list', async () => {
    const server = await redisWith();
    const docs = readFileSync(new URL('../docs/run-on-redis.md', import.meta.url), 'utf8');
    const listed = /ACL SETUSER latchkey (.*)/.exec(docs)?.[1]?.split(' ') ?? [];
    await server.command('acl', 'setuser', 'latchkey', ...listed);
    const secret = listed.find((rule) => rule.startsWith('>'))?.slice(1);
    const storage = await start(server.url.replace('//', `//latchkey:${secret}@`));
    await Promise.all(allVerbs(storage));
    expect(await storage.list('g', { descending: true })).to.have.property('entries');
    await server.command('acl', 'setuser', 'latchkey', '-zrangebylex');
    expect(((await refusalOf(storage.ping())).cause as Error).message).to.contain('ZRANGEBYLEX');
    await storage.close();
  });

  it('is looked at without a write', async () => {
    const server = await redisWith();
    const storage = await start(server.url);
    const before = await server.command('info', 'persistence');
    const changes = (info: string) => /rdb_changes_since_last_save:(\d+)/.exec(info)?.[1];
    for (let i = 0; i < 20; i++) await storage.ping();
    expect(changes(await server.command('info', 'persistence'))).to.equal(changes(before));
    await storage.close();
  });

  it('none that does not answer, or not to this password; the message has the reason and no password', async () => {
    const server = await redisWith({ requirepass: 'right' });
    const cases = [
      [`redis://:secret@127.0.0.1:${server.port}`, 'WRONGPASS'],
      [`redis://:secret@127.0.0.1:${await freePort()}`, 'ECONNREFUSED'],
      [`redis+cluster://:secret@127.0.0.1:${await freePort()}`, ''],
      [`redis+sentinel://:secret@127.0.0.1:${await freePort()}/main`, 'sentinels are unreachable'],
    ] as const;
    const started = performance.now();
    await Promise.all(
      cases.map(async ([url, reason]) => {
        const refusal = await refusalOf(start(url));
        expect(refusal.code).to.equal('temporarily_unavailable');
        expect(refusal.message).to.contain('Redis at 127.0.0.1:').and.to.contain(reason).and.not.to.contain('secret');
      }),
    );
    expect(performance.now() - started).to.be.lessThan(2500);
  });
});

describe('storage: Redis of several servers', () => {
  let group: RedisGroup | undefined;
  afterEach(async () => {
    await group?.stop();
    group = undefined;
  });

  it('refuses in time when a node of the cluster is gone, and comes back by itself', async function lostNode() {
    this.timeout(30_000);
    group = await startRedisCluster();
    const storage = await openStorage(group.url, { now });
    const keys = Array.from({ length: 12 }, (_, n) => `key ${n}`);
    const putAll = () => Promise.all(keys.map((key) => storage.put(key, key)));
    await putAll();
    await group.servers[0]?.kill();
    const started = performance.now();
    expect(await caughtFrom(putAll())).to.include({ code: 'temporarily_unavailable' });
    expect(performance.now() - started).to.be.lessThan(2000);
    await group.servers[0]?.start();
    expect(await recovery(putAll), 'two seconds of it are the cluster itself').to.be.lessThan(5000);
    for (const key of keys) expect(await storage.get(key)).to.equal(key);
    await storage.close();
  });

  it('follows a master that moves to its replica', async function failover() {
    this.timeout(30_000);
    group = await startRedisSentinel();
    const [master, replica] = group.servers;
    const storage = await openStorage(group.url, { now });
    expect(await storage.insert('a', 1)).to.equal(true);
    while ((await replica?.command('exists', 'latchkey:record:a')) !== '1') await sleep(10);
    await master?.kill();
    await expectOutage([storage.get('a'), storage.insert('b', 1)]);
    expect(await recovery(() => storage.put('c', 1)), 'a second of it is noticing').to.be.lessThan(8000);
    expect(await storage.insert('a', 2)).to.equal(false);
    expect(await storage.take('a')).to.equal(1);
    await storage.close();
  });

  it('acknowledges a write once a replica has it, and needs none that is gone', async function replicated() {
    this.timeout(30_000);
    group = await startRedisSentinel();
    const [, replica] = group.servers;
    const storage = await openStorage(group.url, { now });
    const writes = () => [
      storage.insert('a', 1),
      storage.put('b', 1),
      storage.update('b', () => 2),
      storage.take('c'),
      storage.delete('d'),
    ];
    for (const key of ['c', 'd']) await storage.put(key, 1);
    replica?.pause();
    await expectOutage(writes());
    const started = performance.now();
    await Promise.all(Array.from({ length: 200 }, () => storage.get('b')));
    expect(performance.now() - started, 'reads do not wait').to.be.below(500);
    replica?.resume();
    expect(await recovery(() => Promise.all(writes()))).to.be.below(3_000);
    await replica?.kill();
    expect(await recovery(() => storage.put('b', 3)), 'with nobody to wait for').to.be.below(3_000);
    await storage.close();
  });

  it('refuses what works once and is older than a change of master that lost writes', async function lostWrites() {
    this.timeout(40_000);
    group = await startRedisSentinel();
    const [master, replica] = group.servers;
    const warnings: string[] = [];
    const warn = (message: string) => warnings.push(message);
    const storage = await openStorage(group.url, { now, warn });
    for (const key of ['used', 'unused', 'read']) await storage.insert(key, key, { ttl: 600, once: true });
    await storage.put('lasting', 1);
    replica?.pause();
    expect((await refusalOf(storage.take('used'))).code, 'nobody heard that it was used').to.equal(
      'temporarily_unavailable',
    );
    expect((await refusalOf(storage.delete('lasting'))).code).to.equal('temporarily_unavailable');
    await master?.kill();
    replica?.resume();
    await recovery(() => storage.put('new', 1));

    const later = await openStorage(group.url, { now });
    for (const opened of [storage, later]) {
      expect(await opened.get('read')).to.equal(undefined);
      expect(await opened.update('read', (found) => (found === undefined ? undefined : 2))).to.equal(undefined);
    }
    expect(await storage.take('used')).to.equal(undefined);
    expect(await later.take('unused')).to.equal(undefined);
    await storage.insert('fresh', 1, { ttl: 60, once: true });
    expect(await later.take('fresh')).to.equal(1);
    expect(warnings.filter((message) => /master of this Redis has changed/.test(message))).to.have.length(1);
    await Promise.all([storage.close(), later.close()]);
  });

  it('keeps what works once when the only server is started anew', async () => {
    const server = await startRedis();
    const storage = await openStorage(server.url, { now });
    await storage.insert('code', 1, { ttl: 600, once: true });
    await server.kill();
    await server.start();
    await recovery(() => storage.ping());
    expect(await storage.take('code')).to.equal(1);
    await storage.close();
    await server.stop();
  });
});

/** A line to a server that can be cut between a command and its answer. */
async function startProxy(
  port: number,
): Promise<{ url: string; loseNextAnswer(): void; holdUp(): void; letGo(): void; stop(): void }> {
  let losing = false;
  /** What was sent and not passed on yet. */
  let held: Array<() => void> | undefined;
  const proxy = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    client.on('data', (commands) => {
      if (held) held.push(() => upstream.write(commands));
      else upstream.write(commands);
    });
    upstream.on('data', (answer) => {
      if (losing) client.destroy();
      else client.write(answer);
      losing = false;
    });
    client.on('close', () => (held ? held.push(() => upstream.end()) : upstream.destroy()));
  });
  const own = await freePort();
  await new Promise<void>((resolve) => proxy.listen(own, '127.0.0.1', resolve));
  return {
    url: `redis://127.0.0.1:${own}`,
    loseNextAnswer() {
      losing = true;
    },
    holdUp() {
      held = [];
    },
    letGo() {
      for (const pass of held ?? []) pass();
      held = undefined;
    },
    stop: () => proxy.close(),
  };
}
