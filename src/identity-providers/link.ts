import { z } from 'zod';
import { Instant } from '../accounts/account.ts';
import { cleanLine } from '../accounts/text.ts';
import type { UpstreamProfile } from './upstream-profile.ts';

/**
 * Who an account's person is at an identity provider. A subject there is one account here; an account may have many. People are
 * never matched by anything else: an e-mail says who may read a mailbox, now and there.
 */
export const Link = z.object({
  identityProviderId: z.string(),
  /** What the provider calls the person and never gives to another person (OIDC Core §2). */
  subject: z
    .string()
    .min(1, 'must not be empty')
    .max(255, 'is too long')
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must not have control characters'),
  accountId: z.string(),
  /** What the person is called there, so that one can tell two links apart. */
  label: z.string().max(254).optional(),
  /** It lets nobody in: it is being made, or removed. */
  unsettled: z.literal(true).optional(),
  createdAt: Instant,
});
export type Link = z.infer<typeof Link>;

/** What a person is called elsewhere, so that two of their identities there can be told apart. */
export function labelOf({ nickname, email, givenName, familyName }: UpstreamProfile): string | undefined {
  const name = [givenName, familyName].filter((part) => part !== undefined).join(' ');
  return cleanLine(nickname ?? email ?? name, 254) || undefined;
}
