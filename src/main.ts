/**
 * The server: settings, workers, listening, and a clean end.
 */
import cluster from 'node:cluster';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { Server as SocketServer } from 'node:net';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { destination, type Logger, pino } from 'pino';
import { createApp } from './app.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { openCore } from './core.ts';
import { HAND_OVER, supervise } from './workers.ts';

/**
 * Milliseconds. A request has to be here, body and all, within 15 seconds, however slowly its bytes come; looked at each second. A
 * connection without one stays longer than a proxy keeps it (60 seconds in nginx), so that none is closed as a request is sent.
 */
const LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 13_000,
  connectionsCheckingInterval: 1_000,
  keepAliveTimeout: 65_000,
} as const;
/** How long all of stopping may take: answering on, and finishing what is under way. */
const DRAIN_MS = 10_000;
/** How long a balancer has to notice that it should send requests elsewhere, and the silence from which it has. */
const NOTICE_MS = 5_000;
const SILENCE_MS = 300;
/** The same where others answer: longer than any request takes, so that what is cut then has long been idle. */
const HAND_OVER_MS = 20_000;
/** How long answers wait at most until nobody comes any more, and the silence that says so. */
const PAUSE_MS = 500;
const QUIET_MS = 25;
/** A balancer that asked whether we are ready within this time will ask again. */
const WATCHED_MS = 15_000;

async function main(): Promise<void> {
  const config = readConfig();
  if (config.workers > 1 && cluster.isPrimary) return supervise(config.workers);
  await serve(config, openLog(config.logLevel));
}

interface Log {
  log: Logger;
  /** Writes what it can and lets the process end. */
  end(): Promise<void>;
}

/** A log that is full, blocked or gone neither ends the server nor holds it up: lines wait for the next one, up to a megabyte of them. */
function openLog(level: string): Log {
  const out = destination({ dest: 1, sync: false, maxLength: 1_000_000, retryEAGAIN: () => false });
  for (const stream of [out, process.stdout]) stream.on('error', () => undefined);
  return {
    log: pino({ level }, out),
    async end() {
      await Promise.race([new Promise((resolve) => out.flush(resolve)), sleep(500)]);
      out.destroy();
    },
  };
}

async function serve(config: Config, { log, end }: Log): Promise<void> {
  const core = await openCore(config, { warn: (message) => log.warn(message) });
  const { app, background } = await createApp(core, { config, log, isStopping: () => door.isClosing() });
  const server = createServer(LIMITS);
  const door = createDoor(server, app.callback());
  const isFirst = !cluster.isWorker || cluster.worker?.id === 1;
  // Once it listens, nothing may end it any more.
  const code = isFirst ? await core.setup.code() : undefined;
  await listen(server, config);
  background.start();
  stopWhenTold(async (way) => {
    await Promise.all([door[way](), Promise.race([background.stop(), sleep(DRAIN_MS)])]);
    await core.storage.close();
    await end();
  });
  if (!isFirst) return;
  console.log(`Latchkey is at ${config.issuer}`);
  if (code !== undefined) console.log(`Make the first administrator: ${config.issuer}/setup?code=${code}`);
}

function listen(server: Server, { host, port }: Config): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(explained(error, { host, port })));
    server.listen(port, host, resolve);
  });
}

/** What keeps it from listening, and the setting that changes it. */
function explained(error: NodeJS.ErrnoException, { host, port }: Pick<Config, 'host' | 'port'>): Error {
  const problems: Record<string, string> = {
    EADDRINUSE: `port ${port} on ${host} is taken by another program: stop it, or choose another port with PORT`,
    EACCES: `port ${port} may be listened on by root only: choose another one with PORT, or let a proxy stand in front`,
    EADDRNOTAVAIL: `${host} is no address of this machine: choose one with HOST`,
    ENOTFOUND: `${host} is no address of this machine: choose one with HOST`,
  };
  return new Error(problems[error.code ?? ''] ?? error.message, { cause: error });
}

interface Door {
  /** Whether nobody answers behind this port any more, soon. */
  isClosing(): boolean;
  close(): Promise<void>;
  /** Where others go on answering behind the same port. */
  handOver(): Promise<void>;
}

/** How a server ends without failing a request that somebody sent before they could know. */
function createDoor(server: Server, answer: RequestListener): Door {
  const unanswered = new Set<ServerResponse>();
  let askedAt = Number.NEGATIVE_INFINITY;
  let watchedAt = Number.NEGATIVE_INFINITY;
  let closing = false;
  let isLast = false;
  let arrivals = 0;
  /** Who comes now waits for it. */
  let pause: Promise<void> | undefined;

  server.on('connection', () => {
    arrivals += 1;
  });
  server.on('request', (request, response) => {
    if (request.url?.startsWith('/health/ready')) watchedAt = performance.now();
    else if (!request.url?.startsWith('/health/')) askedAt = performance.now();
    unanswered.add(response);
    response.once('close', () => unanswered.delete(response));
    arrivals += 1;
    if (isLast) endConnection(response);
    if (pause === undefined) answer(request, response);
    else void pause.then(() => answer(request, response));
  });

  function sayGoodbye(): void {
    isLast = true;
    for (const response of unanswered) endConnection(response);
  }

  /** A stream has no end of its own; whoever reads one comes back for more. */
  function endStreams(): void {
    for (const response of unanswered) if (isEventStream(response)) response.destroy();
  }

  /** @param cutAt When what is left is cut, in monotonic milliseconds. */
  async function untilClosed(closed: Promise<unknown>, cutAt: number): Promise<void> {
    const cut = setTimeout(() => server.closeAllConnections(), cutAt - performance.now());
    await closed;
    clearTimeout(cut);
  }

  /**
   * The system takes connections in for us, and cuts those that still wait when we stop listening. So nobody is answered for a moment:
   * soon everybody who asks through a proxy waits for us, and none comes any more. Then a turn of the event loop, which takes one of
   * them, has to find nobody, right after a sleep, when we are least likely to lose the processor.
   */
  async function untilNobodyWaits(deadline: number): Promise<void> {
    for (let before = -1; before !== arrivals && performance.now() < deadline; ) {
      before = arrivals;
      await sleep(QUIET_MS);
      if (before === arrivals) await turn();
    }
  }

  /** @returns When its last connection has ended. Unlike the server's own way it cuts none of those that are there. */
  function stopListening(): Promise<unknown> {
    return new Promise((resolve) => SocketServer.prototype.close.call(server, resolve));
  }

  return {
    isClosing: () => closing,

    /**
     * Answers on, saying each time that it is the last, until the balancer has been told and nobody asks; then lets what is
     * under way finish, and cuts what is left.
     */
    async close() {
      const startedAt = performance.now();
      const isWatched = startedAt - watchedAt < WATCHED_MS;
      const mayAsk = (time: number) => time - askedAt < SILENCE_MS || (isWatched && watchedAt < startedAt);
      closing = true;
      sayGoodbye();
      while (performance.now() - startedAt < NOTICE_MS && mayAsk(performance.now())) await sleep(50);

      const quiet = Promise.withResolvers<void>();
      pause = quiet.promise;
      await untilNobodyWaits(performance.now() + PAUSE_MS);
      const closed = stopListening();
      quiet.resolve();
      server.closeIdleConnections();
      endStreams();
      await untilClosed(closed, startedAt + DRAIN_MS);
    },

    /** Takes no new connection, and leaves those that are there to end with their next answer or by themselves. */
    async handOver() {
      sayGoodbye();
      const closed = stopListening();
      endStreams();
      await untilClosed(closed, performance.now() + HAND_OVER_MS);
    },
  };
}

function endConnection(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader('Connection', 'close');
}

function isEventStream(response: ServerResponse): boolean {
  return String(response.getHeader('Content-Type')).startsWith('text/event-stream');
}

/** By a signal, or by the word of who has started a successor. */
function stopWhenTold(stop: (way: 'close' | 'handOver') => Promise<void>): void {
  let stopping = false;
  async function begin(way: 'close' | 'handOver'): Promise<void> {
    // What is handed over takes its time; a signal says that there is none.
    if (stopping && way === 'close') setTimeout(() => process.exit(0), DRAIN_MS);
    if (stopping) return;
    stopping = true;
    await stop(way);
    process.exit(0);
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => begin('close'));
  process.on('message', (message) => (message === HAND_OVER ? begin('handOver') : undefined));
  // Workers leave it to their primary.
  process.on('SIGHUP', () => (cluster.isWorker ? undefined : begin('close')));
}

main().catch((error: Error) => {
  console.error(error instanceof ConfigError ? error.message : `Latchkey cannot start: ${error.message}`);
  process.exit(1);
});
