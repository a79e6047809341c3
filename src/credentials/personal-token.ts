import { z } from 'zod';
import { Instant } from '../accounts/account.ts';
import { line } from '../accounts/text.ts';

/** A token its user made for a script: bound to the account, limited in scope, revocable. The token itself is not stored. */
export const PersonalToken = z.object({
  id: z.uuid(),
  /** SHA-256 of the token. */
  digest: z.string(),
  accountId: z.string(),
  /** What it is for, in its user's words. */
  description: line(120),
  /** Names of permissions. What it may do is this, as far as the account holds it now. */
  scope: z.array(z.string()),
  /** Its first and last characters, to tell it from others. */
  hint: z.string(),
  createdAt: Instant,
  expiresAt: Instant.optional(),
  /** The account's epoch when who made it had proven who they are; absent in what earlier versions wrote. */
  epoch: z.int().nonnegative().default(0),
  /** Shared by a token and all that it was exchanged for, one after the other. */
  familyId: z.string(),
  /** Set when it was exchanged for a new one: until then both work, afterwards its use means it was stolen. */
  replacedUntil: Instant.optional(),
  revokedAt: Instant.optional(),
  /** When its owner was last told that it ends soon. */
  remindedAt: Instant.optional(),
});
export type PersonalToken = z.infer<typeof PersonalToken>;

/** When and from which network address a token was last used. A record of its own: it changes while the token does not. */
export const TokenUse = z.object({ at: Instant, from: z.string() });
export type TokenUse = z.infer<typeof TokenUse>;

/** A token as its user sees it listed. */
export type ListedToken = PersonalToken & { lastUse?: TokenUse };
