/**
 * The storage port: a handful of verbs, each atomic for ONE record, which is all that a Redis Cluster can keep.
 * A change of several records is an ordered list of writes that is safe to repeat. An acknowledged write is durable.
 * Engines know text, expiry and groups; they must not know what a record means.
 *
 * Every verb rejects with `AppError('temporarily_unavailable')` within two seconds when the engine is out of reach. A write
 * that was rejected so may still have happened, when it had begun: an unknown outcome is never reported as success, nor as
 * "nobody had it". One that had not begun never does: it carries its deadline to where it is carried out.
 *
 * Keys and groups are any well-formed Unicode, NUL included. One with a lone surrogate names nothing: reads find nothing,
 * writes reject with `AppError('invalid_request')`.
 */
import { AppError } from '../errors.ts';

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json | undefined };

export interface WriteOptions {
  /** Whole seconds until the record is gone; absent means never. */
  ttl?: number;
  /** Groups the record is listed under, such as `account:<id>`. Kept until the record is deleted or expires. */
  groups?: readonly string[];
  /** What works once: it is gone for good when the engine cannot tell any more whether it was used. */
  once?: boolean;
}

export interface GetOptions {
  /**
   * The value may be shared with other readers and is deeply frozen. While the stored text is the same, so is the object: what was
   * made of it can be remembered under it.
   */
  shared?: boolean;
  /** It works once: found expired, it is gone for good, even if the clock by which it has expired was wrong and is set back. */
  once?: boolean;
}

export interface Entry {
  readonly key: string;
  readonly value: Json;
}

export interface Page {
  readonly entries: readonly Entry[];
  /** Pass as `after` to go on; absent on the last page. A page may hold fewer entries than asked for and still have a next. */
  readonly next?: string;
}

export interface ListOptions {
  /** At most this many records of the group are looked at; default 100. */
  limit?: number;
  /** The `next` of an earlier page. */
  after?: string;
  /** Keys in descending order. */
  descending?: boolean;
}

export interface Storage {
  /**
   * Whole seconds since 1970: the time that records expire by. It never goes back, whatever becomes of this machine's clock, so whoever
   * judges what is stored goes by it too.
   */
  now(): number;

  /** Stores a new record. False, and nothing written, when the key is taken by a live record. One of many parallel callers gets true. */
  insert(key: string, value: Json, options?: WriteOptions): Promise<boolean>;

  /** Stores a record, new or not. An earlier record's expiry and groups are replaced. */
  put(key: string, value: Json, options?: WriteOptions): Promise<void>;

  /** The record's value, or undefined when it was never there, was deleted or has expired. */
  get(key: string, options?: GetOptions): Promise<Json | undefined>;

  /**
   * Replaces a record by a function of what it is, atomically. `change` must be pure: it runs again when somebody else
   * wrote in between. It gets undefined for an absent record; returning undefined leaves everything as it is.
   * What `options` does not name, expiry or groups, an existing record keeps.
   * Answers what was written, or undefined when nothing was.
   */
  update(
    key: string,
    change: (current: Json | undefined) => Json | undefined,
    options?: WriteOptions,
  ): Promise<Json | undefined>;

  /** Reads and deletes in one step. Of many parallel callers exactly one gets the value. */
  take(key: string): Promise<Json | undefined>;

  /** Deletes; true when there was a live record. */
  delete(key: string): Promise<boolean>;

  /**
   * The live records of a group in the order of their keys (by UTF-8 bytes), page by page. A record that is there during the
   * whole walk is seen exactly once, whatever is inserted or deleted between pages.
   */
  list(group: string, options?: ListOptions): Promise<Page>;

  /** Resolves when the engine can take writes now, and is set up as it must be: the `cause` is an `UnfitStore` when it is not. */
  ping(): Promise<void>;

  /** Finishes acknowledged work and lets go of files and sockets. Verbs reject afterwards. */
  close(): Promise<void>;
}

/** A store that the operator has to change, or to allow something; the message says what, and is fit for anybody. */
export class UnfitStore extends Error {
  override readonly name = 'UnfitStore';
}

/** How every engine says that it is out of reach. `cause` is for the log only. */
export function unavailable(cause: unknown): AppError {
  return new AppError('temporarily_unavailable', 'The store is out of reach. Try again in a moment.', {
    retryAfter: 2,
    cause,
  });
}
