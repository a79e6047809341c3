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
  /** The account's, under which it was answered: an answer that was under way when everything ended is worth nothing. */
  epoch: z.int().nonnegative().default(0),
});
export type Consent = z.infer<typeof Consent>;

type Answer = Pick<Consent, 'accountId' | 'clientId' | 'epoch'> &
  Partial<Pick<Consent, 'scopes' | 'scopesByWord' | 'claims'>>;

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

export interface ConsentsOptions {
  storage: Storage;
  now: () => number;
  /** The epoch since which the answers of an account count. */
  countsSince: (accountId: string) => Promise<number>;
}

export function createConsents({ storage, now, countsSince }: ConsentsOptions): Consents {
  const consents = collection(storage, { kind: 'consent', version: 1, schema: Consent });
  const idOf = (accountId: string, clientId: string) => `${accountId}:${clientId}`;
  const union = (...lists: string[][]) => [...new Set(lists.flat())];

  return {
    async get(accountId, clientId) {
      const [consent, since] = await Promise.all([consents.get(idOf(accountId, clientId)), countsSince(accountId)]);
      return consent && consent.epoch >= since ? consent : undefined;
    },

    async list(accountId) {
      const [all, since] = await Promise.all([
        Array.fromAsync(consents.all(consentGroup(accountId))),
        countsSince(accountId),
      ]);
      return all.filter(({ epoch }) => epoch >= since);
    },

    async remember({ accountId, clientId, epoch, scopes = [], scopesByWord = [], claims = [] }) {
      const id = idOf(accountId, clientId);
      const groups = [consentGroup(accountId), `consents:client:${clientId}`];
      const first = { accountId, clientId, scopes, scopesByWord, claims, grantedAt: now(), epoch };
      if (await consents.insert(id, first, { groups })) return;
      const since = await countsSince(accountId);
      await consents.update(id, (known) => {
        if (known.epoch < since) return first;
        if (epoch < since) return undefined;
        return {
          ...known,
          epoch: Math.min(known.epoch, epoch),
          scopes: union(known.scopes, scopes),
          scopesByWord: union(known.scopesByWord, scopesByWord),
          claims: union(known.claims, claims),
        };
      });
    },

    async forget(accountId, clientId) {
      await consents.delete(idOf(accountId, clientId));
    },
  };
}
