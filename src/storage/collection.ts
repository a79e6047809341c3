import type { z } from 'zod';
import { AppError } from '../errors.ts';
import { every } from './every.ts';
import type { GetOptions, Json, ListOptions, Storage, WriteOptions } from './storage.ts';

/** A typed view of one kind of record: what goes in and what comes out fits the schema. */
export interface Collection<T> {
  /** False when the id is taken. */
  insert(id: string, record: T, options?: WriteOptions): Promise<boolean>;
  put(id: string, record: T, options?: WriteOptions): Promise<void>;
  /** The record, frozen and shared with other readers. */
  get(id: string, options?: Pick<GetOptions, 'once'>): Promise<T | undefined>;
  /** Changes a record that exists; `change` may run again. Answers the new record, or undefined when there is none or nothing changed. */
  update(id: string, change: (current: T) => T | undefined, options?: WriteOptions): Promise<T | undefined>;
  take(id: string): Promise<T | undefined>;
  delete(id: string): Promise<boolean>;
  /** In the order of their ids; `after` may be an id. */
  list(group: string, options?: ListOptions): Promise<{ records: T[]; next?: string }>;
  /** Every record of a group, read page by page. */
  all(group: string): AsyncGenerator<T>;
}

export interface CollectionOptions<S extends z.ZodType> {
  /** First part of every key. */
  kind: string;
  /** Version of the schema, written with each record. A record of a newer version is refused, not guessed at. */
  version: number;
  schema: S;
}

export function collection<S extends z.ZodType>(
  storage: Storage,
  { kind, version, schema }: CollectionOptions<S>,
): Collection<z.infer<S>> {
  type T = z.infer<S>;
  const keyOf = (id: string) => `${kind}:${id}`;
  // zod's output of a record schema is JSON by construction; the port's type cannot see that.
  const pack = (record: T): Json => ({ version, data: schema.parse(record) as Json });

  function unpack(value: Json): T {
    const stored = value as { version: number; data: unknown };
    if (stored.version > version) {
      throw new AppError('server_error', `a ${kind} record was written by a newer version of this program`);
    }
    return schema.parse(stored.data);
  }
  /** What was made of a value that is still the same: checking an account again costs more than reading it. */
  const unpacked = new WeakMap<object, T>();
  function unpackShared(value: Json): T {
    const known = unpacked.get(value as object);
    if (known !== undefined) return known;
    const record = unpack(value);
    Object.freeze(record);
    unpacked.set(value as object, record);
    return record;
  }
  const unpackMaybe = (value: Json | undefined) => (value === undefined ? undefined : unpack(value));

  async function list(group: string, { after, ...options }: ListOptions = {}) {
    const from = after === undefined || after.startsWith(keyOf('')) ? after : keyOf(after);
    const page = await storage.list(group, from === undefined ? options : { ...options, after: from });
    const records = page.entries.map((entry) => unpack(entry.value));
    return page.next === undefined ? { records } : { records, next: page.next };
  }

  return {
    list,
    insert: async (id, record, options) => storage.insert(keyOf(id), pack(record), options),
    put: async (id, record, options) => storage.put(keyOf(id), pack(record), options),
    async get(id, options) {
      const value = await storage.get(keyOf(id), { ...options, shared: true });
      return value === undefined ? undefined : unpackShared(value);
    },
    take: async (id) => unpackMaybe(await storage.take(keyOf(id))),
    delete: (id) => storage.delete(keyOf(id)),
    async update(id, change, options) {
      const written = await storage.update(
        keyOf(id),
        (current) => {
          if (current === undefined) return undefined;
          const next = change(unpack(current));
          return next === undefined ? undefined : pack(next);
        },
        options,
      );
      return unpackMaybe(written);
    },
    all: (group) => every((page) => list(group, page)),
  };
}
