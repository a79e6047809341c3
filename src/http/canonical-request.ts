import type Koa from 'koa';
import proxyaddr from 'proxy-addr';

/**
 * Makes every later middleware see the request as sent to the issuer: host and scheme come from the issuer, never from `Host` or
 * forwarded headers, and `ctx.ip` is the nearest address that is not a trusted proxy's.
 *
 * @param trustedProxies CIDRs; a forwarded address is believed only as far as it was added by one of them.
 */
export function canonicalRequest({
  issuer,
  trustedProxies,
}: {
  issuer: string;
  trustedProxies: readonly string[];
}): Koa.Middleware {
  const { host, protocol } = new URL(issuer);
  const trust = proxyaddr.compile([...trustedProxies]);

  return async function canonical(ctx, next) {
    const { headers } = ctx.req;
    const address = proxyaddr(ctx.req, trust);
    delete headers['x-forwarded-host'];
    delete headers.forwarded;
    headers.host = host;
    headers['x-forwarded-proto'] = protocol.slice(0, -1);
    headers['x-forwarded-for'] = address;
    await next();
  };
}
