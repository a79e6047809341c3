/**
 * The whole product for a test: a real server on a real store. In this process, where the clock can be moved, or as
 * processes of their own, where they can race and be killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createSocketServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { NewAccount } from '../../src/accounts/accounts.ts';
import { createApp } from '../../src/app.ts';
import type { Client } from '../../src/clients/client.ts';
import type { NewClient } from '../../src/clients/clients.ts';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import { startRedis } from './redis.ts';

export const PASSWORD = 'correct horse battery staple';

/** A store of its own for one suite. */
export interface TestStore {
  storeUrl: string;
  /** Files in which nothing secret may be found. */
  directory: string;
  remove(): Promise<void>;
}

/** Runs a suite once on each engine. */
export function onEachEngine(suite: (openStore: () => Promise<TestStore>) => void): void {
  describe('on the embedded store', () => suite(embeddedStore));
  describe('on Redis', () => suite(redisStore));
}

export async function embeddedStore(): Promise<TestStore> {
  const directory = await mkdtemp(join(tmpdir(), 'latchkey-test-'));
  return { storeUrl: `file:${directory}`, directory, remove: () => rm(directory, { recursive: true, force: true }) };
}

async function redisStore(): Promise<TestStore> {
  const redis = await startRedis();
  return { storeUrl: redis.url, directory: redis.directory, remove: () => redis.stop() };
}

export interface TestApp {
  issuer: string;
  directory: Core;
  /** An active account with `PASSWORD`. */
  person(account?: Partial<NewAccount>): Promise<{ id: string; email: string; password: string }>;
  /** An app with one redirect URI. */
  client(client?: Partial<NewClient>): Promise<TestClient>;
  close(): Promise<void>;
}

export interface TestClient {
  id: string;
  secret: string;
  redirectUri: string;
  record: Client;
}

export const SECRET_KEY = randomBytes(32).toString('base64url');

function settings(store: TestStore, port: number, environment: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return {
    ISSUER: `http://localhost:${port}`,
    PORT: String(port),
    STORE_URL: store.storeUrl,
    SECRET_KEY,
    LOG_LEVEL: 'silent',
    ...environment,
  };
}

/** The app in this process. `issuer` may be an https one, which requests then reach through `X-Forwarded-Proto`. */
export async function startApp(store: TestStore, environment: NodeJS.ProcessEnv = {}): Promise<TestApp> {
  const port = await freePort();
  const config = readConfig(settings(store, port, environment));
  const directory = await openCore(config);
  const { app, background } = await createApp(directory, { config, log: pino({ level: config.logLevel }) });
  const server = createServer(app.callback());
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  background.start();

  return {
    issuer: config.issuer,
    directory,
    ...fixtures(directory),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await background.stop();
      await directory.storage.close();
    },
  };
}

/** What a suite needs to exist, made through the product's own parts. */
export function fixtures({ accounts, clients }: Core): Pick<TestApp, 'person' | 'client'> {
  let count = 0;
  return {
    async person(account = {}) {
      count += 1;
      const email = account.email ?? `person${count}-${randomBytes(3).toString('hex')}@example.com`;
      const made = await accounts.create({
        givenName: 'Pat',
        familyName: 'Example',
        password: PASSWORD,
        ...account,
        email,
      });
      return { id: made.id, email: made.email, password: PASSWORD };
    },
    async client(client = {}) {
      const redirectUri = client.redirectUris?.[0] ?? 'https://app.example.com/callback';
      const { client: record, secret = '' } = await clients.create({
        name: 'Sample app',
        redirectUris: [redirectUri],
        ...client,
      });
      return { id: record.id, secret, redirectUri, record };
    },
  };
}

export interface TestProcess {
  /** Where this process answers; its issuer may be another one of the same store. */
  url: string;
  child: ChildProcess;
  /** Everything it has printed. */
  output(): string;
  kill(signal: NodeJS.Signals): Promise<void>;
}

/** The server as a process of its own. Several on one store share the issuer of the first. */
export async function startProcess(store: TestStore, environment: NodeJS.ProcessEnv = {}): Promise<TestProcess> {
  const { PATH, NODE_COMPILE_CACHE } = process.env;
  const port = Number(environment.PORT ?? (await freePort()));
  const child = spawn(process.execPath, ['src/main.ts'], {
    env: { PATH, NODE_COMPILE_CACHE, ...settings(store, port, environment), PORT: String(port) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (printed += chunk));
  const ended = once(child, 'exit');
  const url = `http://localhost:${port}`;
  while (!(await isLive(url))) {
    if (child.exitCode !== null) throw new Error(`the server ended:\n${printed}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    url,
    child,
    output: () => printed,
    async kill(signal) {
      child.kill(signal);
      await ended;
    },
  };
}

async function isLive(url: string): Promise<boolean> {
  // Leaves no connection behind, which a server that ends would wait for.
  return fetch(`${url}/health/live`, { headers: { connection: 'close' } }).then(
    (response) => response.ok,
    () => false,
  );
}

export async function freePort(): Promise<number> {
  const server = createSocketServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
