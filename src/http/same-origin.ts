import type Koa from 'koa';
import { AppError } from '../errors.ts';

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

export interface SameOriginOptions {
  issuer: string;
  /** Whether the form or its path carries what only somebody knows who has seen its page. */
  provenByForm?: boolean;
  /** Whether that goes for this request too when it comes from a page without an origin, which may be a frame of another site. */
  provenWithoutOrigin?: (ctx: Koa.Context) => Promise<boolean>;
}

/**
 * Refuses state-changing requests that another site's page made this browser send. Browsers say where a request comes from in
 * `Sec-Fetch-Site` (W3C Fetch Metadata §2.2), older ones in `Origin` and `Referer`. An `Origin` of `null` says nothing: it stands for
 * our own pages as well, where something on the way takes `Referrer-Policy` to heart. What says nothing of where it comes from passes
 * only where the form itself proves that its page was seen, which its routes look at.
 */
export function sameOrigin(options: SameOriginOptions): Koa.Middleware {
  return async function refuseOtherOrigins(ctx, next) {
    if (!SAFE_METHODS.has(ctx.method) && !(await comesFromUs(ctx, options))) {
      throw new AppError('access_denied', 'this form was not sent from one of our own pages', { field: 'origin' });
    }
    await next();
  };
}

/** Whether the browser, or something on the way, says nothing of where the request comes from. */
export function hidesOrigin(ctx: Koa.Context): boolean {
  return !ctx.get('Sec-Fetch-Site') && ['', 'null'].includes(ctx.get('Origin')) && !ctx.get('Referer');
}

async function comesFromUs(
  ctx: Koa.Context,
  { issuer, provenByForm = false, provenWithoutOrigin = async () => true }: SameOriginOptions,
): Promise<boolean> {
  const origin = ctx.get('Origin');
  if (hidesOrigin(ctx)) return provenByForm && (origin === '' || (await provenWithoutOrigin(ctx)));
  const site = ctx.get('Sec-Fetch-Site');
  if (site) return site === 'same-origin' || site === 'none';
  if (origin && origin !== 'null') return origin === issuer;
  return URL.parse(ctx.get('Referer'))?.origin === issuer;
}
