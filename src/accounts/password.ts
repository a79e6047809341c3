/**
 * Password hashing: Argon2id on the thread pool, a few at a time, with a waiting line that ends. Knows nothing of accounts.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { hash, verify } from '@node-rs/argon2';
import { AppError } from '../errors.ts';
import { normalizePassword } from './password-policy.ts';

/** OWASP's first choice: 19 MiB, two passes, one lane; about 10 ms. Argon2id is the package's default. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/**
 * One core stays free for everything else: strangers can make as many passwords worked out as they like. So does one of the four
 * threads that Node has for all such work, for files and name look-ups.
 */
const AT_ONCE = Math.max(1, Math.min(availableParallelism() - 1, 3));

export interface Passwords {
  /**
   * Does what leads to a check for a stranger, if there is a place for it: otherwise not even the guess is counted. Whoever is turned
   * away hears of it a moment later, since those who do not wait would otherwise keep the server busy with turning them away.
   * @throws {AppError} `temporarily_unavailable` when too many wait.
   */
  attempt<T>(work: () => Promise<T>): Promise<T>;
  /** The password as a PHC string. @throws {AppError} `temporarily_unavailable` when too many wait. */
  hash(password: string): Promise<string>;
  /**
   * Whether the password belongs to the hash. Without a hash the answer is no after the same work, so that an account
   * that is unknown or has no password takes as long as a wrong guess. @throws {AppError} as `hash` does.
   */
  verify(password: string, passwordHash: string | undefined): Promise<boolean>;
}

/**
 * Work for strangers waits for half a second at most on two cores. Whoever may choose a password has been let in somewhere, and
 * waits where strangers are turned away.
 */
const STRANGERS = 64;
const OTHERS = 100;

/** Milliseconds within which strangers hear that there is no place, not all at once; and how many wait for that at most. */
const TURNED_AWAY_AFTER = { least: 500, most: 1_500 };
const TURNED_AWAY = 1_000;

/** @param options.queueLimit How many may wait at most. */
export function createPasswords({ queueLimit = OTHERS }: { queueLimit?: number } = {}): Passwords {
  const inTurn = createQueue();
  const ofStrangers = Math.min(queueLimit, STRANGERS);
  let attempts = 0;
  let turnedAway = 0;

  async function turnAway(): Promise<never> {
    if (turnedAway < TURNED_AWAY) {
      turnedAway += 1;
      await sleep(randomInt(TURNED_AWAY_AFTER.least, TURNED_AWAY_AFTER.most));
      turnedAway -= 1;
    }
    throw tooBusy();
  }

  return {
    async attempt(work) {
      if (attempts >= AT_ONCE + ofStrangers) return turnAway();
      attempts += 1;
      try {
        return await work();
      } finally {
        attempts -= 1;
      }
    },

    async hash(password) {
      const normalized = normalizePassword(password);
      if (normalized === undefined)
        throw new AppError('invalid_request', 'password is not text', { field: 'password' });
      return inTurn(queueLimit, () => hash(normalized, COST));
    },

    async verify(password, passwordHash) {
      const normalized = normalizePassword(password);
      if (normalized === undefined) return false;
      return inTurn(ofStrangers, () => verify(passwordHash ?? nobodysHash(), normalized));
    },
  };
}

/** Looks and costs like a hash, but is random: nobody's password gives it. */
function nobodysHash(): string {
  const random = (bytes: number) => randomBytes(bytes).toString('base64').replaceAll('=', '');
  return `$argon2id$v=19$m=${COST.memoryCost},t=${COST.timeCost},p=${COST.parallelism}$${random(16)}$${random(32)}`;
}

function tooBusy(): AppError {
  return new AppError('temporarily_unavailable', 'too many people are signing in; try again', { retryAfter: 1 });
}

function createQueue() {
  const waiting: Array<() => void> = [];
  let running = 0;

  async function turn(limit: number): Promise<void> {
    if (running < AT_ONCE) {
      running += 1;
      return;
    }
    if (waiting.length >= limit) throw tooBusy();
    // Whoever finishes hands over its place, so `running` stays as it is.
    await new Promise<void>((resolve) => waiting.push(resolve));
  }

  function done(): void {
    const next = waiting.shift();
    if (next) next();
    else running -= 1;
  }

  return async function inTurn<T>(limit: number, work: () => Promise<T>): Promise<T> {
    await turn(limit);
    try {
      return await work();
    } finally {
      done();
    }
  };
}
