/**
 * How often a password may be guessed. Guessing has two sides: one source that tries many accounts, and one account that many
 * sources try. Both are counted, before the guess is looked at. A browser in which the account signed in before is counted by
 * itself alone, so that nobody is locked out by strangers. Knows nothing of passwords.
 */
import { AppError } from '../errors.ts';
import type { Consumption, Counted, Rule, Throttle } from '../http/rate-limit.ts';

const WINDOW = 15 * 60;

/** Wrong guesses at one account from one source. */
const PER_ACCOUNT: Rule = { name: 'sign-in', limit: 5, window: WINDOW };

/** Wrong guesses of one source at all accounts together: one password tried on many people. */
const PER_SOURCE: Rule = { name: 'sign-in-source', limit: 50, window: WINDOW };

/** Wrong guesses at one account from all sources together, those that have many addresses included. */
const FROM_ALL: Rule = { name: 'sign-in-account', limit: 20, window: WINDOW };

/** Wrong guesses at one account in a browser that it has signed in with. */
const IN_BROWSER: Rule = { name: 'sign-in-browser', limit: 5, window: WINDOW };

/** A source that goes on after being stopped is one event a window, or it could fill the store with them. */
const PER_EVENT: Rule = { name: 'sign-in-throttled-event', limit: 1, window: WINDOW };

export interface Guess {
  /** What tells accounts apart, whether or not there is one. */
  account: string;
  /** Network address. */
  source: string;
  /** The browser or session of the account's own that it comes from, if it does. */
  browser?: string | undefined;
}

export interface Guesses {
  /**
   * Counts a guess. `stopped` hears of the first one of a source that was too many.
   * @throws {AppError} `too_many_requests` with the seconds to wait.
   */
  count(guess: Guess, stopped: () => Promise<void>): Promise<Consumption>;
  /** It was right: it is not counted, nor is what its source got wrong before. */
  forget(guess: Guess, counted: Consumption): Promise<void>;
}

export function createGuesses({ throttle }: { throttle: Throttle }): Guesses {
  async function countStranger({ account, source }: Guess): Promise<Consumption> {
    const pair = { source, key: account };
    // Who is stopped already uses up nothing of what others behind the same address may.
    await throttle.check(PER_ACCOUNT, pair);
    const bySource = await throttle.consume(PER_SOURCE, { source });
    const onAccount = await throttle.consume(PER_ACCOUNT, pair).catch(async (error) => {
      await bySource.refund();
      throw error;
    });
    // Refused here, it stays counted above: otherwise a source could ask as often as it likes.
    const fromAll = await throttle.consume(FROM_ALL, { key: account });
    return {
      async refund() {
        await Promise.all([bySource.refund(), onAccount.refund(), fromAll.refund()]);
      },
    };
  }

  return {
    async count(guess, stopped) {
      const { account, source, browser } = guess;
      try {
        if (browser === undefined) return await countStranger(guess);
        return await throttle.consume(IN_BROWSER, inBrowser(account, browser));
      } catch (error) {
        if (!isTooMany(error)) throw error;
        const isFirst = await throttle.consume(PER_EVENT, { source }).then(() => true, isOther);
        if (isFirst) await stopped();
        throw error;
      }
    },

    async forget({ account, source, browser }, counted) {
      await counted.refund();
      if (browser === undefined) await throttle.clear(PER_ACCOUNT, { source, key: account });
      else await throttle.clear(IN_BROWSER, inBrowser(account, browser));
    },
  };
}

function inBrowser(account: string, browser: string): Counted {
  return { key: JSON.stringify([account, browser]) };
}

function isTooMany(error: unknown): boolean {
  return error instanceof AppError && error.code === 'too_many_requests';
}

function isOther(error: unknown): false {
  if (isTooMany(error)) return false;
  throw error;
}
