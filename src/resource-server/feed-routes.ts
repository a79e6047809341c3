/**
 * The feed of `latchkey/resource-server`: server-sent events (WHATWG HTML §9.2) that say when remembered answers must be
 * forgotten. For apps that may introspect every token.
 */
import { PassThrough } from 'node:stream';
import Router from '@koa/router';
import type Koa from 'koa';
import type { Clients } from '../clients/clients.ts';
import type { JudgeSecret } from '../clients/secret-judge.ts';
import { AppError } from '../errors.ts';
import { basicCredentials } from '../http/authorization.ts';
import type { Revocations } from './revocations.ts';

/** A feed that has been silent for longer than a few of these is dead. */
const HEARTBEAT_MS = 5_000;

/** In one process of ours. Each feed asks the store four times a second. */
const MOST_FEEDS = { ofApp: 50, inTotal: 500 };

export interface FeedRoutesOptions {
  clients: Pick<Clients, 'findActive'>;
  revocations: Revocations;
  judgeSecret: JudgeSecret;
}

export function feedRoutes({ clients, revocations, judgeSecret }: FeedRoutesOptions): Router {
  const router = new Router();
  /** Feeds of each app that are open in this process. */
  const open = new Map<string, number>();

  router.get('/identity/introspect/feed', async function streamWithdrawals(ctx) {
    const clientId = await authenticate(ctx);
    enter(clientId);
    ctx.res.once('close', () => leave(clientId));
    const stream = new PassThrough();
    const ended = new AbortController();
    ctx.req.once('close', () => ended.abort());
    ctx.type = 'text/event-stream';
    // What a proxy collects before it passes it on, or compresses, comes too late.
    ctx.set({ 'Cache-Control': 'no-store, no-transform', 'X-Accel-Buffering': 'no' });
    ctx.body = stream;
    void feed(stream, ended.signal).finally(() => stream.end());
  });

  async function feed(stream: PassThrough, signal: AbortSignal): Promise<void> {
    const greet = () => stream.write(': still here\n\n');
    const heartbeat = setInterval(greet, HEARTBEAT_MS);
    greet();
    for await (const count of revocations.watch(signal)) {
      // Silence tells an API that it cannot rely on what it remembers.
      if (count === null) break;
      stream.write(`id: ${count}\nevent: withdrawal\ndata: ${count}\n\n`);
    }
    clearInterval(heartbeat);
  }

  /** @throws {AppError} `too_many_requests` */
  function enter(clientId: string): void {
    const own = open.get(clientId) ?? 0;
    const all = [...open.values()].reduce((sum, count) => sum + count, 0);
    if (own >= MOST_FEEDS.ofApp || all >= MOST_FEEDS.inTotal)
      throw new AppError(
        'too_many_requests',
        `an app may have ${MOST_FEEDS.ofApp} feeds open, one for each process of its API`,
        {
          retryAfter: 10,
        },
      );
    open.set(clientId, own + 1);
  }

  function leave(clientId: string): void {
    const left = (open.get(clientId) ?? 1) - 1;
    if (left > 0) open.set(clientId, left);
    else open.delete(clientId);
  }

  /** The app. @throws {AppError} `invalid_client` */
  async function authenticate(ctx: Koa.Context): Promise<string> {
    const [id, secret] = basicCredentials(ctx.req);
    const client = id === undefined ? undefined : await clients.findActive(id);
    const digests = client?.secrets.map(({ digest }) => digest) ?? [];
    const isProven =
      client?.introspection === true &&
      secret !== undefined &&
      (await judgeSecret({ clientId: client.id, digests, presented: secret, source: ctx.ip }));
    if (isProven) return client.id;
    throw new AppError('invalid_client', 'only for apps that may introspect every token');
  }

  return router;
}
