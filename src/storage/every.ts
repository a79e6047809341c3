import { setImmediate as othersFirst } from 'node:timers/promises';

interface Part<T> {
  records: readonly T[];
  next?: string;
}

/**
 * Everything that is listed in parts, one part in memory at a time. Whatever else the process has to do gets its turn between two
 * parts: a store in this process answers at once, and however long the list is, nobody waits for more than a part of it.
 */
export async function* every<T>(
  list: (page: { after?: string }) => Promise<Part<T>>,
  after?: string,
): AsyncGenerator<T> {
  let next = after;
  do {
    const part = await list(next === undefined ? {} : { after: next });
    yield* part.records;
    next = part.next;
    if (next !== undefined) await othersFirst();
  } while (next !== undefined);
}
