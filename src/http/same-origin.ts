import type Koa from 'koa';
import { AppError } from '../errors.ts';

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * Refuses state-changing requests that another site's page made this browser send. Browsers say where a request comes from in
 * `Sec-Fetch-Site` (W3C Fetch Metadata §2.2), older ones in `Origin`. Requests that carry neither come from programs, not
 * from pages; they pass only where the form itself proves that its page was seen.
 */
export function sameOrigin({
  issuer,
  provenByForm = false,
}: {
  issuer: string;
  provenByForm?: boolean;
}): Koa.Middleware {
  return async function refuseOtherOrigins(ctx, next) {
    if (!SAFE_METHODS.has(ctx.method) && !comesFromUs(ctx, issuer, provenByForm)) {
      throw new AppError('access_denied', 'this form was not sent from one of our own pages', { field: 'origin' });
    }
    await next();
  };
}

function comesFromUs(ctx: Koa.Context, issuer: string, otherwise: boolean): boolean {
  const site = ctx.get('Sec-Fetch-Site');
  if (site) return site === 'same-origin' || site === 'none';
  const origin = ctx.get('Origin');
  return origin ? origin === issuer : otherwise;
}
