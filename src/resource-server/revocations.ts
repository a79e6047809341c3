/**
 * A count of everything that may have taken something from a credential: a revocation, a suspended account or app, a lost
 * permission, an ended session. APIs that remember answers watch it and forget them when it moves. Owns which writes those are.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { ObservedWrite } from '../storage/observed.ts';
import { createRounds } from '../storage/rounds.ts';
import type { Storage } from '../storage/storage.ts';

/** Milliseconds between two looks; well under the second within which an API has to know. */
const INTERVAL_MS = 250;
/** How often a count that failed is tried again: longer than any API remembers. */
const LATE_ATTEMPTS = 2_000;
const KEY = 'withdrawals';

const CHANGED = /^(account|client|ended-family|personal-token):/;
const REMOVED = /^(account|client|AccessToken|ClientCredentials|Grant|Session-uid):/;

/** Whether a write may have taken something away. */
export function isRevocation({ verb, key }: ObservedWrite): boolean {
  if (verb === 'delete' || verb === 'take') return REMOVED.test(key);
  return CHANGED.test(key);
}

export interface Revocations {
  /** Counts what has happened, for every process to see; later, when the store does not let us now. */
  note(): Promise<void>;
  /** The count now. */
  count(): Promise<number>;
  /** The count whenever it has moved, and `null` while the store does not answer. Ends with the signal. */
  watch(signal: AbortSignal): AsyncGenerator<number | null>;
}

export function createRevocations(storage: Storage): Revocations {
  async function count(): Promise<number> {
    return z
      .int()
      .default(0)
      .parse(await storage.get(KEY));
  }

  /** One write for all who wait, so that processes with much to count seldom meet at the record. */
  const countAll = createRounds(async () => {
    await storage.update(KEY, (current) => z.int().default(0).parse(current) + 1);
  });
  let missed = false;
  let isCatchingUp = false;

  /** What was taken away is gone, and must not be reported as if it were not: it is counted as soon as the store lets us. */
  async function catchUp(): Promise<void> {
    if (isCatchingUp) return;
    isCatchingUp = true;
    for (let attempt = 0; missed && attempt < LATE_ATTEMPTS; attempt++) {
      await sleep(INTERVAL_MS, undefined, { ref: false });
      missed = false;
      await countAll().catch(() => {
        missed = true;
      });
    }
    isCatchingUp = false;
  }

  return {
    count,

    async note() {
      await countAll().catch(() => {
        missed = true;
        void catchUp();
      });
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
