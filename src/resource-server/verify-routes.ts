/**
 * `/verify`: what a reverse proxy asks before it lets a request through (nginx `auth_request`, Traefik and Caddy `forward_auth`,
 * Envoy `ext_authz`). Answers 200 with who it is, or 401 or 403; nothing of the request is ever echoed.
 *
 * Proxies put the headers of the answer over those of the caller, and only those: so every one is always there, if empty. And they
 * hold the head of an answer in a buffer, 4 kB in nginx unless told otherwise.
 */
import Router from '@koa/router';
import type Koa from 'koa';
import type { Verified, Verifier } from '../credentials/verify.ts';
import { AppError } from '../errors.ts';
import { tokenOf } from '../http/authorization.ts';
import { refuseCredential } from '../http/credential-errors.ts';

export interface VerifyRoutesOptions {
  issuer: string;
  verifier: Verifier;
  /** A JWT of at most a minute that says the same to services behind the proxy. */
  signIdentity: (verified: Verified, audience: string) => Promise<string>;
}

/** Characters of scope that are said; of a longer one only what was demanded. Forty of the longest permissions take 2,600. */
const LONGEST_SCOPE = 6_000;
/** The same inside the signed token, which stands beside it and is a third longer than what it says. */
const LONGEST_SIGNED_SCOPE = 1_000;

/** For browsers, which never see these answers. */
const BROWSER_HEADERS = [
  'Content-Security-Policy',
  'Cross-Origin-Resource-Policy',
  'Referrer-Policy',
  'X-Frame-Options',
];

export function verifyRoutes({ issuer, verifier, signIdentity }: VerifyRoutesOptions): Router {
  const router = new Router();

  // Envoy asks with the method and below the path of the request it holds.
  router.all(['/verify', '/verify/*path'], async function verify(ctx) {
    answerWithoutBody(ctx);
    try {
      const verified = await verifier.verify(tokenOf(ctx.req), { address: ctx.ip, userAgent: ctx.get('User-Agent') });
      const demanded = scopesOf(ctx.query.scope);
      demand(verified, demanded);
      const { audience } = ctx.query;
      const signed = { ...verified, scope: scopeWithin(LONGEST_SIGNED_SCOPE, verified, demanded) };
      const token = typeof audience === 'string' ? await signIdentity(signed, audience) : '';
      const said = { ...verified, scope: scopeWithin(LONGEST_SCOPE, verified, demanded) };
      for (const name of BROWSER_HEADERS) ctx.remove(name);
      ctx.status = 200;
      ctx.set('Cache-Control', 'no-store');
      ctx.set({ ...identityHeaders(said), 'X-Auth-Token': token });
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

/** All of a scope of reasonable length. Of a longer one what was demanded: nothing is said that the credential may not do. */
function scopeWithin(longest: number, { scope }: Verified, demanded: readonly string[]): string[] {
  return scope.join(' ').length <= longest ? scope : [...new Set(demanded)];
}

function identityHeaders({ account, client, scope }: Verified): Record<string, string> {
  const identity = {
    'X-Auth-Subject': account?.id ?? client?.id,
    'X-Auth-Email': account?.email,
    'X-Auth-Scope': scope.join(' '),
    'X-Auth-Client-Id': client?.id,
    'X-Auth-Organization': account?.organizationId ?? client?.organizationId,
  };
  return Object.fromEntries(Object.entries(identity).map(([name, value = '']) => [name, toHeader(value)]));
}

/** UTF-8, byte by byte: a header takes no character beyond a byte. */
function toHeader(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}
