import type Koa from 'koa';
import proxyaddr from 'proxy-addr';
import { AppError } from '../errors.ts';
import { isRepeated } from './repeated-header.ts';

/**
 * Makes every later middleware see the request as sent to the issuer: nothing of it names us. Host and scheme come from the issuer,
 * never from the request's target, `Host` or forwarded headers, and `ctx.ip` is the nearest address that is not a trusted proxy's.
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
    // Of two, whoever is before us may have looked at the other one.
    const isClear = !isRepeated(ctx.req, 'host') && HOST.test(headers.host ?? '');
    delete headers['x-forwarded-host'];
    delete headers.forwarded;
    headers.host = host;
    headers['x-forwarded-proto'] = protocol.slice(0, -1);
    headers['x-forwarded-for'] = address;
    if (!isClear) {
      throw new AppError('invalid_request', 'Host must be one host name, with a port or none', { field: 'Host' });
    }
    const target = originFormOf(ctx.originalUrl);
    ctx.url = target;
    ctx.originalUrl = target;
    ctx.request.originalUrl = target;
    await next();
  };
}

/** A client that speaks to us as to a proxy sends the whole address (RFC 9112 §3.2.2), with no one's name in it. */
const ABSOLUTE_FORM = /^https?:\/\/[^/?#@\\]+(?=[/?]|$)/i;

/**
 * Path and query of a request's target.
 * @throws {AppError} `invalid_request` for what is no address, `not_found` for a path that would lead to another host in a URL.
 */
function originFormOf(target: string): string {
  const path = target.replace(ABSOLUTE_FORM, '');
  if (path === target && !path.startsWith('/')) {
    throw new AppError('invalid_request', 'the target of a request must be a path', { field: 'target' });
  }
  if (/^\/[/\\]/.test(path)) throw new AppError('not_found', 'there is nothing at this address');
  return path.startsWith('/') ? path : `/${path}`;
}

/** A name or an address, and a port; empty where a client has none to send (RFC 9110 §7.2). */
const HOST = /^([\w.~!$&'()*+;=%-]*|\[[\da-f:.]+\])(:\d*)?$/i;
