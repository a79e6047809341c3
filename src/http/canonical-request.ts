import type { IncomingMessage } from 'node:http';
import type Koa from 'koa';
import type { Logger } from 'pino';
import proxyaddr from 'proxy-addr';
import { AppError } from '../errors.ts';
import { isRepeated } from './repeated-header.ts';

/** What proxies say of whom they speak for. */
const FORWARDED = [
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-real-ip',
  'x-client-ip',
  'cf-connecting-ip',
  'true-client-ip',
  'fastly-client-ip',
  'forwarded',
  'via',
];
/** Peers that are warned of, once each: anybody can send such headers. */
const MOST_NOTED = 20;

/**
 * Makes every later middleware see the request as sent to the issuer: nothing of it names us. Host and scheme come from the issuer,
 * never from the request's target, `Host` or forwarded headers, and `ctx.ip` is the nearest address that is not a trusted proxy's.
 *
 * @param trustedProxies CIDRs; a forwarded address is believed only as far as it was added by one of them.
 */
export function canonicalRequest({
  issuer,
  trustedProxies,
  log,
}: {
  issuer: string;
  trustedProxies: readonly string[];
  log: Logger;
}): Koa.Middleware {
  const { host, protocol } = new URL(issuer);
  const trust = proxyaddr.compile([...trustedProxies]);
  const noted = new Set<string>();

  /** Everybody behind a proxy that is not trusted has its address, which nobody would guess from what they see. */
  function noteUntrusted({ socket, headers }: IncomingMessage): void {
    const peer = socket.remoteAddress;
    const isForwarded = FORWARDED.some((name) => headers[name] !== undefined);
    if (peer === undefined || !isForwarded || noted.has(peer) || noted.size >= MOST_NOTED || trust(peer, 0)) return;
    noted.add(peer);
    log.warn(
      { peer },
      'forwarded headers are not believed, as TRUSTED_PROXIES does not name the address they come from; if that is your proxy, everybody behind it counts as one network until you add it',
    );
  }

  return async function canonical(ctx, next) {
    const { headers } = ctx.req;
    noteUntrusted(ctx.req);
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
