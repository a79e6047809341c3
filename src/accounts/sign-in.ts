/**
 * Signing in with e-mail and password. Unknown, wrong, without a password, pending and disabled get one answer after the
 * same work; only the audit trail knows which it was. Knows nothing of sessions or pages.
 */
import type { Audit, Origin } from '../audit.ts';
import { Email } from '../email.ts';
import { AppError } from '../errors.ts';
import type { Consumption, Counted, Rule, Throttle } from '../http/rate-limit.ts';
import type { Account } from './account.ts';
import type { Accounts } from './accounts.ts';
import type { Passwords } from './password.ts';

const WINDOW = 15 * 60;

/** Wrong guesses at one account from one source. The pair, so that a stranger elsewhere cannot lock anybody out. */
const PER_ACCOUNT: Rule = { name: 'sign-in', limit: 5, window: WINDOW };

/** Wrong guesses of one source at all accounts together: one password tried on many people. */
const PER_SOURCE: Rule = { name: 'sign-in-source', limit: 50, window: WINDOW };

/** A source that goes on after being stopped is one event a window, or it could fill the store with them. */
const PER_EVENT: Rule = { name: 'sign-in-throttled-event', limit: 1, window: WINDOW };

export interface PasswordSignInRequest {
  email: string;
  password: string;
  source: { address: string; userAgent?: string | undefined };
  /** The app that sent the person here. */
  clientId?: string | undefined;
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
  audit: Audit;
}

export function createPasswordSignIn({ accounts, passwords, throttle, audit }: PasswordSignInOptions): PasswordSignIn {
  /** Counts a guess before it is looked at. */
  async function countGuess(counted: Counted): Promise<Consumption> {
    const { source = '' } = counted;
    const onAccount = await throttle.consume(PER_ACCOUNT, counted);
    const bySource = await throttle.consume(PER_SOURCE, { source }).catch(async (error) => {
      await onAccount.refund();
      throw error;
    });
    return {
      async refund() {
        await Promise.all([onAccount.refund(), bySource.refund()]);
      },
    };
  }

  async function recordThrottled(counted: Counted, origin: Origin): Promise<void> {
    const isFirst = await throttle.consume(PER_EVENT, counted).then(() => true, isNotThrottled);
    if (isFirst) await audit.record({ ...origin, type: 'sign_in_throttled' });
  }

  async function admit(counted: Counted, origin: Origin): Promise<Consumption> {
    try {
      return await countGuess(counted);
    } catch (error) {
      if (!isNotThrottled(error)) await recordThrottled(counted, origin);
      throw error;
    }
  }

  async function check(email: string, password: string) {
    const account = await accounts.findByEmail(email);
    const matches = await passwords.verify(password, account?.passwordHash);
    return { account, problem: problemOf(account, matches) };
  }

  return {
    async signIn({ email, password, source, clientId }) {
      const { address, userAgent } = source;
      const origin: Origin = { address, userAgent, clientId };
      const counted = { source: address, key: spelled(email) };

      const guess = await admit(counted, origin);
      const { account, problem } = await check(email, password).catch(async (error) => {
        // Nobody learned anything from an answer that could not be given.
        await guess.refund();
        throw error;
      });
      if (problem || !account) {
        await audit.record({
          ...origin,
          type: 'sign_in_refused',
          accountId: account?.id,
          detail: { problem: problem ?? '' },
        });
        throw new AppError('invalid_grant', 'e-mail or password is wrong');
      }

      await Promise.all([guess.refund(), throttle.clear(PER_ACCOUNT, counted)]);
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

function isNotThrottled(error: unknown): boolean {
  if (error instanceof AppError && error.code === 'too_many_requests') return false;
  throw error;
}
