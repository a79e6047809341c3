/** How many credentials a process checks in a second, on both stores, beside plain Koa in the same rounds. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import autocannon from 'autocannon';
import { openDirectory } from '../src/app.ts';
import { readConfig } from '../src/config.ts';
import { freePort, median, type Started, start } from './processes.ts';

const ROUNDS = 5;
const SECONDS = 2;
const CONNECTIONS = 32;
const SECRET_KEY = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

interface Path {
  name: string;
  /** Of plain Koa's rate (performance.md). */
  reach: number;
  request: autocannon.Request & { path: string };
}

interface Target {
  name: string;
  url: string;
  paths: Path[];
}

/** The product on one store, with a token of each kind. */
async function prepare(name: string, storeUrl: string, url: string): Promise<Target> {
  const directory = await openDirectory(readConfig({ STORE_URL: storeUrl, SECRET_KEY }));
  await directory.permissions.create({ name: 'reports', description: 'Read reports' });
  const account = await directory.accounts.create({ email: 'bench@example.com', permissions: ['reports'] });
  const { token } = await directory.personalTokens.create(account, { description: 'bench', scope: 'reports' });
  const app = { name: 'An API', introspection: true, clientCredentials: true, permissions: ['reports'] };
  const { client, secret } = await directory.clients.create(app);
  await directory.storage.close();

  const basic = `Basic ${Buffer.from(`${client.id}:${secret}`).toString('base64')}`;
  const form = { authorization: basic, 'content-type': 'application/x-www-form-urlencoded' };
  const issued = await fetch(`${url}/identity/token`, {
    method: 'POST',
    headers: form,
    body: 'grant_type=client_credentials&scope=reports',
  });
  const { access_token: accessToken } = (await issued.json()) as { access_token: string };
  const personal = { authorization: `Token ${token}` };
  const introspect = (value: string) =>
    ({ path: '/identity/introspect', method: 'POST', headers: form, body: `token=${value}` }) as const;
  return {
    name,
    url,
    paths: [
      { name: '/verify, personal token', reach: 0.5, request: { path: '/verify', headers: personal } },
      { name: '/api/me, personal token', reach: 0.5, request: { path: '/api/me', headers: personal } },
      { name: 'introspection, access token', reach: 0.4, request: introspect(accessToken) },
      { name: 'introspection, personal token', reach: 0.4, request: introspect(token) },
    ],
  };
}

async function rate(url: string, request: Path['request']): Promise<number> {
  const result = await autocannon({ url, connections: CONNECTIONS, duration: SECONDS, requests: [request] });
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${url}${request.path} answered ${result.non2xx} failures`);
  return result.requests.average;
}

const directory = mkdtempSync(join(tmpdir(), 'latchkey-bench-'));
const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: { start: string } };
const started: Started[] = [];

async function serve(command: string, { path, env }: { path: string; env: NodeJS.ProcessEnv }): Promise<string> {
  const port = await freePort();
  const url = `http://localhost:${port}`;
  const settings = { PORT: String(port), ISSUER: url, SECRET_KEY, LOG_LEVEL: 'warn', ...env };
  started.push(await start(command.replace('{port}', String(port)), { url: url + path, env: settings }));
  return url;
}

async function serveProduct(name: string, storeUrl: string): Promise<Target> {
  const url = await serve(scripts.start, { path: '/health/live', env: { STORE_URL: storeUrl } });
  return prepare(name, storeUrl, url);
}

const redisPort = await freePort();
const redisSettings = `--port ${redisPort} --dir ${directory} --appendonly yes --appendfsync always --save ''`;
const redis = await start(`redis-server ${redisSettings}`, { port: redisPort, env: {} });
started.push(redis);

const koaUrl = await serve('node bench/plain-koa.ts {port}', { path: '/', env: {} });
const targets = [
  await serveProduct('embedded', `file:${join(directory, 'embedded')}`),
  await serveProduct('Redis', `redis://127.0.0.1:${redisPort}`),
];

const koaRates: number[] = [];
const rows = targets.flatMap((target) => target.paths.map((path) => ({ target, path, rates: [] as number[] })));
for (let round = 0; round <= ROUNDS; round++) {
  const koaRate = await rate(koaUrl, { path: '/' });
  // The first round only warms up.
  if (round > 0) koaRates.push(koaRate);
  for (const { target, path, rates } of rows) {
    const measured = await rate(target.url, path.request);
    if (round > 0) rates.push(measured);
  }
}
for (const process of started.reverse()) await process.stop();
rmSync(directory, { recursive: true, force: true });

const koa = median(koaRates);
console.log(
  `\nRequests a second, one process, ${CONNECTIONS} connections: medians of ${ROUNDS} interleaved rounds of ${SECONDS} s\n`,
);
console.table([
  { path: 'plain Koa, a constant', store: '', 'per second': Math.round(koa), ratio: '1.00', reach: '' },
  ...rows.map(({ target, path, rates }) => ({
    path: path.name,
    store: target.name,
    'per second': Math.round(median(rates)),
    ratio: (median(rates) / koa).toFixed(2),
    reach: path.reach.toFixed(2),
  })),
]);
