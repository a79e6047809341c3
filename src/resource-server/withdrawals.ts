/**
 * A count of everything that may have taken something from a credential: a revocation, a suspended account or app, a lost
 * permission, an ended session. APIs that remember answers watch it and forget them when it moves. Owns which writes those are.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { ObservedWrite } from '../storage/observed.ts';
import type { Storage } from '../storage/storage.ts';

/** Milliseconds between two looks; well under the second within which an API has to know. */
const INTERVAL_MS = 250;
const KEY = 'withdrawals';

const CHANGED = /^(account|client|ended-family|personal-token):/;
const REMOVED = /^(account|client|AccessToken|ClientCredentials|Grant|Session-uid):/;

/** Whether a write may have taken something away. */
export function isWithdrawal({ verb, key }: ObservedWrite): boolean {
  if (verb === 'delete' || verb === 'take') return REMOVED.test(key);
  return CHANGED.test(key);
}

export interface Withdrawals {
  /** Counts one, for every process to see. */
  note(): Promise<void>;
  /** The count now. */
  count(): Promise<number>;
  /** The count whenever it has moved, and `null` while the store does not answer. Ends with the signal. */
  watch(signal: AbortSignal): AsyncGenerator<number | null>;
}

export function createWithdrawals(storage: Storage): Withdrawals {
  async function count(): Promise<number> {
    return z
      .int()
      .default(0)
      .parse(await storage.get(KEY));
  }

  return {
    count,

    async note() {
      await storage.update(KEY, (current) => z.int().default(0).parse(current) + 1);
    },

    async *watch(signal) {
      let last: number | null | undefined;
      while (!signal.aborted) {
        const now = await count().catch(() => null);
        if (now !== last) yield now;
        last = now;
        await sleep(INTERVAL_MS, undefined, { signal }).catch(() => undefined);
      }
    },
  };
}
