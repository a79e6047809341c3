/** No verb keeps its caller waiting: whatever it is stuck in, it rejects in time. */
import { unavailable } from './storage.ts';

/** Milliseconds; the port promises two seconds. */
const DEADLINE = 1_700;

/**
 * The work's result, or `temporarily_unavailable` when it takes too long. The work is not stopped but told: one that repeats
 * itself must ask `overdue` before each round, so that nothing is started for a caller who has been refused.
 */
export async function bounded<T>(work: (overdue: () => boolean) => Promise<T>): Promise<T> {
  let overdue = false;
  let timer: NodeJS.Timeout | undefined;
  const refusal = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      overdue = true;
      reject(unavailable(new Error('no answer in time')));
    }, DEADLINE);
  });
  try {
    return await Promise.race([work(() => overdue), refusal]);
  } finally {
    clearTimeout(timer);
  }
}
