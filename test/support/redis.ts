/** Real Redis servers for tests, each in a directory of its own, on ports that were free. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  /** Where its data files are. */
  readonly directory: string;
  /** After `kill`: the same server with what it had kept. */
  start(): Promise<void>;
  /** Ends it and removes its directory. */
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open and nobody answers. */
  pause(): void;
  resume(): void;
  /** What redis-cli prints. */
  command(...args: string[]): Promise<string>;
}

export interface RedisGroup {
  readonly url: string;
  readonly servers: readonly RedisServer[];
  stop(): Promise<void>;
}

type Settings = Record<string, string>;

/** Every acknowledged write is on the disk. */
const DURABLE: Settings = { appendonly: 'yes', appendfsync: 'always', save: '', 'maxmemory-policy': 'noeviction' };
const READY = /Ready to accept connections|Sentinel ID/;

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const server of running) server.kill('SIGKILL');
});

/** @param settings lines of redis.conf that differ from a durable server's. */
export async function startRedis(settings: Settings = {}): Promise<RedisServer> {
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-redis-'));
  const server = createServerHandle(port, directory, [], { ...DURABLE, ...settings });
  await server.start();
  return server;
}

/** Three masters that share the slots. */
export async function startRedisCluster(): Promise<RedisGroup> {
  const servers = await Promise.all([1, 2, 3].map(startClusterNode));
  const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
  await run('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-yes']);
  for (const server of servers) {
    while (!(await server.command('cluster', 'info')).includes('cluster_state:ok')) await sleep(50);
  }
  return groupOf(`redis+cluster://${addresses.join(',')}`, servers);
}

/** A master, its replica and one sentinel, in this order; the master is called `main`. */
export async function startRedisSentinel(): Promise<RedisGroup> {
  const master = await startRedis({ 'repl-diskless-sync-delay': '0' });
  const replica = await startRedis({ replicaof: `127.0.0.1 ${master.port}` });
  while (!(await replica.command('info', 'replication')).includes('master_link_status:up')) await sleep(50);
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-redis-'));
  const lines = [
    `sentinel monitor main 127.0.0.1 ${master.port} 1`,
    'sentinel down-after-milliseconds main 500',
    'sentinel failover-timeout main 3000',
  ];
  writeFileSync(join(directory, 'sentinel.conf'), `${lines.join('\n')}\n`);
  const sentinel = createServerHandle(port, directory, [join(directory, 'sentinel.conf'), '--sentinel'], {});
  await sentinel.start();
  while (!(await sentinel.command('sentinel', 'replicas', 'main')).includes(String(replica.port))) await sleep(50);
  return groupOf(`redis+sentinel://127.0.0.1:${port}/main`, [master, replica, sentinel]);
}

async function startClusterNode(): Promise<RedisServer> {
  const bus = await freePort();
  return startRedis({ 'cluster-enabled': 'yes', 'cluster-port': String(bus), 'cluster-node-timeout': '1000' });
}

function groupOf(url: string, servers: readonly RedisServer[]): RedisGroup {
  return {
    url,
    servers,
    async stop() {
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}

function createServerHandle(port: number, directory: string, first: string[], settings: Settings): RedisServer {
  const options = { port: String(port), bind: '127.0.0.1', dir: directory, ...settings };
  const args = [...first, ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, ...value.split(' ')])];
  let child: ChildProcess | undefined;

  async function kill(): Promise<void> {
    const dying = child;
    child = undefined;
    if (!dying) return;
    const ended = once(dying, 'exit');
    dying.kill('SIGKILL');
    await ended;
    running.delete(dying);
  }

  return {
    port,
    directory,
    url: `redis://127.0.0.1:${port}`,
    kill,
    pause: () => child?.kill('SIGSTOP'),
    resume: () => child?.kill('SIGCONT'),
    async start() {
      child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
      running.add(child);
      await untilReady(child);
    },
    async stop() {
      await kill();
      rmSync(directory, { recursive: true, force: true });
    },
    async command(...words) {
      const { stdout } = await run('redis-cli', ['-p', String(port), ...words]);
      return stdout.trim();
    },
  };
}

const run = promisify(execFile);

/** Resolves when the server says that it listens; goes on draining what it prints. */
function untilReady(server: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let printed = '';
    server.once('error', reject);
    server.once('exit', () => reject(new Error(`redis-server did not start:\n${printed}`)));
    server.stdout?.on('data', (chunk: Buffer) => {
      printed = `${printed}${chunk}`.slice(-4_000);
      if (READY.test(printed)) resolve();
    });
  });
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port is free');
  return address.port;
}
