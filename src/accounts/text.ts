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
