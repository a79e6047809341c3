import Router from '@koa/router';
import type { Clients } from '../clients/clients.ts';
import { AppError } from '../errors.ts';
import { basicCredentials, tokenOf } from '../http/authorization.ts';
import { refuseCredential } from '../http/credential-errors.ts';
import { form } from '../http/form.ts';
import type { Form } from './form-request-routes.ts';
import { ROUTES } from './protocol.ts';

/** What many clients send and the engine does not read, put as it reads it. */
export function spellingRoutes({ issuer, clients }: { issuer: string; clients: Pick<Clients, 'findActive'> }): Router {
  const router = new Router();
  const readForm = form();
  const { token, revocation, introspection, userinfo, pushed_authorization_request: par } = ROUTES;

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

  /** `Token` is `Bearer`, here as elsewhere; whatever else is sent, or nothing, is no credential. */
  router.all(userinfo, async function readCredential(ctx, next) {
    const token = tokenOf(ctx.req);
    const error = new AppError('invalid_token', 'the token is missing or malformed');
    if (token !== undefined) ctx.req.headers.authorization = `Bearer ${token}`;
    else if (ctx.req.headers.authorization !== undefined) return refuseCredential(ctx, { error, issuer });
    await next();
    const challenge = ctx.response.get('WWW-Authenticate');
    if (!challenge) return;
    // Where nothing was sent, it names no error (RFC 6750 §3.1).
    if (!challenge.includes('error=')) return refuseCredential(ctx, { error, issuer });
    ctx.set('WWW-Authenticate', `${challenge}, Token realm="${issuer}"`);
  });

  return router;
}
