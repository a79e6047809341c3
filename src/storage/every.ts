interface Part<T> {
  records: T[];
  next?: string;
}

/** Everything that is listed in parts, one part in memory at a time. */
export async function* every<T>(
  list: (page: { after?: string }) => Promise<Part<T>>,
  after?: string,
): AsyncGenerator<T> {
  let next = after;
  do {
    const part = await list(next === undefined ? {} : { after: next });
    yield* part.records;
    next = part.next;
  } while (next !== undefined);
}
