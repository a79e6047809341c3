/**
 * `/verify`: what a reverse proxy asks before it lets a request through (nginx `auth_request`, Traefik and Caddy `forward_auth`,
 * Envoy `ext_authz`). Answers 200 with who it is, or 401 or 403; nothing of the request is ever echoed.
 */
import Router from '@koa/router';
import type Koa from 'koa';
import type { Verified, Verifier } from '../credentials/verify.ts';
import { AppError } from '../errors.ts';
import { tokenOf } from '../http/authorization.ts';
import { refuseCredential } from '../http/refusal.ts';

export interface VerifyRoutesOptions {
  issuer: string;
  verifier: Verifier;
  /** A JWT of at most a minute that says the same to services behind the proxy. */
  signIdentity: (verified: Verified, audience: string) => Promise<string>;
}

export function verifyRoutes({ issuer, verifier, signIdentity }: VerifyRoutesOptions): Router {
  const router = new Router();

  // Envoy asks with the method and below the path of the request it holds.
  router.all(['/verify', '/verify/*path'], async function verify(ctx) {
    answerWithoutBody(ctx);
    try {
      const verified = await verifier.verify(tokenOf(ctx.req), { address: ctx.ip, userAgent: ctx.get('User-Agent') });
      demand(verified, scopesOf(ctx.query.scope));
      ctx.status = 200;
      ctx.set('Cache-Control', 'no-store');
      ctx.set(identityHeaders(verified));
      const { audience } = ctx.query;
      if (typeof audience === 'string') ctx.set('X-Auth-Token', await signIdentity(verified, audience));
      ctx.body = '';
    } catch (error) {
      refuseCredential(ctx, { error, issuer });
    }
  });

  return router;
}

/** Proxies announce the length of a body that they keep: waiting for it would hang, so the connection ends with the answer. */
function answerWithoutBody(ctx: Koa.Context): void {
  const { 'content-length': length, 'transfer-encoding': encoding } = ctx.req.headers;
  if (encoding !== undefined || (length !== undefined && length !== '0')) ctx.set('Connection', 'close');
}

/** `?scope=a+b`, repeated or not: all of them are demanded. */
function scopesOf(scope: string | string[] | undefined): string[] {
  return [scope ?? []]
    .flat()
    .flatMap((text) => text.split(' '))
    .filter((name) => name !== '');
}

/** @throws {AppError} `insufficient_scope` */
function demand({ scope }: Verified, demanded: readonly string[]): void {
  const missing = demanded.filter((name) => !scope.includes(name));
  if (missing.length > 0) throw new AppError('insufficient_scope', 'the token lacks a demanded scope');
}

/** Everything in them is plain ASCII by the schemas of what they come from. */
function identityHeaders({ account, client, scope }: Verified): Record<string, string> {
  const optional = {
    'X-Auth-Email': account?.email,
    'X-Auth-Client-Id': client?.id,
    'X-Auth-Organization': account?.organizationId ?? client?.organizationId,
  };
  return {
    'X-Auth-Subject': account?.id ?? client?.id ?? '',
    'X-Auth-Scope': scope.join(' '),
    ...Object.fromEntries(
      Object.entries(optional).filter((entry): entry is [string, string] => entry[1] !== undefined),
    ),
  };
}
