/** STORE_URL → engine. The one place that knows which engines there are; the one not chosen is not even loaded. */
import { fileURLToPath } from 'node:url';
import type { Storage } from './storage.ts';

export interface OpenOptions {
  /** Whole seconds since 1970, by this machine's clock. */
  now: () => number;
  /** Hears what an operator should know although the store is used. */
  warn?: (message: string) => void;
  /** Whether a Redis that may forget what it has acknowledged will do; by default it does not. */
  mayLoseWrites?: boolean;
}

/**
 * @param storeUrl `file:<directory>`, `redis://host`, `redis+sentinel://host1,host2/<master>` or `redis+cluster://host1,host2`; `rediss` for TLS.
 * @throws {AppError} `temporarily_unavailable` when Redis does not answer within two seconds.
 * @throws {Error} with one line for the operator when the store may not or cannot be used.
 */
export async function openStorage(
  storeUrl: string,
  { now, warn = () => undefined, mayLoseWrites = false }: OpenOptions,
): Promise<Storage> {
  const directory = directoryOf(storeUrl);
  if (directory) {
    const { createEmbeddedStorage } = await import('./embedded/embedded.ts');
    return createEmbeddedStorage({ directory, now, warn });
  }
  if (/^rediss?(\+sentinel|\+cluster)?:\/\//.test(storeUrl)) {
    const { createRedisStorage } = await import('./redis/redis.ts');
    return createRedisStorage({ url: storeUrl, now, warn, mayLoseWrites });
  }
  throw new Error(
    'STORE_URL must be file:<directory>, redis://host, redis+sentinel://host1,host2/<master> or redis+cluster://host1,host2, the last three with rediss for TLS',
  );
}

/** The directory of the embedded store, relative paths allowed; undefined when the URL names another engine. */
export function directoryOf(storeUrl: string): string | undefined {
  if (storeUrl.startsWith('file://')) return fileURLToPath(storeUrl);
  return /^file:(?<directory>.+)$/s.exec(storeUrl)?.groups?.directory;
}
