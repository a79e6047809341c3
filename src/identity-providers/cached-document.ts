import { elapsed } from '../clock.ts';
import { ProviderUnavailable } from './token-verifier.ts';

export interface CachedDocument<T> {
  /** The document, at most so old as it may be. @throws {ProviderUnavailable} */
  get(): Promise<T>;
  /** A newer one than `seen`, if there has been time to ask for one; else the same. @throws {ProviderUnavailable} */
  newerThan(seen: T): Promise<T>;
}

/** Seconds between two requests for the same document, whatever happens. */
const INTERVAL = 10;
/** Seconds after which a document is asked for again, and those that it does instead while there is no other. */
const FRESH = 600;
const STALE = 6 * 60 * 60;

/** A document of a provider that rarely changes, such as its keys: asked for at most once in ten seconds by all who want it. */
export function cachedDocument<T>(load: () => Promise<T>): CachedDocument<T> {
  let known: { value: T; at: number } | undefined;
  let askedAt = Number.NEGATIVE_INFINITY;
  let asking: Promise<T> | undefined;
  let failure: unknown;

  /** What is being asked for, or was lately. */
  function ask(): Promise<T> | undefined {
    if (asking || elapsed() - askedAt < INTERVAL) return asking;
    askedAt = elapsed();
    asking = load()
      .then(
        (value) => {
          known = { value, at: elapsed() };
          failure = undefined;
          return value;
        },
        (error: unknown) => {
          failure = error;
          throw error;
        },
      )
      .finally(() => {
        asking = undefined;
      });
    // Not everybody who makes it asked for waits for it.
    asking.catch(() => undefined);
    return asking;
  }

  const unavailable = () =>
    new ProviderUnavailable('asked for lately, without success', {
      retryAfter: Math.max(1, askedAt + INTERVAL - elapsed()),
      cause: failure,
    });

  return {
    async get() {
      const age = known ? elapsed() - known.at : Number.POSITIVE_INFINITY;
      if (known && age < FRESH) return known.value;
      const answer = ask();
      if (known && age < STALE) return known.value;
      if (!answer) throw unavailable();
      return answer;
    },

    async newerThan(seen) {
      if (known && known.value !== seen) return known.value;
      const answer = ask();
      if (answer) return answer;
      if (failure !== undefined || !known) throw unavailable();
      return known.value;
    },
  };
}
