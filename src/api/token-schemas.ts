import { z } from 'zod';
import type { ListedToken } from '../credentials/personal-token.ts';
import { NewPersonalToken } from '../credentials/personal-tokens.ts';

/** Whole seconds since 1970-01-01T00:00Z. */
const Moment = z.int().describe('Seconds since 1970-01-01T00:00Z');

/** What is sent to make a token. */
export const CreateToken = z.object({
  description: NewPersonalToken.shape.description.describe('What it is for'),
  scope: NewPersonalToken.shape.scope.describe('Space-separated permissions; absent: all that you hold now'),
  expires_in: NewPersonalToken.shape.expiresIn.describe('Seconds until it expires; absent: 90 days'),
});

/** What is sent to exchange a token for a new one. */
export const RotateToken = z.object({
  overlap: z.int().min(0).max(86_400).default(0).describe('Seconds for which the old token works on'),
});

/** A token as its user sees it; never the token itself. */
export const TokenRecord = z.object({
  id: z.string(),
  description: z.string(),
  scope: z.string(),
  hint: z.string().describe('Its first and last characters'),
  created_at: Moment,
  expires_at: Moment.nullable(),
  last_used_at: Moment.nullable(),
  last_used_from: z.string().nullable().describe('The network address'),
});

/** The one answer that holds the token. */
export const CreatedToken = TokenRecord.extend({ token: z.string().describe('Shown this once') });

export function toTokenRecord(token: ListedToken): z.infer<typeof TokenRecord> {
  return {
    id: token.id,
    description: token.description,
    scope: token.scope.join(' '),
    hint: token.hint,
    created_at: token.createdAt,
    expires_at: token.expiresAt ?? null,
    last_used_at: token.lastUse?.at ?? null,
    last_used_from: token.lastUse?.from ?? null,
  };
}
