/**
 * Where Redis is, read from STORE_URL. `URL` cannot parse several hosts, and Sentinel and Cluster have no registered scheme.
 */

export interface Host {
  host: string;
  port: number;
}

interface Credentials {
  username?: string;
  password?: string;
}

export type RedisAddress =
  | { kind: 'single'; url: string; hosts: string }
  | ({ kind: 'sentinel'; nodes: Host[]; master: string; hosts: string } & Credentials)
  | ({ kind: 'cluster'; nodes: Host[]; hosts: string } & Credentials);

const SEVERAL =
  /^redis\+(?<kind>sentinel|cluster):\/\/(?:(?<credentials>[^@]*)@)?(?<hosts>[^/?#@]+)(?:\/(?<master>[^/?#]*))?$/;
const DEFAULT_PORT = { sentinel: 26379, cluster: 6379 };

/**
 * `hosts` is for messages: it never holds the password.
 * @throws {Error} naming STORE_URL, without its value.
 */
export function parseRedisAddress(url: string): RedisAddress {
  if (/^rediss?:/.test(url)) return single(url);
  const { kind, credentials, hosts, master } = SEVERAL.exec(url)?.groups ?? {};
  if (!hosts)
    throw new Error(`STORE_URL must look like redis+sentinel://host1,host2/<master> or redis+cluster://host1,host2`);
  if (kind === 'cluster')
    return { kind, hosts, nodes: nodesOf(hosts, DEFAULT_PORT.cluster), ...credentialsOf(credentials) };
  if (!master) throw new Error('STORE_URL must name the master: redis+sentinel://host1,host2/<master>');
  const nodes = nodesOf(hosts, DEFAULT_PORT.sentinel);
  return { kind: 'sentinel', hosts, nodes, master: decodeURIComponent(master), ...credentialsOf(credentials) };
}

function single(url: string): RedisAddress {
  const parsed = URL.parse(url);
  if (!parsed?.hostname) throw new Error('STORE_URL must look like redis://host:port');
  return { kind: 'single', url, hosts: parsed.host };
}

function nodesOf(hosts: string, defaultPort: number): Host[] {
  return hosts.split(',').map((text) => {
    const { name, bracketed, port } =
      /^(?:\[(?<bracketed>[^\]]+)\]|(?<name>[^:]+))(?::(?<port>\d+))?$/.exec(text)?.groups ?? {};
    const host = bracketed ?? name;
    if (!host) throw new Error(`STORE_URL names a host that is none: ${text}`);
    return { host, port: port === undefined ? defaultPort : Number(port) };
  });
}

function credentialsOf(text: string | undefined): Credentials {
  if (!text) return {};
  const [username = '', password = ''] = text.split(':').map(decodeURIComponent);
  return { ...(username && { username }), ...(password && { password }) };
}
