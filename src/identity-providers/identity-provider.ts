import { z } from 'zod';
import { Instant } from '../accounts/account.ts';
import { line } from '../accounts/text.ts';
import { KIND_NAMES, KINDS } from './kinds/kinds.ts';

/** An https or http URL that paths can be put behind. Whether it may be reached is decided when it is asked. */
const BaseUrl = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .max(2000, 'is too long')
  .regex(/^[^\s?#]*$/, 'must not have a query or a fragment')
  .refine((url) => !URL.parse(url)?.username && !URL.parse(url)?.password, 'must not have a user name or password');

/** Which people without an account may come: none, those whom an administrator approves, or all. */
export const NewPeople = z.discriminatedUnion('policy', [
  z.object({ policy: z.literal('refuse') }),
  z.object({ policy: z.enum(['pending', 'active']), organizationId: z.string().optional() }),
]);
export type NewPeople = z.infer<typeof NewPeople>;

/** A system elsewhere that people sign in to, and whose word we take for who they are. */
export const IdentityProvider = z.object({
  id: z
    .string()
    .regex(/^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/, 'must be letters, digits, dots, dashes and underscores')
    .refine((id) => id.toUpperCase() !== 'APP_TOKEN_GILES', 'is the name of something else'),
  kind: z.enum(KIND_NAMES),
  /** What people call it; without it, what it is called by its kind. */
  name: line(60).optional(),
  /** Issuer identifier (OIDC Discovery §3), exactly as it stands in the provider's tokens. */
  issuer: BaseUrl.optional(),
  /** Where a provider of a kind with a usual place stands instead. */
  baseUrl: BaseUrl.optional(),
  /** The id that we have there. */
  clientId: z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/, 'must be visible characters')
    .optional(),
  /** The secret that goes with it, sealed. */
  sealedSecret: z.string().optional(),
  /** Whether people may sign in with it, as soon as we have a client id and a secret there. */
  signIn: z.boolean().default(true),
  newPeople: NewPeople,
  disabledAt: Instant.optional(),
  /** Raised when it is disabled: a sign-in that was on its way by then does not go on when it may again. */
  epoch: z.int().nonnegative().default(0),
  createdAt: Instant,
  updatedAt: Instant,
});
export type IdentityProvider = z.infer<typeof IdentityProvider>;

/** Who a token must have been issued to: the ids an app has there or, without any of its own, ours. */
export function audienceOf({ clientId }: IdentityProvider, providerClientIds: readonly string[]): string[] {
  if (providerClientIds.length > 0) return [...providerClientIds];
  return clientId === undefined ? [] : [clientId];
}

/** What people call it. */
export function nameOf({ id, kind, name }: Pick<IdentityProvider, 'id' | 'kind' | 'name'>): string {
  return name ?? KINDS[kind].brand ?? id;
}

/** Whether people can sign in with it now. */
export function isForSignIn({ disabledAt, signIn, clientId, sealedSecret }: IdentityProvider): boolean {
  return disabledAt === undefined && signIn && clientId !== undefined && sealedSecret !== undefined;
}
