/**
 * One-time sign-ins: what a partner's server gets for its user, and the user's browser brings. Owns that one works once, for a
 * minute, for the app that got it. Knows nothing of who may be signed in.
 */
import { z } from 'zod';
import { CREDENTIAL_KINDS, kindOf } from '../credentials/kinds.ts';
import { createSecretToken, digestOf } from '../secrets/secret-token.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';

/** Seconds. */
const LIFETIME = 60;

/** What a token stands for; the token itself is kept as a digest only. */
const SsoToken = z.object({
  accountId: z.string(),
  clientId: z.string(),
  organizationId: z.string(),
  /** The account's and the app's, when it was given. */
  epoch: z.int().nonnegative().default(0),
  clientEpoch: z.int().nonnegative().default(0),
  expiresAt: z.int(),
});
export type SsoToken = z.infer<typeof SsoToken>;

export interface SsoTokens {
  /** The only copy of the token, and the seconds it lives. */
  create(signIn: Omit<SsoToken, 'expiresAt'>): Promise<{ token: string; expiresIn: number }>;
  /** What it stands for while it is good; looking uses nothing up. */
  find(token: string): Promise<SsoToken | undefined>;
  /** The same, once: of many parallel callers one gets it. */
  take(token: string): Promise<SsoToken | undefined>;
}

export function createSsoTokens({ storage, now }: { storage: Storage; now: () => number }): SsoTokens {
  const tokens = collection(storage, { kind: 'sso-token', version: 1, schema: SsoToken });
  const isToken = (text: string) => kindOf(text) === 'sso_token';
  const whileGood = (record: SsoToken | undefined) => (record && record.expiresAt > now() ? record : undefined);

  return {
    async create(signIn) {
      const token = createSecretToken(CREDENTIAL_KINDS.sso_token.prefix);
      await tokens.insert(digestOf(token), { ...signIn, expiresAt: now() + LIFETIME }, { ttl: LIFETIME, once: true });
      return { token, expiresIn: LIFETIME };
    },

    find: async (token) => (isToken(token) ? whileGood(await tokens.get(digestOf(token), { once: true })) : undefined),
    take: async (token) => (isToken(token) ? whileGood(await tokens.take(digestOf(token))) : undefined),
  };
}
