/**
 * The addresses of host names, without the system's `getaddrinfo`: that holds one of the process's few threads until a name server
 * answers, so that some names nobody answers for would stop all other look-ups, files and passwords. Looks into the hosts file and
 * then asks the name servers of the system (c-ares), with its search domains. Knows nothing of which addresses may be reached.
 */
import type { LookupAddress } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';

/** All addresses of a host name, in the order in which they are tried. Rejects when there are none, within the time allowed. */
export type ResolveName = (hostname: string) => Promise<LookupAddress[]>;

export interface NameResolverOptions {
  hostsFile?: string;
  /** Where search domains are, and how many dots make a name one that is asked for as it stands first (resolv.conf(5)). */
  resolvConf?: string;
  /** Name servers in place of the system's, such as `192.0.2.1:53`. */
  servers?: readonly string[];
  /** Seconds for one name, however many servers and domains there are. */
  timeout?: number;
}

/** Of the time allowed: a server that does not answer the first packet is asked again, with twice the patience. */
const FIRST_TRY = 1 / 3;
/** Once there are addresses of one family, those of the other are waited for so many milliseconds (RFC 8305 §3). */
const OTHER_FAMILY_MS = 50;
/** A name without addresses is not asked for again for so many milliseconds, nor are more than so many such names remembered. */
const FAILURE_MS = 5_000;
const FAILURES = 1_000;
/** Trying all that a name server says would take for ever. */
const ADDRESSES = 16;
const SEARCH_DOMAINS = 6;

export function createNameResolver({
  hostsFile = '/etc/hosts',
  resolvConf = '/etc/resolv.conf',
  servers,
  timeout = 2,
}: NameResolverOptions = {}): ResolveName {
  const hosts = readWhenChanged(hostsFile, parseHosts);
  const search = readWhenChanged(resolvConf, parseSearch);
  const failures = new LRUCache<string, Error>({ max: FAILURES, ttl: FAILURE_MS });
  /** A name takes up one place, however many want it at a time. */
  const underWay = new Map<string, Promise<LookupAddress[]>>();

  async function ask(name: string): Promise<LookupAddress[]> {
    const milliseconds = timeout * 1000;
    const resolver = new Resolver({ timeout: Math.ceil(milliseconds * FIRST_TRY), tries: 2 });
    if (servers) resolver.setServers(servers);
    const deadline = setTimeout(() => resolver.cancel(), milliseconds);
    try {
      return await firstFound(namesToAsk(name, await search()), (asked) => addressesOf(resolver, asked));
    } finally {
      clearTimeout(deadline);
      resolver.cancel();
    }
  }

  async function find(name: string): Promise<LookupAddress[]> {
    const bare = name.replace(/\.$/, '');
    const listed = (await hosts()).get(bare);
    if (listed) return listed;
    if (bare === 'localhost' || bare.endsWith('.localhost')) return LOOPBACK;
    const failure = failures.get(name);
    if (failure) throw failure;
    return ask(name).catch((cause: NodeJS.ErrnoException) => {
      const reason = cause.code === 'ECANCELLED' ? 'no name server answered in time' : cause.message;
      const error = new Error(`${bare} has no address: ${reason}`, { cause });
      failures.set(name, error);
      throw error;
    });
  }

  return function resolveName(hostname) {
    const family = isIP(hostname);
    if (family !== 0) return Promise.resolve([{ address: hostname, family }]);
    const name = hostname.toLowerCase();
    const found = underWay.get(name) ?? find(name).finally(() => underWay.delete(name));
    underWay.set(name, found);
    return found;
  };
}

/** RFC 6761 §6.3 */
const LOOPBACK: LookupAddress[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
];

/** IPv4 first: where a network has both, whoever connects tries them in turn; where one is broken, it is mostly the other. */
async function addressesOf(resolver: Resolver, name: string): Promise<LookupAddress[]> {
  const found: LookupAddress[][] = [[], []];
  const both = ([4, 6] as const).map(async (family, place) => {
    const addresses = await (family === 4 ? resolver.resolve4(name) : resolver.resolve6(name));
    found[place] = addresses.slice(0, ADDRESSES).map((address) => ({ address, family }));
  });
  await Promise.any(both).catch(({ errors: [first] }: AggregateError) => {
    throw first;
  });
  await Promise.race([Promise.allSettled(both), sleep(OTHER_FAMILY_MS)]);
  return found.flat();
}

async function firstFound<T>(names: readonly string[], find: (name: string) => Promise<T>): Promise<T> {
  let failure: unknown;
  for (const name of names) {
    try {
      return await find(name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ECANCELLED') throw error;
      failure = error;
    }
  }
  throw failure;
}

interface Search {
  domains: string[];
  dots: number;
}

/** As the system does it: a name with few dots may be one of ours, any other is asked for as it stands first. */
function namesToAsk(name: string, { domains, dots }: Search): string[] {
  if (name.endsWith('.')) return [name];
  const below = domains.map((domain) => `${name}.${domain}`);
  return name.split('.').length > dots ? [name, ...below] : [...below, name];
}

function parseSearch(text: string): Search {
  const found: Search = { domains: [], dots: 1 };
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line.trim().split(/\s+/);
    // The last of them counts (resolv.conf(5)).
    if (keyword === 'search' || keyword === 'domain')
      found.domains = values.map((domain) => domain.replace(/^\.|\.$/g, '')).filter(Boolean);
    if (keyword === 'options') found.dots = Number(/\bndots:(\d+)/.exec(line)?.[1] ?? found.dots);
  }
  return { ...found, domains: found.domains.slice(0, SEARCH_DOMAINS) };
}

function parseHosts(text: string): Map<string, LookupAddress[]> {
  const found = new Map<string, LookupAddress[]>();
  for (const line of text.split('\n')) {
    const [address = '', ...names] = (line.split('#', 1)[0] ?? '').trim().split(/\s+/);
    const family = isIP(address);
    if (family === 0) continue;
    for (const name of names) {
      const key = name.toLowerCase();
      found.set(key, [...(found.get(key) ?? []), { address, family }]);
    }
  }
  return found;
}

/** A file that is not there is an empty one. */
function readWhenChanged<T>(path: string, parse: (text: string) => T): () => Promise<T> {
  let known: { at: number; parsed: T } | undefined;

  return async () => {
    const at = await stat(path).then(
      ({ mtimeMs }) => mtimeMs,
      () => 0,
    );
    if (known?.at !== at) known = { at, parsed: parse(at === 0 ? '' : await readFile(path, 'utf8')) };
    return known.parsed;
  };
}
