import { z } from 'zod';
import { AppError } from '../errors.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { Instant } from './account.ts';

/** Longer than any living process needs between its claim and the account, every verb of the store ending within 2 s. */
const ABANDONED_AFTER = 10;

/** A hundred years: the port can give a record another expiry, but not take it away. */
const FOR_GOOD = 100 * 365 * 24 * 60 * 60;

/** Whose an e-mail is. Claimed before the account is written, confirmed after it. */
const EmailClaim = z.object({
  accountId: z.string(),
  confirmed: z.boolean(),
  claimedAt: Instant,
  /** Made by an app's word: until it is confirmed it gives way to any other. */
  yields: z.literal(true).optional(),
});
type EmailClaim = z.infer<typeof EmailClaim>;

export interface EmailClaims {
  /** The id of the account that has, or is about to have, the e-mail. */
  holderOf(email: string): Promise<string | undefined>;
  /** Whether an app's word is all that the e-mail is claimed by. */
  yields(email: string): Promise<boolean>;
  /** Of many parallel callers one gets it. @throws {AppError} `conflict` for the field `email`. */
  claim(email: string, accountId: string, options?: { yields?: boolean }): Promise<void>;
  /** Once the account is written. False: it took so long that somebody else has the e-mail now. */
  confirm(email: string, accountId: string): Promise<boolean>;
  /** Lets go of the e-mail, if it is still this account's. */
  release(email: string, accountId: string): Promise<void>;
}

export interface EmailClaimsOptions {
  storage: Storage;
  now: () => number;
  /** Whether the account exists and has this e-mail. */
  isHeld(email: string, accountId: string): Promise<boolean>;
}

/**
 * One e-mail, one account, over all processes. A claim without an account blocks nobody for ever: when its maker died
 * before writing the account it is taken over after a while, and when the account was deleted, at once.
 */
export function createEmailClaims({ storage, now, isHeld }: EmailClaimsOptions): EmailClaims {
  const claims = collection(storage, { kind: 'account-email', version: 1, schema: EmailClaim });

  async function yields(email: string): Promise<boolean> {
    return (await claims.get(email))?.yields === true;
  }

  /**
   * A confirmed claim had its account, and an account that is gone never comes back; so "not held" stays true between
   * looking and writing. An unconfirmed one may get its account or be confirmed meanwhile: confirming changes the claim,
   * which fails this write, and this write fails the confirming.
   */
  async function takeOver(email: string, fresh: EmailClaim): Promise<boolean> {
    const found = await claims.get(email);
    if (!found) return claims.insert(email, fresh);
    if (await isHeld(email, found.accountId)) return false;
    const mayHaveMaker = !found.confirmed && now() - found.claimedAt < ABANDONED_AFTER;
    if (mayHaveMaker && !(found.yields && !fresh.yields)) return false;
    const isFound = (claim: EmailClaim) => claim.accountId === found.accountId && claim.confirmed === found.confirmed;
    // One that was let go of is about to expire.
    const taken = await claims.update(email, (claim) => (isFound(claim) ? fresh : undefined), { ttl: FOR_GOOD });
    if (taken !== undefined) return true;
    // Whoever was quicker may have an app's word only.
    return !fresh.yields && (await yields(email)) && takeOver(email, fresh);
  }

  return {
    holderOf: async (email) => (await claims.get(email))?.accountId,
    yields,

    async claim(email, accountId, { yields = false } = {}) {
      const fresh: EmailClaim = { accountId, confirmed: false, claimedAt: now(), ...(yields ? { yields } : {}) };
      if (await claims.insert(email, fresh)) return;
      if (await takeOver(email, fresh)) return;
      throw new AppError('conflict', 'there is an account with this e-mail already', { field: 'email' });
    },

    async confirm(email, accountId) {
      const confirmed = await claims.update(email, (claim) =>
        claim.accountId === accountId ? { ...claim, confirmed: true } : undefined,
      );
      return confirmed !== undefined;
    },

    async release(email, accountId) {
      // The port has no conditional delete: a conditional rewrite that expires is one. Until then `takeOver` applies.
      await claims.update(email, (claim) => (claim.accountId === accountId ? claim : undefined), { ttl: 1 });
    },
  };
}
