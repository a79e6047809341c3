import Router from '@koa/router';
import type { Clients } from '../clients/clients.ts';
import { AppError } from '../errors.ts';
import { basicCredentials, tokenOf } from '../http/authorization.ts';
import { form } from '../http/form.ts';
import type { Form } from './form-request-routes.ts';
import { ROUTES } from './provider.ts';

/** What many clients send and the engine does not read, put as it reads it. */
export function spellingRoutes({ clients }: { clients: Pick<Clients, 'findActive'> }): Router {
  const router = new Router();
  const readForm = form();
  const { token, revocation, introspection, pushed_authorization_request: par } = ROUTES;

  /** An empty secret is none: an app without one that names itself in the header names itself in the form. */
  router.post([token, revocation, introspection, par], async function dropEmptySecret(ctx, next) {
    const [id, secret] = basicCredentials(ctx.req);
    if (secret !== '' || !id || !ctx.is('application/x-www-form-urlencoded')) return next();
    if (!(await clients.findActive(id))?.public) return next();
    await readForm(ctx, async () => {});
    const sent = ctx.request.body as Form;
    if (sent.client_id !== undefined && sent.client_id !== id) {
      throw new AppError('invalid_request', 'client_id is not the one of the Authorization header', {
        field: 'client_id',
      });
    }
    delete ctx.req.headers.authorization;
    ctx.request.body = { ...sent, client_id: id };
    await next();
  });

  /** `Token` is `Bearer`, here as elsewhere. */
  router.all(ROUTES.userinfo, async function readTokenScheme(ctx, next) {
    const sent = /^token /i.test(ctx.get('Authorization')) ? tokenOf(ctx.req) : undefined;
    if (sent !== undefined) ctx.req.headers.authorization = `Bearer ${sent}`;
    await next();
  });

  return router;
}
