/** Changing one's own password. Knows nothing of pages. */
import type { Account } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import { createGuesses } from '../accounts/guesses.ts';
import type { Passwords } from '../accounts/password.ts';
import type { Audit, Origin } from '../audit.ts';
import { AppError } from '../errors.ts';
import type { Throttle } from '../throttle.ts';

const WRONG = 'wrong password when changing it';

export interface PasswordChange {
  current: string;
  next: string;
  /** The session in which it is changed; the others end. */
  keepSession: string;
  origin: Origin;
}

export interface ChangePasswordOptions {
  accounts: Pick<Accounts, 'setPassword'>;
  passwords: Passwords;
  throttle: Throttle;
  audit: Audit;
}

/**
 * @returns changes it, ends all other sessions and whatever apps were given.
 * It throws {AppError} `invalid_grant` when the current one is wrong, `too_many_requests` after some wrong ones, and
 * `invalid_request` for the field `password` when the policy refuses the new one.
 */
export function createChangePassword({ accounts, passwords, throttle, audit }: ChangePasswordOptions) {
  const guesses = createGuesses({ throttle, attempt: passwords.attempt });

  return async function changePassword(account: Account, { current, next, keepSession, origin }: PasswordChange) {
    // Whoever found a browser signed in may try as often as in any browser of the account's.
    const guess = { account: account.email || account.id, source: origin.address ?? '', browser: keepSession };
    const accountId = account.id;
    const problem = await guesses.judge(
      guess,
      async () => ((await passwords.verify(current, account.passwordHash)) ? undefined : WRONG),
      () => audit.record({ ...origin, type: 'sign_in_throttled', accountId }),
    );
    if (problem !== undefined) {
      await audit.record({ ...origin, type: 'sign_in_refused', accountId, detail: { problem } });
      throw new AppError('invalid_grant', 'the current password is wrong');
    }
    await accounts.setPassword(account.id, next, { ...origin, keepSession, provenUnder: account.epoch });
  };
}
