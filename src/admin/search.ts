/** Looking through many records, a bounded part of them at a time. */
import { z } from 'zod';

/** What the address of a list may ask for; whatever else it says is left out. */
export const ListQuery = z.object({
  q: z.string().trim().max(200).catch(''),
  status: z.enum(['active', 'pending', 'disabled', '']).catch(''),
  after: z.string().max(200).optional().catch(undefined),
});

/** A page ends with the part that brings it to this many. */
const ENOUGH = 50;
const PART = 50;
/** Records looked at for one page; beyond them the person goes on when they want to. */
const MOST_LOOKED_AT = 10_000;

/** What a page of a list was asked for. */
export interface Search<T> {
  list(page: { limit: number; after?: string }): Promise<{ records: T[]; next?: string }>;
  matches(record: T): boolean;
  /** The `next` of the page before. */
  after?: string | undefined;
}

/** A page may hold few, or none, and still have a next. */
export async function search<T>({ list, matches, after }: Search<T>): Promise<{ found: T[]; next?: string }> {
  const found: T[] = [];
  let next = after;
  for (let looked = 0; looked < MOST_LOOKED_AT; looked += PART) {
    const part = await list(next === undefined ? { limit: PART } : { limit: PART, after: next });
    found.push(...part.records.filter(matches));
    next = part.next;
    if (next === undefined) return { found };
    if (found.length >= ENOUGH) break;
  }
  return next === undefined ? { found } : { found, next };
}

/** Whether each word of `query` begins a word of one of the texts, whatever the case. */
export function mentions(texts: readonly (string | undefined)[], query: string): boolean {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const lower = texts.map((text) => ` ${text?.toLowerCase() ?? ''}`);
  return words.every((word) => lower.some((text) => text.includes(` ${word}`)));
}
