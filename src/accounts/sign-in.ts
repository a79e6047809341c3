/**
 * Signing in with e-mail and password. Unknown, wrong, without a password, pending and disabled get one answer after the
 * same work; only the audit trail knows which it was. Knows nothing of sessions or pages.
 */
import type { Audit, Origin } from '../audit.ts';
import { Email } from '../email.ts';
import { AppError } from '../errors.ts';
import type { Throttle } from '../throttle.ts';
import type { Account } from './account.ts';
import type { Accounts } from './accounts.ts';
import { createGuesses } from './guesses.ts';
import type { KnownBrowsers } from './known-browsers.ts';
import type { Passwords } from './password.ts';

export interface PasswordSignInRequest {
  email: string;
  password: string;
  source: { address: string; userAgent?: string | undefined };
  /** The app that sent the person here. */
  clientId?: string | undefined;
  /** What the browser keeps of earlier sign-ins. */
  keptByBrowser?: string | undefined;
}

export interface PasswordSignIn {
  /**
   * The account, which is active.
   * @throws {AppError} `invalid_grant` for whatever is wrong with e-mail, password or account; `too_many_requests` with
   * the seconds to wait; `temporarily_unavailable` when too many sign in at once or the store is out of reach.
   */
  signIn(request: PasswordSignInRequest): Promise<Account>;
}

export interface PasswordSignInOptions {
  accounts: Pick<Accounts, 'findByEmail'>;
  passwords: Passwords;
  throttle: Throttle;
  knownBrowsers: Pick<KnownBrowsers, 'recognise'>;
  audit: Audit;
}

export function createPasswordSignIn(options: PasswordSignInOptions): PasswordSignIn {
  const { accounts, passwords, knownBrowsers, audit } = options;
  const guesses = createGuesses({ throttle: options.throttle, attempt: passwords.attempt });

  return {
    async signIn({ email, password, source, clientId, keptByBrowser }) {
      const { address, userAgent } = source;
      const origin: Origin = { address, userAgent, clientId };
      const account = await accounts.findByEmail(email);
      const browser = knownBrowsers.recognise(keptByBrowser, account);
      const guess = { account: spelled(email), source: address, browser };
      const problem = await guesses.judge(
        guess,
        async () => problemOf(account, await passwords.verify(password, account?.passwordHash)),
        () => audit.record({ ...origin, type: 'sign_in_throttled' }),
      );
      if (problem || !account) {
        await audit.record({
          ...origin,
          type: 'sign_in_refused',
          accountId: account?.id,
          detail: { problem: problem ?? '' },
        });
        throw new AppError('invalid_grant', 'e-mail or password is wrong');
      }

      await audit.record({ ...origin, type: 'sign_in', accountId: account.id });
      return account;
    },
  };
}

/** Why the account may not sign in, for the audit trail only. */
function problemOf(account: Account | undefined, matches: boolean): string | undefined {
  if (!account) return 'unknown account';
  if (account.passwordHash === undefined) return 'no password';
  if (!matches) return 'wrong password';
  return account.status === 'active' ? undefined : account.status;
}

/** All spellings of an e-mail are one account to guess at. What is not an e-mail is no account, and counted together. */
function spelled(email: string): string {
  const parsed = Email.safeParse(email);
  return parsed.success ? parsed.data : '';
}
