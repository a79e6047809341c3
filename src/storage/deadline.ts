/**
 * What verbs of several steps go through: no caller is kept waiting, whatever the engine is stuck in, and a store that closes
 * lets those finish that are under way.
 */
import { monotonic } from '../clock.ts';
import { unavailable } from './storage.ts';

/** Milliseconds; the port promises two seconds. */
const PATIENCE = 1_700;
/** Milliseconds before the caller's refusal from which nothing is begun any more: what was begun may need as long to be answered. */
const LAST_START = 200;

/** The moment from which nothing is begun any more, by the monotonic clock. */
export type Deadline = number;

export interface Deadlines {
  /**
   * The work's result, or `temporarily_unavailable` when it takes too long. The work is not stopped but told until when it may
   * begin something: nothing is begun for a caller who has been refused.
   */
  meet<T>(work: (deadline: Deadline) => Promise<T>): Promise<T>;
  /** Refuses from now on; resolves when nobody is inside. */
  close(): Promise<void>;
}

export function createDeadlines(): Deadlines {
  const inside = new Set<Promise<unknown>>();
  let closed = false;

  async function meet<T>(work: (deadline: Deadline) => Promise<T>): Promise<T> {
    if (closed) throw unavailable(new Error('the store is closed'));
    let timer: NodeJS.Timeout | undefined;
    const refusal = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(unavailable(new Error('no answer in time'))), PATIENCE);
    });
    const visit = Promise.race([work(deadlineIn(PATIENCE - LAST_START)), refusal]);
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

  return { meet, close };
}

export function deadlineIn(milliseconds: number): Deadline {
  return monotonic() + milliseconds;
}

export function isOverdue(deadline: Deadline): boolean {
  return monotonic() >= deadline;
}
