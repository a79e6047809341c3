/**
 * Which apps have access to an account, and taking it back. Access is what a person has allowed, remembered as a consent, and
 * what the engine has granted from it; apps that are not asked about have grants alone. Knows nothing of what apps are called.
 */
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { elapsed } from '../clock.ts';
import { noSuch } from '../errors.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import type { Consents } from './consents.ts';
import { entriesOf, eraseOfAccount } from './erasing.ts';
import { CONSOLE_CLIENT_ID } from './protocol.ts';
import { accountGroup } from './records.ts';

/** Seconds; a use is written down at most this often. */
const USE_INTERVAL = 60;
/** Seconds for which a use is remembered, longer than any grant lasts. */
const KEPT = 400 * 24 * 60 * 60;

/** What one app may do with an account. */
export interface AppAccess {
  clientId: string;
  scopes: string[];
  /** When it was first allowed, or granted without asking. */
  since: number;
  lastUsedAt?: number;
}

/** What of the engine's records matters here. */
const Given = z.object({ clientId: z.string() });
const Grant = z.object({
  clientId: z.string(),
  iat: z.int(),
  openid: z.object({ scope: z.string().default('') }).default({ scope: '' }),
});

export interface AppsAccess {
  /** Those with access now, last used first. */
  list(accountId: string): Promise<AppAccess[]>;
  /**
   * Forgets what was allowed and erases all that was given: grants, codes, tokens. Safe to repeat until it has succeeded.
   * @throws {AppError} `not_found` when the app has no access.
   */
  revokeAccess(accountId: string, clientId: string): Promise<void>;
  /** The same for all apps, whose grants end elsewhere. */
  forgetAll(accountId: string): Promise<void>;
  /** Writes down that an app used what it was given, at most once a minute. */
  noteUse(accountId: string, clientId: string): Promise<void>;
}

export function createAppsAccess({
  storage,
  now,
  consents,
}: {
  storage: Storage;
  now: () => number;
  consents: Consents;
}): AppsAccess {
  const uses = collection(storage, { kind: 'app-use', version: 1, schema: z.int() });
  const noted = new LRUCache<string, number>({ max: 10_000 });
  const useOf = (accountId: string, clientId: string) => `${accountId}:${clientId}`;

  async function find(accountId: string): Promise<Map<string, Omit<AppAccess, 'lastUsedAt'>>> {
    const found = new Map<string, Omit<AppAccess, 'lastUsedAt'>>();
    const add = (clientId: string, scopes: readonly string[], since: number) => {
      if (clientId === CONSOLE_CLIENT_ID) return;
      const known = found.get(clientId);
      const all = [...new Set([...(known?.scopes ?? []), ...scopes])].filter((scope) => scope !== '');
      found.set(clientId, { clientId, scopes: all, since: Math.min(since, known?.since ?? since) });
    };
    for (const { clientId, scopes, scopesByWord, grantedAt } of await consents.list(accountId))
      add(clientId, [...scopes, ...scopesByWord], grantedAt);
    for await (const { key, value } of entriesOf(storage, accountGroup(accountId))) {
      if (!key.startsWith('Grant:')) continue;
      const { clientId, openid, iat } = Grant.parse(value);
      add(clientId, openid.scope.split(' '), iat);
    }
    return found;
  }

  async function given(accountId: string, clientId: string): Promise<Set<string>> {
    const keys = new Set<string>();
    for await (const { key, value } of entriesOf(storage, accountGroup(accountId))) {
      if (Given.safeParse(value).data?.clientId === clientId) keys.add(key);
    }
    return keys;
  }

  return {
    async list(accountId) {
      const found = [...(await find(accountId)).values()];
      const listed = found.map(async (access): Promise<AppAccess> => {
        const lastUsedAt = await uses.get(useOf(accountId, access.clientId));
        return lastUsedAt === undefined ? access : { ...access, lastUsedAt };
      });
      return (await Promise.all(listed)).sort((a, b) => (b.lastUsedAt ?? b.since) - (a.lastUsedAt ?? a.since));
    },

    async revokeAccess(accountId, clientId) {
      if (!(await find(accountId)).has(clientId)) throw noSuch('app', clientId);
      // First, so that nothing is granted from it meanwhile; the app stays listed for as long as it has a grant.
      await consents.forget(accountId, clientId);
      const doomed = await given(accountId, clientId);
      await eraseOfAccount(storage, accountId, (key) => doomed.has(key));
      await uses.delete(useOf(accountId, clientId));
    },

    async forgetAll(accountId) {
      for (const { clientId } of await consents.list(accountId)) await consents.forget(accountId, clientId);
    },

    async noteUse(accountId, clientId) {
      const id = useOf(accountId, clientId);
      const sinceNoted = elapsed() - (noted.get(id) ?? Number.NEGATIVE_INFINITY);
      if (clientId === CONSOLE_CLIENT_ID || sinceNoted < USE_INTERVAL) return;
      noted.set(id, elapsed());
      // A store that cannot be written to is no reason to refuse what can be read.
      await uses.put(id, now(), { ttl: KEPT }).catch(() => undefined);
    },
  };
}
