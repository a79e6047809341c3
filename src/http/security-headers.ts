import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIPv4 } from 'node:net';
import helmet from 'helmet';
import type Koa from 'koa';
import { isLoopback } from '../config.ts';

/** They say what a page may do, and a redirect shows none: left off, its address has more room in what a proxy holds of an answer's head. */
const PAGE_HEADERS = ['Content-Security-Policy', 'X-Frame-Options', 'Cross-Origin-Resource-Policy'];

/** Headers every answer carries, whatever its status. Pages may use nothing but our own files and images of the apps they name. */
export function securityHeaders({ issuer }: { issuer: string }): Koa.Middleware {
  const headers = headersOf(
    helmet({
      contentSecurityPolicy: {
        useDefaults: false,
        directives: {
          'default-src': ["'none'"],
          'script-src': ["'self'"],
          'style-src': ["'self'"],
          'img-src': ["'self'", 'https:', 'data:'],
          'connect-src': ["'self'"],
          'form-action': ["'self'"],
          'frame-ancestors': ["'none'"],
          'base-uri': ["'none'"],
          'object-src': ["'none'"],
        },
      },
      // Of no use to any browser that is still in use.
      dnsPrefetchControl: false,
      ieNoOpen: false,
      originAgentCluster: false,
      permittedCrossDomainPolicies: false,
      xssFilter: false,
      frameguard: { action: 'deny' },
      // Of our addresses, which may hold secrets, nobody learns more than the origin. Without that much, browsers send our own forms
      // with `Origin: null`.
      referrerPolicy: { policy: 'strict-origin' },
      strictTransportSecurity: issuer.startsWith('https:') ? { maxAge: 63_072_000 } : false,
      // Discovery, keys and tokens are read by apps on other origins.
      crossOriginResourcePolicy: { policy: 'cross-origin' },
      // A sign-in may be opened in a pop-up, whose opener waits for its answer.
      crossOriginOpenerPolicy: false,
    }),
  );
  return async function setSecurityHeaders(ctx, next) {
    ctx.set(headers);
    await next();
    if (ctx.status >= 300 && ctx.status < 400) for (const name of PAGE_HEADERS) ctx.remove(name);
  };
}

/** They are the same for every answer, so they are made once. */
function headersOf(middleware: ReturnType<typeof helmet>): Record<string, string> {
  const headers: Record<string, string> = {};
  const response = {
    setHeader(name: string, value: string) {
      headers[name] = value;
    },
    removeHeader() {},
  };
  middleware({} as IncomingMessage, response as unknown as ServerResponse, () => {});
  return headers;
}

/**
 * Lets the forms of this page end at an app: browsers apply `form-action` to every redirect after a form, and an app's callback may
 * redirect on to another origin of its own, so anything as safe as the app's URI is allowed.
 */
export function allowFormTarget(ctx: Koa.Context, uri: string): void {
  const policy = ctx.response.get('Content-Security-Policy');
  const url = URL.parse(uri);
  if (!url || !policy) return;
  const targets = targetsLike(url);
  ctx.set(
    'Content-Security-Policy',
    policy.replace(/form-action [^;]*/, (directive) =>
      directive.includes(targets) ? directive : `${directive} ${targets}`,
    ),
  );
}

function targetsLike({ protocol, hostname, origin }: URL): string {
  // The grammar of the policy has no IPv6 addresses (CSP3 §2.3.1 `host-part`).
  if (protocol !== 'http:' || hostname.startsWith('[')) return protocol;
  if (!isLoopback(hostname)) return origin;
  const usual = 'http://localhost:* http://*.localhost:* http://127.0.0.1:*';
  return isIPv4(hostname) && hostname !== '127.0.0.1' ? `${usual} ${origin}` : usual;
}
