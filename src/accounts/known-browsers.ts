/**
 * Browsers in which people have signed in before. One that is known is not held up by what strangers do elsewhere, or behind the
 * same address. It keeps a name that is made up for it, and a proof for each account that signed in there, which says nothing to
 * anybody else and is worth nothing once the account has another password. Nothing of it is stored here.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Account } from './account.ts';

/** People who share a browser. */
const MOST_ACCOUNTS = 5;
const KEPT = /^[\w-]{22}(\.[\w-]{22}){1,5}$/;

export interface KnownBrowsers {
  /** The name of the browser that keeps this, if the account has signed in there. */
  recognise(kept: string | undefined, account: Account | undefined): string | undefined;
  /** What the browser keeps from now on. */
  remember(kept: string | undefined, account: Account): string;
}

/** @param options.keys The first proves, all are accepted. */
export function createKnownBrowsers({ keys }: { keys: readonly string[] }): KnownBrowsers {
  function proofsOf(browser: string, account: Account | undefined): string[] {
    const said = JSON.stringify([browser, account?.id ?? null, account?.passwordHash ?? null]);
    return keys.map((key) =>
      createHmac('sha256', `known-browser ${key}`).update(said).digest('base64url').slice(0, 22),
    );
  }

  function partsOf(kept = ''): { browser: string; proofs: string[] } {
    const [browser, ...proofs] = KEPT.test(kept) ? kept.split('.') : [];
    return { browser: browser ?? randomBytes(16).toString('base64url'), proofs };
  }

  return {
    recognise(kept, account) {
      const { browser, proofs } = partsOf(kept);
      // Worked out for nobody as well: an answer takes as long for an account that does not exist.
      const expected = proofsOf(browser, account);
      const isProven = proofs.some((proof) => expected.some((one) => isEqual(proof, one)));
      return isProven && account !== undefined ? browser : undefined;
    },

    remember(kept, account) {
      const { browser, proofs } = partsOf(kept);
      const own = proofsOf(browser, account);
      const others = proofs.filter((proof) => !own.includes(proof));
      return [browser, own[0], ...others.slice(0, MOST_ACCOUNTS - 1)].join('.');
    },
  };
}

function isEqual(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
