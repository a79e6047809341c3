import Router from '@koa/router';
import { AppError } from '../errors.ts';
import { form } from '../http/form.ts';
import { ROUTES } from './provider.ts';

/**
 * Requests that an app makes a browser send as a form (OIDC Core §3.1.2.1, RP-Initiated Logout §2). They go on by GET: our
 * cookies are SameSite=Lax and would not come with a form of another site.
 */
export function formRequestRoutes(): Router {
  const router = new Router();

  router.post([ROUTES.authorization, ROUTES.end_session], form(), function goOnByGet(ctx) {
    if (ctx.querystring) throw new AppError('invalid_request', 'send all parameters in the form, or all in the URL');
    const query = new URLSearchParams();
    for (const [name, sent] of Object.entries(ctx.request.body as Record<string, string | string[]>)) {
      for (const value of [sent].flat()) query.append(name, value);
    }
    ctx.status = 303;
    ctx.set('Cache-Control', 'no-store');
    ctx.redirect(`${ctx.path}?${query}`);
  });

  return router;
}
