/**
 * Outgoing requests to URLs that an app or an administrator chose. Owns which addresses may be reached, and that no answer
 * takes long or is large, whoever gives it. Knows nothing of what is asked for. Neither cookies nor proxies are used and no
 * redirect is followed.
 */
import type { LookupAddress } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { LRUCache } from 'lru-cache';
import type { buildConnector, Dispatcher } from 'undici';
import { createNameResolver, type ResolveName } from './name-resolver.ts';
import { addressList, contains, isPublicAddress } from './public-address.ts';

/** `fetch`, as far as these requests need it. The body of the answer is there already. @throws {OutboundError} */
export type Outbound = (url: string | URL, init?: OutboundInit) => Promise<Response>;
export type OutboundInit = Pick<RequestInit, 'method' | 'headers' | 'body' | 'signal'>;

export interface OutboundOptions {
  /** Addresses and CIDRs that may be reached although they are not public, and over plain http as well. */
  allow: readonly string[];
  /** Seconds from looking up the name to the last byte of the answer. */
  timeout?: number;
  /** The largest body taken, in bytes after decompression. */
  maxBytes?: number;
  /** What finds the addresses of a host name. Shared, it also shares what it remembers. */
  resolve?: ResolveName;
  /** Hears of a host that may not be reached; once a minute for each. */
  warn?: (message: string) => void;
}

export type OutboundFailure = 'forbidden' | 'timeout' | 'too_large' | 'unreachable';

/** Why there is no answer. For the log only: no caller is told what a network holds. */
export class OutboundError extends Error {
  readonly reason: OutboundFailure;

  constructor(reason: OutboundFailure, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'OutboundError';
    this.reason = reason;
  }
}

/** What one host may take up. When its connections have been idle for a while, nothing is kept of it. */
const CONNECTIONS_PER_HOST = 16;
const IDLE_MS = 4_000;

/** Bytes. What identity providers say of a person may have their picture in it. */
const LONGEST_ANSWER = 512 * 1024;

export function createOutbound(options: OutboundOptions): Outbound {
  const { timeout = 3, maxBytes = LONGEST_ANSWER, warn = () => undefined } = options;
  const warned = new LRUCache<string, true>({ max: 100, ttl: 60_000 });
  let dispatcher: Promise<Dispatcher> | undefined;

  /** Whoever chose the host is told no more than that it cannot be reached, so the operator must be. */
  function warnOnce(host: string, message: string): void {
    if (warned.has(host)) return;
    warned.set(host, true);
    warn(message);
  }

  async function answerOf(url: URL, init: OutboundInit, signal: AbortSignal): Promise<Response> {
    // Loaded when first needed: 14 MB that a server without outgoing requests does without.
    const { fetch } = await import('undici');
    dispatcher ??= createDispatcher({ timeout, ...options });
    const headers = new Headers(init.headers);
    if (!headers.has('user-agent')) headers.set('user-agent', 'Latchkey');
    const { method = 'GET', body = null } = init;
    const answer = await fetch(url, {
      method,
      headers: [...headers],
      // Node's own body types, which undici's declarations repeat with other names.
      body: body as string | null,
      redirect: 'manual',
      signal,
      dispatcher: await dispatcher,
    });
    const { status, statusText } = answer;
    const bytes = answer.body && (await readUpTo(maxBytes, answer.body));
    return new Response(bytes, { status, statusText, headers: [...answer.headers] });
  }

  return async function outbound(target, init = {}) {
    const url = webUrl(target);
    const deadline = AbortSignal.timeout(timeout * 1000);
    try {
      return await answerOf(url, init, init.signal ? AbortSignal.any([init.signal, deadline]) : deadline);
    } catch (error) {
      init.signal?.throwIfAborted();
      if (deadline.aborted) throw new OutboundError('timeout', `${url.host} took longer than ${timeout} s`, error);
      const refused = refusalIn(error);
      if (refused?.reason === 'forbidden') warnOnce(url.host, refused.message);
      throw refused ?? new OutboundError('unreachable', `${url.host} could not be reached`, error);
    }
  };
}

/** @throws {OutboundError} `forbidden` for what is not a URL of the web, or carries a password. */
function webUrl(target: string | URL): URL {
  const url = URL.parse(String(target));
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.password) {
    throw new OutboundError('forbidden', 'only http and https URLs without a password are requested');
  }
  return url;
}

async function createDispatcher(options: OutboundOptions & { timeout: number }): Promise<Dispatcher> {
  const { resolve = createNameResolver() } = options;
  const { Agent, buildConnector } = await import('undici');
  const allowed = addressList(options.allow);
  const isAllowed: MayReach = (address) => contains(allowed, address);
  const settings = { timeout: options.timeout * 1000, allowH2: false, autoSelectFamily: true };
  const connectorFor = (mayReach: MayReach) =>
    refuseAddresses(mayReach, buildConnector({ ...settings, lookup: permitted(mayReach, resolve) }));

  const plain = connectorFor(isAllowed);
  const secure = connectorFor((address) => isAllowed(address) || isPublicAddress(address));
  return new Agent({
    connect: (target, callback) => (target.protocol === 'https:' ? secure : plain)(target, callback),
    connections: CONNECTIONS_PER_HOST,
    keepAliveTimeout: IDLE_MS,
    keepAliveMaxTimeout: IDLE_MS,
    allowH2: false,
  });
}

type MayReach = (address: string) => boolean;

/** An address in place of a name is never looked up, so it is judged before connecting. */
function refuseAddresses(mayReach: MayReach, connect: buildConnector.connector): buildConnector.connector {
  return (target, callback) => {
    const host = target.hostname.replace(/^\[|\]$/g, '');
    if (isIP(host) !== 0 && !mayReach(host)) return callback(refusal(host), null);
    connect(target, callback);
  };
}

/** Looks a name up once; what is judged here is what is connected to. */
function permitted(mayReach: MayReach, resolve: ResolveName): LookupFunction {
  return (hostname, _options, callback) => {
    resolve(hostname).then(
      (addresses) => {
        const reachable = addresses.filter(({ address }) => mayReach(address));
        callback(reachable.length > 0 ? null : refusal(hostname, addresses), reachable);
      },
      (error: NodeJS.ErrnoException) => callback(error, []),
    );
  };
}

function refusal(host: string, addresses: readonly LookupAddress[] = []): OutboundError {
  const at = addresses.length === 0 ? '' : ` (${addresses.map(({ address }) => address).join(', ')})`;
  const message = `${host}${at} is not a public address reached over https, nor one that OUTBOUND_ALLOW names`;
  return new OutboundError('forbidden', message);
}

/** The connection's failure lies below the request's. */
function refusalIn(error: unknown): OutboundError | undefined {
  if (error instanceof OutboundError) return error;
  return error instanceof Error ? refusalIn(error.cause) : undefined;
}

/** @throws {OutboundError} `too_large`; leaving the loop closes the connection. */
async function readUpTo(maxBytes: number, body: AsyncIterable<Uint8Array>): Promise<Buffer<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new OutboundError('too_large', `the answer is larger than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
