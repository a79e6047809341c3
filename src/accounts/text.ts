import { z } from 'zod';

/**
 * A line of text that people may see anywhere: pages, mails, headers, other people's apps. No control characters, line
 * breaks, broken characters, or marks that turn the reading direction of what follows (Unicode UAX #9 §2).
 * @param length At most this many UTF-16 units.
 */
export function line(length: number) {
  return z
    .string()
    .max(length)
    .regex(/^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]*$/u, 'must not have control characters')
    .trim()
    .min(1);
}

/**
 * What somebody else wrote, made into such a line. Angle brackets become the quotation marks that look most like them, so that
 * "Ann <3" can be read and no page that fails to escape it is harmed.
 */
export function cleanLine(text: string, length: number): string {
  const plain = text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069\ufffd]+/gu, ' ')
    .replaceAll('<', '‹')
    .replaceAll('>', '›')
    .trim();
  // Not half of a character at the end.
  return plain
    .slice(0, length)
    .replace(/[\ud800-\udbff]$/, '')
    .trim();
}
