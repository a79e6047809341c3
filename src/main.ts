/**
 * The server: settings, workers, listening, and a clean end.
 */
import cluster from 'node:cluster';
import { createServer, type Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Logger, pino } from 'pino';
import { createApp, openDirectory } from './app.ts';
import { type Config, ConfigError, readConfig } from './config.ts';

/** How long what is under way may take to finish after a signal to stop. */
const DRAIN_MS = 10_000;
/** A worker that died younger than this is not replaced: it would only die again. */
const YOUNG_MS = 2_000;

async function main(): Promise<void> {
  const config = readConfig();
  if (config.workers > 1 && cluster.isPrimary) return supervise(config.workers);
  await serve(config, pino({ level: config.logLevel }));
}

async function serve(config: Config, log: Logger): Promise<void> {
  const directory = await openDirectory(config);
  const { app, background } = await createApp(directory, { config, log });
  const server = createServer(
    { requestTimeout: 30_000, headersTimeout: 10_000, keepAliveTimeout: 65_000 },
    app.callback(),
  );
  await listen(server, config);
  background.start();
  stopOnSignal(async () => {
    await Promise.all([drain(server), Promise.race([background.stop(), sleep(DRAIN_MS)])]);
    await directory.storage.close();
  });
  if (cluster.isWorker && cluster.worker?.id !== 1) return;
  console.log(`Latchkey is at ${config.issuer}`);
  const code = await directory.setup.code();
  if (code !== undefined) console.log(`Make the first administrator: ${config.issuer}/setup?code=${code}`);
}

function listen(server: Server, { host, port }: Config): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
}

/** Takes no new connections, lets what is under way finish, then cuts what is left. */
function drain(server: Server): Promise<void> {
  const cut = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
  return new Promise((resolve) => {
    server.close(() => {
      clearTimeout(cut);
      resolve();
    });
    server.closeIdleConnections();
  });
}

function stopOnSignal(stop: () => Promise<void>): void {
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, async () => {
      if (stopping) return;
      stopping = true;
      await stop();
      process.exit(0);
    });
  }
}

/** One process a worker, each replaced when it dies. */
function supervise(workers: number): void {
  const startedAt = new Map<number, number>();
  let stopping = false;
  const fork = () => startedAt.set(cluster.fork().id, Date.now());

  cluster.on('exit', (worker, code) => {
    if (stopping || code === 0) return;
    if (Date.now() - (startedAt.get(worker.id) ?? 0) < YOUNG_MS) process.exit(code ?? 1);
    fork();
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      stopping = true;
      for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill(signal);
    });
  }
  for (let count = 0; count < workers; count++) fork();
}

main().catch((error: Error) => {
  console.error(error instanceof ConfigError ? error.message : `Latchkey cannot start: ${error.message}`);
  process.exit(1);
});
