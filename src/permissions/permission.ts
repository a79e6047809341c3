import { z } from 'zod';
import { Instant } from '../accounts/account.ts';
import { line } from '../accounts/text.ts';

/** Scopes with a meaning of their own: those of OpenID Connect (Core §5.4, §11) and the built-in permission. */
const RESERVED = ['openid', 'profile', 'email', 'address', 'phone', 'offline_access', 'tokens'];

/** Something apps and people may be allowed to do. Its name is a scope (RFC 6749 §3.3), of a narrower spelling. */
export const Permission = z.object({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_.:-]{0,63}$/, 'must be a-z, 0-9 and _.:-, at most 64')
    .refine((name) => !RESERVED.includes(name), 'has a meaning of its own'),
  /** What an app that has it can do, in words for the consent page. */
  description: line(200),
  createdAt: Instant,
});
export type Permission = z.infer<typeof Permission>;
