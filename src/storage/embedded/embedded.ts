/**
 * The default engine: one SQLite file that several processes of one machine share. Reads are point queries on the calling
 * thread (microseconds); writes go through one thread that commits them in groups. An acknowledged write has been flushed to
 * the disk and is seen by every process's next read. It must not know what a record means.
 */
import type { DatabaseSync } from 'node:sqlite';
import { createDeadlines, type Deadline, isOverdue } from '../deadline.ts';
import { createKeyedMutex } from '../keyed-mutex.ts';
import { checkNames, createSharedReader, expiryOf, isLive, isName, pageSizeOf, toText } from '../record.ts';
import { type Entry, type Json, type Page, type Storage, unavailable, type WriteOptions } from '../storage.ts';
import { createStoreClock } from '../store-clock.ts';
import { openDatabase, prepareFile } from './database.ts';
import { createWriteQueue } from './queue.ts';
import type { Row } from './thread.ts';

export interface EmbeddedStorageOptions {
  /** Made when it is missing, for the owner only. */
  directory: string;
  /** Whole seconds since 1970, by a clock that may be set. */
  now: () => number;
  /** Seconds, by one that is never set. */
  elapsed?: () => number;
  /** Hears when `now` is not believed: nothing is forgotten until it is again. */
  warn?: (message: string) => void;
  /** Seconds between two rounds of forgetting expired records; they are invisible before. */
  sweepEvery?: number;
}

type MemberRow = { key: string } & Row;

/** @throws {Error} with one line for the operator when the directory or the file cannot be used. */
export function createEmbeddedStorage({
  directory,
  now: wall,
  elapsed,
  warn = () => undefined,
  sweepEvery = 30,
}: EmbeddedStorageOptions): Storage {
  const file = prepareFile(directory);
  const database = openDatabase(file);
  const clock = createStoreClock({
    wall,
    ...(elapsed && { elapsed }),
    latest: latestIn(database),
    isNew: database.prepare('SELECT 1 FROM record LIMIT 1').get() === undefined,
    onDoubt: (seconds) =>
      warn(
        Number.isFinite(seconds)
          ? `the clock of this machine is ${Math.round(seconds)} seconds ahead of where it should be; nothing that expires is erased until it is right again or has been so for an hour`
          : 'nothing that expires is erased for an hour: this store has not written down yet what time it is',
      ),
  });
  const { now } = clock;
  let marked = 0;
  const queue = createWriteQueue(file);
  const deadlines = createDeadlines();
  const serialize = createKeyedMutex();
  const readShared = createSharedReader();

  const find = database.prepare('SELECT value, expires_at FROM record WHERE key = ?');
  const members = 'SELECT key, value, expires_at FROM membership JOIN record USING (key) WHERE "group" = ?';
  const walk = {
    fromStart: database.prepare(`${members} ORDER BY key LIMIT ?`),
    after: database.prepare(`${members} AND key > ? ORDER BY key LIMIT ?`),
    fromEnd: database.prepare(`${members} ORDER BY key DESC LIMIT ?`),
    before: database.prepare(`${members} AND key < ? ORDER BY key DESC LIMIT ?`),
  };

  function read<T>(query: () => T): T {
    try {
      return query();
    } catch (cause) {
      throw unavailable(cause);
    }
  }

  function rowOf(key: string): Row | undefined {
    const row = read(() => find.get(key)) as Row | undefined;
    if (!row || isLive(row.expires_at, now())) return row;
    if (Number(row.expires_at) > marked) void keepTime(); // what was seen expired stays so
    return undefined;
  }

  /** Writes down what time it is, for the next start. Answers it unless it is in doubt. */
  async function keepTime(): Promise<number | undefined> {
    const { latest, isCertain } = clock.look();
    if (latest !== undefined && latest > marked) {
      marked = latest;
      await queue.write({ verb: 'mark', latest }).catch(() => {
        marked = 0;
      });
    }
    return isCertain ? latest : undefined;
  }

  async function insert(key: string, value: Json, options: WriteOptions, deadline?: Deadline): Promise<boolean> {
    const at = now();
    const [expiresAt, groups] = [expiryOf(options, at) ?? null, options.groups ?? []];
    return queue.write({ verb: 'insert', key, value: toText(value), expiresAt, groups, now: at }, deadline);
  }

  const storage: Storage = {
    now,

    async insert(key, value, options = {}) {
      checkNames(key, options.groups);
      return insert(key, value, options);
    },

    async put(key, value, options = {}) {
      checkNames(key, options.groups);
      const [expiresAt, groups] = [expiryOf(options, now()) ?? null, options.groups ?? []];
      await queue.write({ verb: 'put', key, value: toText(value), expiresAt, groups });
    },

    async get(key, { shared = false, once = false } = {}) {
      const row = isName(key) ? rowOf(key) : undefined;
      if (!row && once && isName(key) && read(() => find.get(key))) await storage.delete(key);
      return row && (shared ? readShared(row.value) : parse(row.value));
    },

    async update(key, change, options = {}) {
      checkNames(key, options.groups);
      return deadlines.meet((deadline) => {
        /** Stores the value unless the record is no longer what was seen. */
        const replace = (seen: Row | undefined, value: Json) => {
          if (!seen) return insert(key, value, options, deadline);
          const expiresAt = expiryOf(options, now()) ?? seen.expires_at;
          const regroup = options.groups && { groups: options.groups };
          return queue.write({ verb: 'swap', key, seen, value: toText(value), expiresAt, ...regroup }, deadline);
        };
        return serialize(key, async () => {
          while (!isOverdue(deadline)) {
            const seen = rowOf(key);
            const next = change(seen && parse(seen.value));
            if (next === undefined || (await replace(seen, next))) return next;
          }
          throw unavailable(new Error('too many writers'));
        });
      });
    },

    async take(key) {
      if (!isName(key)) return undefined;
      const text = await queue.write({ verb: 'take', key, now: now() });
      return text === null ? undefined : parse(text);
    },

    async delete(key) {
      return isName(key) && queue.write({ verb: 'delete', key, now: now() });
    },

    async list(group, options = {}) {
      if (!isName(group)) return { entries: [] };
      const { after, descending = false } = options;
      const size = pageSizeOf(options);
      const rows = read(() => {
        if (after === undefined) return (descending ? walk.fromEnd : walk.fromStart).all(group, size);
        return (descending ? walk.before : walk.after).all(group, after, size);
      }) as unknown as MemberRow[];
      return pageOf(rows, size, now());
    },

    async ping() {
      await queue.write({ verb: 'touch' });
    },

    async close() {
      clearInterval(sweeping);
      await keepTime();
      await deadlines.close();
      await queue.close();
      if (database.isOpen) database.close();
    },
  };

  async function sweep(): Promise<void> {
    let hasMore = true;
    while (hasMore) {
      const certain = await keepTime();
      hasMore = certain !== undefined && (await queue.write({ verb: 'sweep', now: certain }).catch(() => false));
    }
  }
  void keepTime();
  const sweeping = setInterval(sweep, sweepEvery * 1000).unref();

  return storage;
}

function latestIn(database: DatabaseSync): number | undefined {
  const row = database.prepare('SELECT latest FROM clock').get();
  return row && Number(row.latest);
}

function pageOf(rows: readonly MemberRow[], size: number, now: number): Page {
  const live = rows.filter((row) => isLive(row.expires_at, now));
  const entries: Entry[] = live.map(({ key, value }) => ({ key, value: parse(value) }));
  const last = rows.at(-1);
  return last && rows.length === size ? { entries, next: last.key } : { entries };
}

const parse = (text: string) => JSON.parse(text) as Json;
