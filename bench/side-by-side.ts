/** Measures paths of the product on both stores, beside plain Koa in the same rounds, and prints the table. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import autocannon from 'autocannon';
import { readConfig } from '../src/config.ts';
import { type Core, openCore } from '../src/core.ts';
import { freePort, median, type Started, start } from './processes.ts';

const ROUNDS = 5;
const SECONDS = 2;
const CONNECTIONS = 32;
const SECRET_KEY = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

export interface Path {
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

/** @param prepare Makes what the paths need on the store of a server that runs already. */
export async function sideBySide(
  prepare: (directory: Core, url: string) => Promise<Path[]>,
  environment: NodeJS.ProcessEnv = {},
): Promise<void> {
  await onBothStores({ prepare, environment }, async (servers, started) => {
    const koaUrl = await serve(started, 'node bench/plain-koa.ts {port}', { path: '/', env: {} });
    await measure(
      koaUrl,
      servers.map(({ made: paths, ...server }) => ({ ...server, paths })),
    );
  });
}

/** A server on each store, with what `prepare` has made there; all of it ends with `measure`. */
export async function onBothStores<T>(
  { prepare, environment }: { prepare: (directory: Core, url: string) => Promise<T>; environment: NodeJS.ProcessEnv },
  measure: (servers: Array<{ name: string; url: string; made: T }>, started: Started[]) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-bench-'));
  const started: Started[] = [];
  try {
    const stores = { embedded: `file:${join(folder, 'embedded')}`, Redis: await startRedis(started, folder) };
    const servers: Array<{ name: string; url: string; made: T }> = [];
    for (const [name, storeUrl] of Object.entries(stores)) {
      const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: { start: string } };
      const env = { STORE_URL: storeUrl, ...environment };
      const url = await serve(started, scripts.start, { path: '/health/live', env });
      const directory = await openCore(readConfig({ STORE_URL: storeUrl, SECRET_KEY }));
      servers.push({ name, url, made: await prepare(directory, url) });
      await directory.storage.close();
    }
    await measure(servers, started);
  } finally {
    for (const process of started.reverse()) await process.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function serve(
  started: Started[],
  command: string,
  { path, env }: { path: string; env: NodeJS.ProcessEnv },
): Promise<string> {
  const port = await freePort();
  const url = `http://localhost:${port}`;
  const settings = { PORT: String(port), ISSUER: url, SECRET_KEY, LOG_LEVEL: 'warn', ...env };
  started.push(await start(command.replace('{port}', String(port)), { url: url + path, env: settings }));
  return url;
}

async function startRedis(started: Started[], folder: string): Promise<string> {
  const port = await freePort();
  const settings = `--port ${port} --dir ${folder} --appendonly yes --appendfsync always --save ''`;
  started.push(await start(`redis-server ${settings}`, { port, env: {} }));
  return `redis://127.0.0.1:${port}`;
}

async function rate(url: string, request: Path['request']): Promise<number> {
  const result = await autocannon({ url, connections: CONNECTIONS, duration: SECONDS, requests: [request] });
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${url}${request.path} answered ${result.non2xx} failures`);
  return result.requests.average;
}

async function measure(koaUrl: string, targets: Target[]): Promise<void> {
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
}
