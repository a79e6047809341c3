/**
 * Where Redis is, read from STORE_URL, in one grammar for all forms: `URL` cannot parse several hosts, and Sentinel and Cluster
 * have no registered scheme. Nothing of it is ever repeated in a message, since any part may turn out to be a password.
 */
import { readFileSync } from 'node:fs';

export interface Host {
  host: string;
  port: number;
}

export interface Credentials {
  username?: string;
  password?: string;
}

/** PEM texts; without `ca` the public authorities are trusted. */
export interface Tls {
  ca?: string;
  cert?: string;
  key?: string;
}

export interface RedisAddress extends Credentials {
  kind: 'single' | 'sentinel' | 'cluster';
  nodes: [Host, ...Host[]];
  /** The same for messages. */
  hosts: string;
  /** Number of the database of a single server. */
  db?: number;
  /** What the Sentinels call the master. */
  master?: string;
  /** How the Sentinels know us: as the servers do, unless the parameters say otherwise. */
  sentinel?: Credentials;
  tls?: Tls;
}

const FORM =
  /^redis(?<s>s?)(?:\+(?<kind>sentinel|cluster))?:\/\/(?:(?<credentials>[^/?#]*)@)?(?<hosts>[^/?#@]+)(?:\/(?<path>[^/?#@]*))?(?:\?(?<query>[^#]*))?$/;
const DEFAULT_PORT = { single: 6379, sentinel: 26379, cluster: 6379 };
const FILES = ['ca', 'cert', 'key'] as const;
const OF_SENTINEL = ['sentinel_username', 'sentinel_password'] as const;

/** @throws {Error} naming STORE_URL, without its value. */
export function parseRedisAddress(url: string): RedisAddress {
  const { s, kind: several, credentials, hosts, path = '', query } = FORM.exec(url)?.groups ?? {};
  if (hosts === undefined) throw new Error(`STORE_URL must look like ${LOOKS[kindIn(url)]}${hintFor(url)}`);
  const kind = (several ?? 'single') as RedisAddress['kind'];
  const parameters = parametersOf(query, { kind, isSecure: s === 's' });
  return {
    kind,
    hosts,
    nodes: nodesOf(hosts, kind),
    ...credentialsOf(credentials),
    ...placeOf(path, kind),
    ...(s === 's' && { tls: tlsOf(parameters) }),
    ...(OF_SENTINEL.some((name) => parameters.has(name)) && {
      sentinel: credentialsFrom(parameters.get('sentinel_username'), parameters.get('sentinel_password')),
    }),
  };
}

const LOOKS = {
  single: 'redis://host:port',
  sentinel: 'redis+sentinel://host1,host2/<master>',
  cluster: 'redis+cluster://host1,host2',
};

function kindIn(url: string): RedisAddress['kind'] {
  return url.includes('+sentinel:') ? 'sentinel' : url.includes('+cluster:') ? 'cluster' : 'single';
}

function hintFor(url: string): string {
  return url.includes('@')
    ? '; in its user name and password, / ? and # must be written as %2F %3F and %23'
    : ', with rediss in place of redis for TLS';
}

function nodesOf(hosts: string, kind: RedisAddress['kind']): [Host, ...Host[]] {
  const [first, ...others] = hosts.split(',').map((text) => {
    const { name, bracketed, port } =
      /^(?:\[(?<bracketed>[^\]]+)\]|(?<name>[^:]+))(?::(?<port>\d{1,5}))?$/.exec(text.trim())?.groups ?? {};
    const host = bracketed ?? name;
    if (!host || Number(port ?? 0) > 65535)
      throw new Error('STORE_URL names a host that is none: each must be host or host:port, separated by commas');
    return { host, port: port === undefined ? DEFAULT_PORT[kind] : Number(port) };
  });
  if (!first || (kind === 'single' && others.length > 0))
    throw new Error('STORE_URL names several hosts, which needs redis+sentinel:// or redis+cluster://');
  return [first, ...others];
}

/** What follows the hosts: the master's name, the number of a database, or nothing. */
function placeOf(path: string, kind: RedisAddress['kind']): { master?: string; db?: number } {
  if (kind === 'sentinel') {
    if (!path) throw new Error(`STORE_URL must name the master: ${LOOKS.sentinel}`);
    return { master: decoded(path) };
  }
  if (path === '') return {};
  if (kind === 'cluster') throw new Error('STORE_URL names a database, which a cluster has not');
  if (!/^\d{1,4}$/.test(path)) throw new Error('STORE_URL must end with the number of a database, or without one');
  return { db: Number(path) };
}

function parametersOf(
  query: string | undefined,
  { kind, isSecure }: { kind: RedisAddress['kind']; isSecure: boolean },
): Map<string, string> {
  const known: string[] = [...(isSecure ? FILES : []), ...(kind === 'sentinel' ? OF_SENTINEL : [])];
  const given = (query ?? '').split('&').filter(Boolean);
  return new Map(
    given.map((text) => {
      const [name = '', ...value] = text.split('=');
      if (!known.includes(name)) throw new Error(`STORE_URL has a parameter that is none here; ${whatIsKnown(known)}`);
      return [name, decoded(value.join('='))];
    }),
  );
}

function whatIsKnown(names: readonly string[]): string {
  return names.length === 0 ? 'there are some with rediss:// and with Sentinel only' : `there are ${names.join(', ')}`;
}

function tlsOf(parameters: ReadonlyMap<string, string>): Tls {
  const named = FILES.filter((name) => parameters.has(name));
  if (parameters.has('cert') !== parameters.has('key')) throw new Error('STORE_URL must name both cert and key');
  return Object.fromEntries(named.map((name) => [name, fileOf(name, parameters.get(name) ?? '')]));
}

function fileOf(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new Error(`STORE_URL names a file of ${name} that cannot be read: ${(error as Error).message}`);
  }
}

/** The password is all that follows the first colon. */
function credentialsOf(text: string | undefined): Credentials {
  const [username, ...password] = (text ?? '').split(':');
  return credentialsFrom(decoded(username ?? ''), decoded(password.join(':')));
}

function credentialsFrom(username = '', password = ''): Credentials {
  return { ...(username && { username }), ...(password && { password }) };
}

/** A percent sign that begins no escape stands for itself, as people write it. */
function decoded(text: string): string {
  return text.replace(/(?:%[0-9a-f]{2})+/gi, (escapes) => {
    try {
      return decodeURIComponent(escapes);
    } catch {
      return escapes;
    }
  });
}
