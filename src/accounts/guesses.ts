/**
 * How often a password may be guessed. Guessing has two sides: one source that tries many accounts, and one account that many
 * sources try. Both are counted, before the guess is looked at; what would be too many waits for those being looked at. A browser in which the account signed in before is counted by
 * itself alone, so that nobody is locked out by strangers. Knows nothing of passwords.
 */
import { AppError } from '../errors.ts';
import type { Counted, Rule, Throttle, UnderJudgement } from '../throttle.ts';
import type { Passwords } from './password.ts';

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

type ProblemIn = () => Promise<string | undefined>;

export interface Guesses {
  /**
   * What is wrong with a guess, which is counted unless there is nothing; then what its source got wrong before is forgotten too.
   * `stopped` hears of the first one of a source that was too many.
   * @throws {AppError} `too_many_requests` with the seconds to wait.
   */
  judge(guess: Guess, problemIn: ProblemIn, stopped: () => Promise<void>): Promise<string | undefined>;
}

export interface GuessesOptions {
  throttle: Throttle;
  /** Turns away who finds no place to have a guess looked at, before it is counted. */
  attempt: Passwords['attempt'];
}

export function createGuesses({ throttle, attempt }: GuessesOptions): Guesses {
  /** Who is stopped already takes no place, and uses up nothing of what others behind the same address may. */
  async function check({ account, source, browser }: Guess): Promise<void> {
    if (browser !== undefined) return throttle.check(IN_BROWSER, inBrowser(account, browser));
    await throttle.check(PER_SOURCE, { source });
    await throttle.check(PER_ACCOUNT, { source, key: account });
  }

  async function countStranger({ account, source }: Guess): Promise<UnderJudgement> {
    const pair = { source, key: account };
    const bySource = await throttle.consumeUntilJudged(PER_SOURCE, { source });
    const onAccount = await throttle.consumeUntilJudged(PER_ACCOUNT, pair).catch(async (error) => {
      await bySource.refund();
      throw error;
    });
    const fromAll = await throttle.consumeUntilJudged(FROM_ALL, { key: account }).catch(async (error) => {
      // Refused here, it stays counted above: otherwise a source could ask as often as it likes.
      await Promise.all([bySource, onAccount].map((one) => (isTooMany(error) ? one.keep() : one.refund())));
      throw error;
    });
    const all = [bySource, onAccount, fromAll];
    return {
      async refund() {
        await Promise.all(all.map((one) => one.refund()));
      },
      async keep() {
        await Promise.all(all.map((one) => one.keep()));
      },
    };
  }

  function count(guess: Guess): Promise<UnderJudgement> {
    const { account, browser } = guess;
    if (browser === undefined) return countStranger(guess);
    return throttle.consumeUntilJudged(IN_BROWSER, inBrowser(account, browser));
  }

  async function noteFirst(error: unknown, { source }: Guess, stopped: () => Promise<void>): Promise<never> {
    if (isTooMany(error)) {
      const isFirst = await throttle.consume(PER_EVENT, { source }).then(() => true, isOther);
      if (isFirst) await stopped();
    }
    throw error;
  }

  async function look(guess: Guess, problemIn: ProblemIn, stopped: () => Promise<void>): Promise<string | undefined> {
    const { account, source, browser } = guess;
    const counted = await count(guess).catch((error) => noteFirst(error, guess, stopped));
    const problem = await problemIn().catch(async (error) => {
      // Nobody learned anything from an answer that could not be given.
      await counted.refund();
      throw error;
    });
    if (problem !== undefined) {
      await counted.keep();
      return problem;
    }
    await counted.refund();
    if (browser === undefined) await throttle.clear(PER_ACCOUNT, { source, key: account });
    else await throttle.clear(IN_BROWSER, inBrowser(account, browser));
    return undefined;
  }

  return {
    async judge(guess, problemIn, stopped) {
      await check(guess).catch((error) => noteFirst(error, guess, stopped));
      return attempt(() => look(guess, problemIn, stopped));
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
