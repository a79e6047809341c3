import { z } from 'zod';
import { Instant } from '../accounts/account.ts';

/**
 * What an app's server proves itself with when it exchanges its user's token. Bound to one app and one identity provider.
 * The token itself is not stored.
 */
export const AppToken = z.object({
  id: z.uuid(),
  /** SHA-256 of the token. */
  digest: z.string(),
  clientId: z.string(),
  identityProviderId: z.string(),
  /** The ids that the app has at the identity provider; none: the one that we have there. */
  providerClientIds: z.array(z.string()),
  /** Its first and last characters, to tell it from others. */
  hint: z.string(),
  createdAt: Instant,
  /** A revoked one is kept, so that who still sends it is told why it does not work. */
  revokedAt: Instant.optional(),
});
export type AppToken = z.infer<typeof AppToken>;

/** An app token as an administrator sees it listed. */
export type ListedAppToken = AppToken & { lastUsedAt?: number };
