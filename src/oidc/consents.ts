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
  /** What nobody was asked about: an app that signs the person in by its word has it, for as long as it may do that. */
  scopesByWord: z.array(z.string()).default([]),
  claims: z.array(z.string()),
  /** When it was first allowed anything. */
  grantedAt: z.number().int(),
});
export type Consent = z.infer<typeof Consent>;

type Answer = Pick<Consent, 'accountId' | 'clientId'> & Partial<Pick<Consent, 'scopes' | 'scopesByWord' | 'claims'>>;

export interface Consents {
  get(accountId: string, clientId: string): Promise<Consent | undefined>;
  /** All that a person has allowed. */
  list(accountId: string): Promise<Consent[]>;
  /** Adds to what was allowed before. */
  remember(answer: Answer): Promise<void>;
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

    async remember({ accountId, clientId, scopes = [], scopesByWord = [], claims = [] }) {
      const id = idOf(accountId, clientId);
      const groups = [consentGroup(accountId), `consents:client:${clientId}`];
      const first = { accountId, clientId, scopes, scopesByWord, claims, grantedAt: now() };
      if (await consents.insert(id, first, { groups })) return;
      await consents.update(id, (known) => ({
        ...known,
        scopes: union(known.scopes, scopes),
        scopesByWord: union(known.scopesByWord, scopesByWord),
        claims: union(known.claims, claims),
      }));
    },

    async forget(accountId, clientId) {
      await consents.delete(idOf(accountId, clientId));
    },
  };
}
