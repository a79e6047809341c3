import type Koa from 'koa';
import { AppError } from '../errors.ts';

const PREFLIGHT = {
  'Access-Control-Allow-Methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
  'Access-Control-Allow-Headers': 'Authorization, Content-Type, If-Match, Idempotency-Key',
  'Access-Control-Max-Age': '3600',
};

/**
 * Lets the scripts of any page call what is below a path (WHATWG Fetch §3.2): with a credential that they hold, since a browser shows
 * nobody an answer for `*` to a request that it sent cookies with.
 */
export function bearerCors({ below }: { below: string }): Koa.Middleware {
  return async function allowScripts(ctx, next) {
    if (!ctx.path.startsWith(below)) return next();
    ctx.set('Access-Control-Allow-Origin', '*');
    if (ctx.method === 'OPTIONS' && ctx.get('Access-Control-Request-Method')) {
      ctx.set(PREFLIGHT);
      ctx.status = 204;
      return;
    }
    ctx.set('Access-Control-Expose-Headers', 'WWW-Authenticate, Retry-After, ETag, Location');
    await next();
  };
}

/**
 * Where the protocol engine says which pages may read an answer: that one has to wait, any page may, since whose it is may be what
 * could not be found out.
 */
export function troubleCors({ at }: { at: ReadonlySet<string> }): Koa.Middleware {
  function allow(ctx: Koa.Context): void {
    ctx.set('Access-Control-Allow-Origin', '*');
    ctx.set('Access-Control-Expose-Headers', 'WWW-Authenticate, Retry-After');
  }

  return async function allowScriptsToWait(ctx, next) {
    if (!at.has(ctx.path)) return next();
    try {
      await next();
    } catch (error) {
      if (error instanceof AppError && isToWait(error.status)) allow(ctx);
      throw error;
    }
    if (isToWait(ctx.status)) allow(ctx);
  };
}

const isToWait = (status: number) => status === 429 || status === 503;
