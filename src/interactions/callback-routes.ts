import Router from '@koa/router';
import { callbackPath } from '../identity-providers/code-flows.ts';
import type { UpstreamSignIn } from '../identity-providers/upstream-sign-in.ts';

/**
 * Where identity providers send people back to: one URL for each of them, whatever was begun there. What goes on with the answer lies
 * where the browser's cookie is sent, so nothing but the way is known here.
 */
export function callbackRoutes({ upstream }: { upstream: Pick<UpstreamSignIn, 'pathFor'> }): Router {
  const router = new Router();

  router.get(callbackPath(':identityProvider'), async function leadBack(ctx) {
    const path = await upstream.pathFor(String(ctx.params.identityProvider), ctx.query.state);
    ctx.set('Cache-Control', 'no-store');
    ctx.status = 303;
    ctx.redirect(`${path}?${ctx.querystring}`);
  });

  return router;
}
