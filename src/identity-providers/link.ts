import { z } from 'zod';
import { Instant } from '../accounts/account.ts';

/**
 * Who an account's person is at an identity provider. A subject there is one account here; an account may have many. People are
 * never matched by anything else: an e-mail says who may read a mailbox, now and there.
 */
export const Link = z.object({
  identityProviderId: z.string(),
  /** What the provider calls the person and never gives to anybody else (OIDC Core §2). */
  subject: z
    .string()
    .min(1, 'must not be empty')
    .max(255, 'is too long')
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must not have control characters'),
  accountId: z.string(),
  createdAt: Instant,
});
export type Link = z.infer<typeof Link>;
