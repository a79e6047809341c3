import Router from '@koa/router';
import { AppError } from '../errors.ts';
import { form } from '../http/form.ts';
import { ROUTES } from './protocol.ts';

/** What is longer does not come back: the head of a request may have 16 kB, cookies included. */
const LONGEST_TARGET = 14_000;

/**
 * Requests that an app makes a browser send as a form (OIDC Core §3.1.2.1, RP-Initiated Logout §2). They go on by GET: our
 * cookies are SameSite=Lax and would not come with a form of another site. What carries a credential is left to who takes it, read:
 * no URL of ours has one.
 */
export function formRequestRoutes(): Router {
  const router = new Router();

  router.post([ROUTES.authorization, ROUTES.end_session], form(), async function goOnByGet(ctx, next) {
    if (ctx.querystring) throw new AppError('invalid_request', 'send all parameters in the form, or all in the URL');
    const query = queryOf(ctx.request.body as Form);
    if (ctx.path === ROUTES.authorization && query.has('sso_token')) return next();
    const target = `${ctx.path}?${query}`;
    if (target.length > LONGEST_TARGET)
      throw new AppError(
        'request_too_large',
        `parameters must not be longer than ${LONGEST_TARGET} bytes together, in a URL`,
      );
    ctx.status = 303;
    ctx.set('Cache-Control', 'no-store');
    ctx.redirect(target);
  });

  return router;
}

/** Values by name; several of a name as a list. */
export type Form = Record<string, string | string[]>;

export function queryOf(form: Form): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, sent] of Object.entries(form)) {
    for (const value of [sent].flat()) query.append(name, value);
  }
  return query;
}
