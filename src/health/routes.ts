import Router from '@koa/router';
import { AppError } from '../errors.ts';
import { type Storage, UnfitStore } from '../storage/storage.ts';

/** Milliseconds for which what was seen is answered: however many ask, the store is looked at once. */
const LOOK_EVERY = 500;

/**
 * For whoever restarts or balances processes: live while the process answers, ready while its store takes writes, keeps them, and it
 * is not about to stop.
 */
export function healthRoutes({ storage, isStopping }: { storage: Storage; isStopping: () => boolean }): Router {
  const router = new Router({ prefix: '/health' });
  const look = shared(async () => {
    try {
      await storage.ping();
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }, LOOK_EVERY);

  router.get('/live', function live(ctx) {
    ctx.set('Cache-Control', 'no-store');
    ctx.body = { status: 'live' };
  });

  router.get('/ready', async function ready(ctx) {
    if (isStopping()) throw new AppError('temporarily_unavailable', 'this process is about to stop', { retryAfter: 2 });
    ctx.set('Cache-Control', 'no-store');
    const failure = await look();
    if (failure === undefined) {
      ctx.body = { status: 'ready' };
      return;
    }
    const problem = failure.cause instanceof UnfitStore ? failure.cause.message : 'the store is out of reach';
    ctx.state.failure = failure;
    ctx.status = 503;
    ctx.set('Retry-After', '2');
    ctx.body = { error: 'temporarily_unavailable', error_description: problem, problems: [problem] };
  });

  return router;
}

/** What `work` answered last, unless that is too long ago. */
function shared<T>(work: () => Promise<T>, milliseconds: number): () => Promise<T> {
  let last: { begunAt: number; answer: Promise<T> } | undefined;
  return function answer() {
    const time = performance.now();
    if (last === undefined || time - last.begunAt > milliseconds) last = { begunAt: time, answer: work() };
    return last.answer;
  };
}
