import { z } from 'zod';
import { Instant } from '../accounts/account.ts';
import { line } from '../accounts/text.ts';

/** A customer, department or partner whose people and apps belong together. */
export const Organization = z.object({
  id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be letters, digits and ._-, at most 64'),
  name: line(120),
  createdAt: Instant,
});
export type Organization = z.infer<typeof Organization>;
