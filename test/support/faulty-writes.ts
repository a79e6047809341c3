/** A store whose writes fail or wait, as those of a process that is killed, or overtaken by another one. */
import { AppError } from '../../src/errors.ts';
import type { Storage } from '../../src/storage/storage.ts';

const WRITES = ['insert', 'put', 'update', 'take', 'delete'] as const;
type Write = (...args: unknown[]) => Promise<unknown>;

/** Changes every write of a store until the function that it answers is called. */
function changeWrites(storage: Storage, changed: (write: () => Promise<unknown>, key: string) => Promise<unknown>) {
  const verbs = storage as unknown as Record<string, Write>;
  const original = WRITES.map((verb) => [verb, verbs[verb] as Write] as const);
  for (const [verb, write] of original)
    verbs[verb] = (...args) => changed(() => write.apply(storage, args), String(args[0]));
  return () => {
    for (const [verb, write] of original) verbs[verb] = write;
  };
}

/** As if the process were killed after some writes. The answer ends that, and says whether it came to it. */
export function failWrites(storage: Storage, { after }: { after: number }): () => boolean {
  let [done, failed] = [0, false];
  const restore = changeWrites(storage, async (write) => {
    if (done++ < after) return write();
    failed = true;
    throw new Error('killed');
  });
  return () => {
    restore();
    return failed;
  };
}

/** One write fails, as when the store is out of reach for a moment. The answer ends that, and says whether it came to it. */
export function failOneWrite(storage: Storage, { after }: { after: number }): () => boolean {
  let done = 0;
  const restore = changeWrites(storage, async (write) => {
    if (done++ === after) throw new AppError('temporarily_unavailable', 'the store is out of reach');
    return write();
  });
  return () => {
    restore();
    return done > after;
  };
}

/** After how many writes to kill next: once the act has happened, what is left is cleaning up, which is long and all alike. */
export function nextKill(kept: number, raisedAt: number | undefined): number {
  return raisedAt !== undefined && kept > raisedAt + 2 ? Number.POSITIVE_INFINITY : kept + 1;
}

/** Holds the n-th write, and with it the request that wants it. */
export function holdWrite(storage: Storage, n: number, isMeant: (key: string) => boolean = () => true) {
  const [reached, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let count = 0;
  const restore = changeWrites(storage, async (write, key) => {
    if (isMeant(key) && ++count === n) {
      reached.resolve();
      await released.promise;
    }
    return write();
  });
  return {
    reached: reached.promise,
    release() {
      restore();
      released.resolve();
    },
  };
}
