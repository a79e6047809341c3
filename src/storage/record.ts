/**
 * What both engines do to a record before they store it: names are checked, the value becomes text, a lifetime becomes a moment.
 */
import { LRUCache } from 'lru-cache';
import { AppError } from '../errors.ts';
import type { Json, ListOptions, WriteOptions } from './storage.ts';

/** False for text with a lone surrogate: UTF-8 has no bytes for it, so it would collide with U+FFFD. */
export function isName(text: string): boolean {
  return text.isWellFormed();
}

/** @throws {AppError} `invalid_request` when the key or a group could not be told from another one in UTF-8. */
export function checkNames(key: string, groups: readonly string[] = []): void {
  if ([key, ...groups].every(isName)) return;
  throw new AppError('invalid_request', 'The name of a record must be well-formed Unicode.');
}

/** JSON text; a lone surrogate inside a value survives as an escape. */
export function toText(value: Json): string {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError('undefined cannot be stored');
  return text;
}

/** The moment a record written `now` is gone: from that second on it is never visible. Undefined: never. */
export function expiryOf({ ttl }: WriteOptions, now: number): number | undefined {
  if (ttl === undefined) return undefined;
  if (!Number.isSafeInteger(now + ttl)) throw new RangeError(`a lifetime is a whole number of seconds, not ${ttl}`);
  return now + ttl;
}

export function isLive(expiresAt: number | null | undefined, now: number): boolean {
  return expiresAt === null || expiresAt === undefined || expiresAt > now;
}

/** How many memberships a page looks at. */
export function pageSizeOf({ limit = 100 }: ListOptions): number {
  return Math.max(1, Math.trunc(limit));
}

/** Characters of all texts remembered by one engine. */
const REMEMBERED_TEXT = 4_000_000;

/** Reads texts and remembers what they said: reading the same text again gives the same, deeply frozen value. */
export function createSharedReader(): (text: string) => Json {
  const known = new LRUCache<string, object>({
    maxSize: REMEMBERED_TEXT,
    sizeCalculation: (_value, text) => text.length,
  });

  return (text) => {
    const found = known.get(text);
    if (found) return found as Json;
    const value = JSON.parse(text) as Json;
    if (typeof value !== 'object' || value === null) return value;
    known.set(text, deepFreeze(value));
    return value;
  };
}

function deepFreeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) if (typeof part === 'object' && part !== null) deepFreeze(part);
  return Object.freeze(value);
}
