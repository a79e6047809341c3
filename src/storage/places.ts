/**
 * Places for a limited number of things. Whoever counts what is there and then writes one more lets parallel callers past the
 * limit: a place is taken first, in one record, which remembers those on their way until they must have arrived.
 */
import { z } from 'zod';
import type { Storage } from './storage.ts';

/** Seconds; far longer than a write is under way. */
const ON_THEIR_WAY = 60;

const Taken = z.array(z.object({ id: z.string(), at: z.int() })).default([]);

export interface Wanted {
  /** What the places are of, such as an account's tokens. */
  name: string;
  id: string;
  most: number;
  /** How many there are, and the ids of these and of those that have ended, read just now. */
  there: { count: number; ids: ReadonlySet<string> };
}

/** Takes a place for what is then written. Undefined when there is none left. */
export type TakePlace = (wanted: Wanted) => Promise<Place | undefined>;

export interface Place {
  /** Writes what the place was taken for. When that fails, the place is free again at once, as far as the store can be reached. */
  fill<T>(write: () => Promise<T>): Promise<T>;
}

export function createPlaces({ storage, now }: { storage: Storage; now: () => number }): TakePlace {
  return async function takePlace({ name, id, most, there }) {
    const at = now();
    const key = `places:${name}`;
    const taken = await storage.update(
      key,
      (current) => {
        // Those that have arrived stay for the while: others may be asking by an older list, in which they are not.
        const recent = Taken.parse(current).filter((one) => Math.abs(at - one.at) < ON_THEIR_WAY);
        const coming = recent.filter((one) => !there.ids.has(one.id));
        return there.count + coming.length < most ? [...recent, { id, at }] : undefined;
      },
      { ttl: ON_THEIR_WAY },
    );
    if (taken === undefined) return undefined;
    return {
      async fill(write) {
        try {
          return await write();
        } catch (error) {
          const leave = (current: unknown) => Taken.parse(current).filter((one) => one.id !== id);
          await storage.update(key, leave, { ttl: ON_THEIR_WAY }).catch(() => undefined);
          throw error;
        }
      },
    };
  };
}
