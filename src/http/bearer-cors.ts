import type Koa from 'koa';

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
