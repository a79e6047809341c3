/** Real Redis servers for tests, each in a directory of its own, on ports that were free. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const CLI = 'redis-cli';

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

/** @param settings lines of redis.conf that differ from a durable server's. */
export async function startRedis(settings: Settings = {}): Promise<RedisServer> {
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-redis-'));
  const server = createServerHandle(port, directory, [], { ...DURABLE, ...settings });
  await server.start();
  return server;
}

/** Three masters that share the slots. */
export async function startRedisCluster(settings: () => Promise<Settings> = async () => ({})): Promise<RedisGroup> {
  const servers = await Promise.all([1, 2, 3].map(async () => startClusterNode(await settings())));
  const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
  await run('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-yes']);
  for (const server of servers) {
    while (!(await server.command('cluster', 'info')).includes('cluster_state:ok')) await sleep(50);
  }
  return groupOf(`redis+cluster://${addresses.join(',')}`, servers);
}

interface SentinelOptions {
  /** Makes them speak TLS to each other; the group's port is then a TLS port. */
  settings?: () => Promise<Settings & { 'tls-port'?: string }>;
  /** What the Sentinel itself wants to hear, and what the servers do. */
  passwords?: { sentinel: string; server: string };
}

/** A master, its replica and one sentinel, in this order; the master is called `main`. */
export async function startRedisSentinel({ settings, passwords }: SentinelOptions = {}): Promise<RedisGroup> {
  const auth: Settings = passwords ? { requirepass: passwords.server, masterauth: passwords.server } : {};
  const ofMaster = (await settings?.()) ?? {};
  const master = await startRedis({ 'repl-diskless-sync-delay': '0', ...auth, ...ofMaster });
  const masterPort = ofMaster['tls-port'] ?? master.port;
  const replica = await startRedis({ replicaof: `127.0.0.1 ${masterPort}`, ...auth, ...(await settings?.()) });
  const asking = passwords ? ['-a', passwords.server, '--no-auth-warning'] : [];
  while (!(await replica.command(...asking, 'info', 'replication')).includes('master_link_status:up')) await sleep(50);
  while (!(await master.command(...asking, 'info', 'replication')).includes('state=online')) await sleep(50);
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-redis-'));
  const lines = [
    `sentinel monitor main 127.0.0.1 ${masterPort} 1`,
    'sentinel down-after-milliseconds main 500',
    'sentinel failover-timeout main 3000',
    ...(passwords ? [`sentinel auth-pass main ${passwords.server}`, `requirepass "${passwords.sentinel}"`] : []),
  ];
  writeFileSync(join(directory, 'sentinel.conf'), `${lines.join('\n')}\n`);
  const ofSentinel: Settings & { 'tls-port'?: string } = (await settings?.()) ?? {};
  const sentinel = createServerHandle(port, directory, [join(directory, 'sentinel.conf'), '--sentinel'], ofSentinel);
  await sentinel.start();
  const known = passwords ? ['-a', passwords.sentinel, '--no-auth-warning'] : [];
  // It names each replica by its address.
  while (!/slave\n/.test(await sentinel.command(...known, 'sentinel', 'replicas', 'main'))) await sleep(50);
  // A replica that has just joined may confirm nothing for seconds, whatever its state says.
  const cli = ['-p', String(master.port), ...asking];
  const confirmed = () => execFileSync(CLI, cli, { input: 'SET joined 1\nWAIT 1 500\nDEL joined\n', encoding: 'utf8' });
  while (confirmed().split('\n')[1] !== '1') await sleep(50);
  return groupOf(`redis+sentinel://127.0.0.1:${ofSentinel['tls-port'] ?? port}/main`, [master, replica, sentinel]);
}

async function startClusterNode(settings: Settings): Promise<RedisServer> {
  const bus = String(await freePort());
  return startRedis({ 'cluster-enabled': 'yes', 'cluster-port': bus, 'cluster-node-timeout': '1000', ...settings });
}

type TlsSettings = Settings & Record<'tls-port' | 'tls-cert-file' | 'tls-key-file', string>;

/** Certificates of an authority of our own, for 127.0.0.1 and localhost. */
export interface Authority {
  /** The authority's certificate. */
  readonly ca: string;
  /** Settings of a server that also speaks TLS, at `tls-port`, and to its like. */
  settings(): Promise<TlsSettings>;
  remove(): void;
}

export async function createAuthority(): Promise<Authority> {
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-tls-'));
  const [ca, caKey, cert, key] = ['ca.pem', 'ca.key', 'cert.pem', 'cert.key'].map((name) => join(directory, name));
  const newKey = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  await run('openssl', [...newKey, '-subj', '/CN=Test authority', '-keyout', `${caKey}`, '-out', `${ca}`]);
  const names = ['-subj', '/CN=redis', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  const signed = ['-CA', `${ca}`, '-CAkey', `${caKey}`, '-addext', 'basicConstraints=critical,CA:FALSE'];
  await run('openssl', [...newKey, ...names, ...signed, '-keyout', `${key}`, '-out', `${cert}`]);
  const files = { 'tls-ca-cert-file': `${ca}`, 'tls-cert-file': `${cert}`, 'tls-key-file': `${key}` };
  return {
    ca: `${ca}`,
    settings: async () => ({
      ...files,
      'tls-port': String(await freePort()),
      'tls-auth-clients': 'optional',
      'tls-replication': 'yes',
      'tls-cluster': 'yes',
    }),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
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
