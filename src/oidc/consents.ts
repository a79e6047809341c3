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
  /** When it was first allowed anything. */
  grantedAt: z.number().int(),
});
export type Consent = z.infer<typeof Consent>;

export interface Consents {
  get(accountId: string, clientId: string): Promise<Consent | undefined>;
  /** All that a person has allowed. */
  list(accountId: string): Promise<Consent[]>;
  /** Adds to what was allowed before. */
  remember(consent: Omit<Consent, 'grantedAt'>): Promise<void>;
  forget(accountId: string, clientId: string): Promise<void>;
}

/** What a person's answers are listed under. */
export const consentGroup = (accountId: string) => `consents:account:${accountId}`;

export function createConsents({ storage, now }: { storage: Storage; now: () => number }): Consents {
  const consents = collection(storage, { kind: 'consent', version: 1, schema: Consent });
  const idOf = (accountId: string, clientId: string) => `${accountId}:${clientId}`;
  const union = (...lists: string[][]) => [...new Set(lists.flat())];

  return {
    get: (accountId, clientId) => consents.get(idOf(accountId, clientId)),
    list: (accountId) => Array.fromAsync(consents.all(consentGroup(accountId))),

    async remember({ accountId, clientId, scopes, claims }) {
      const id = idOf(accountId, clientId);
      const groups = [consentGroup(accountId), `consents:client:${clientId}`];
      if (await consents.insert(id, { accountId, clientId, scopes, claims, grantedAt: now() }, { groups })) return;
      await consents.update(id, (known) => ({
        ...known,
        scopes: union(known.scopes, scopes),
        claims: union(known.claims, claims),
      }));
    },

    async forget(accountId, clientId) {
      await consents.delete(idOf(accountId, clientId));
    },
  };
}
