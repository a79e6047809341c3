/**
 * What verbs of several steps go through: no caller is kept waiting, whatever the engine is stuck in, and a store that closes
 * lets those finish that are under way.
 */
import { unavailable } from './storage.ts';

/** Milliseconds; the port promises two seconds. */
const DEADLINE = 1_700;

export interface Gate {
  /**
   * The work's result, or `temporarily_unavailable` when it takes too long. The work is not stopped but told: one that repeats
   * itself must ask `overdue` before each round, so that nothing is started for a caller who has been refused.
   */
  pass<T>(work: (overdue: () => boolean) => Promise<T>): Promise<T>;
  /** Refuses from now on; resolves when nobody is inside. */
  close(): Promise<void>;
}

export function createGate(): Gate {
  const inside = new Set<Promise<unknown>>();
  let closed = false;

  async function pass<T>(work: (overdue: () => boolean) => Promise<T>): Promise<T> {
    if (closed) throw unavailable(new Error('the store is closed'));
    let overdue = false;
    let timer: NodeJS.Timeout | undefined;
    const refusal = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        overdue = true;
        reject(unavailable(new Error('no answer in time')));
      }, DEADLINE);
    });
    const visit = Promise.race([work(() => overdue), refusal]);
    inside.add(visit);
    try {
      return await visit;
    } finally {
      clearTimeout(timer);
      inside.delete(visit);
    }
  }

  async function close(): Promise<void> {
    closed = true;
    await Promise.allSettled(inside);
  }

  return { pass, close };
}
