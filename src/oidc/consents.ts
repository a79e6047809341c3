import { z } from 'zod';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';

/**
 * What a person has allowed an app, remembered until taken back. The engine's grants are made from it, one for each
 * session, so that signing out ends tokens without forgetting the answer.
 */
const Consent = z.object({
  accountId: z.string(),
  clientId: z.string(),
  scopes: z.array(z.string()),
  claims: z.array(z.string()),
  grantedAt: z.number().int(),
});
export type Consent = z.infer<typeof Consent>;

export interface Consents {
  get(accountId: string, clientId: string): Promise<Consent | undefined>;
  /** Adds to what was allowed before. */
  remember(consent: Omit<Consent, 'grantedAt'>): Promise<void>;
  forget(accountId: string, clientId: string): Promise<void>;
}

export function createConsents({ storage, now }: { storage: Storage; now: () => number }): Consents {
  const consents = collection(storage, { kind: 'consent', version: 1, schema: Consent });
  const idOf = (accountId: string, clientId: string) => `${accountId}:${clientId}`;
  const union = (...lists: string[][]) => [...new Set(lists.flat())];

  return {
    get: (accountId, clientId) => consents.get(idOf(accountId, clientId)),

    async remember({ accountId, clientId, scopes, claims }) {
      const id = idOf(accountId, clientId);
      const groups = [`consents:account:${accountId}`, `consents:client:${clientId}`];
      const grantedAt = now();
      if (await consents.insert(id, { accountId, clientId, scopes, claims, grantedAt }, { groups })) return;
      await consents.update(id, (known) => ({
        ...known,
        scopes: union(known.scopes, scopes),
        claims: union(known.claims, claims),
        grantedAt,
      }));
    },

    async forget(accountId, clientId) {
      await consents.delete(idOf(accountId, clientId));
    },
  };
}
