import Router from '@koa/router';
import { AppError } from '../errors.ts';
import type { Storage } from '../storage/storage.ts';

/**
 * For whoever restarts or balances processes: live while the process answers, ready while its store takes writes and it is not
 * about to stop.
 */
export function healthRoutes({ storage, isStopping }: { storage: Storage; isStopping: () => boolean }): Router {
  const router = new Router({ prefix: '/health' });

  router.get('/live', function live(ctx) {
    ctx.set('Cache-Control', 'no-store');
    ctx.body = { status: 'live' };
  });

  router.get('/ready', async function ready(ctx) {
    if (isStopping()) throw new AppError('temporarily_unavailable', 'this process is about to stop', { retryAfter: 2 });
    await storage.ping().catch((cause) => {
      throw new AppError('temporarily_unavailable', 'the store is out of reach', { cause, retryAfter: 2 });
    });
    ctx.set('Cache-Control', 'no-store');
    ctx.body = { status: 'ready' };
  });

  return router;
}
