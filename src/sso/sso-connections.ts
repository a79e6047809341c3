/**
 * Which apps have signed a person in by their own word, and whether the person lets them. Knows nothing of what
 * an app may do: that is its administrator's decision.
 */
import { z } from 'zod';
import { AppError } from '../errors.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';

const SsoConnection = z.object({
  accountId: z.string(),
  clientId: z.string(),
  /** What the app gave, before that was kept in the account itself. */
  given: z.array(z.string()).default([]),
  /** When the person was last signed in, and from where. */
  lastAt: z.int().optional(),
  lastAddress: z.string().optional(),
  /** When the person took the right away. */
  refusedAt: z.int().optional(),
  /** How often they did: what the app began before does not come back when it may again. */
  refusals: z.int().nonnegative().default(0),
});
export type SsoConnection = z.infer<typeof SsoConnection>;

export interface SsoConnections {
  get(accountId: string, clientId: string): Promise<SsoConnection | undefined>;
  /** Those of an account, the refused ones included, last used first. */
  list(accountId: string): Promise<SsoConnection[]>;
  /** Remembers that an app signed the person in. */
  noteSignIn(accountId: string, clientId: string, address: string | undefined): Promise<void>;
  /** The app signs the person in no more. @throws {AppError} `not_found` for one that never did. */
  refuse(accountId: string, clientId: string): Promise<void>;
  /** It may again. @throws {AppError} `not_found` */
  allow(accountId: string, clientId: string): Promise<void>;
  /** Forgets all of an account's. */
  forgetAll(accountId: string): Promise<void>;
}

export function createSsoConnections({ storage, now }: { storage: Storage; now: () => number }): SsoConnections {
  const ssoConnections = collection(storage, { kind: 'sso-partner', version: 1, schema: SsoConnection });
  const idOf = (accountId: string, clientId: string) => `${accountId}:${clientId}`;
  const groupOf = (accountId: string) => `sso-partners:account:${accountId}`;

  async function note(accountId: string, clientId: string, facts: Partial<SsoConnection>): Promise<void> {
    const id = idOf(accountId, clientId);
    const first = { accountId, clientId, given: [], refusals: 0, ...facts };
    if (await ssoConnections.insert(id, first, { groups: [groupOf(accountId)] })) return;
    await ssoConnections.update(id, (known) => ({ ...known, ...facts }));
  }

  async function change(
    accountId: string,
    clientId: string,
    next: (known: SsoConnection) => SsoConnection,
  ): Promise<void> {
    const changed = await ssoConnections.update(idOf(accountId, clientId), next);
    if (!changed) throw new AppError('not_found', 'this app has never signed the person in');
  }

  return {
    get: (accountId, clientId) => ssoConnections.get(idOf(accountId, clientId)),

    async list(accountId) {
      const found = await Array.fromAsync(ssoConnections.all(groupOf(accountId)));
      return found.sort((a, b) => (b.lastAt ?? 0) - (a.lastAt ?? 0));
    },

    noteSignIn: (accountId, clientId, address) =>
      note(accountId, clientId, { lastAt: now(), ...(address === undefined ? {} : { lastAddress: address }) }),

    refuse: (accountId, clientId) =>
      change(accountId, clientId, (known) => ({ ...known, refusedAt: now(), refusals: known.refusals + 1 })),
    allow: (accountId, clientId) => change(accountId, clientId, (known) => ({ ...known, refusedAt: undefined })),

    async forgetAll(accountId) {
      const known = await Array.fromAsync(ssoConnections.all(groupOf(accountId)));
      for (const { clientId } of known) await ssoConnections.delete(idOf(accountId, clientId));
    },
  };
}
