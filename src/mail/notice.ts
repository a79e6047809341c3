/**
 * What mails tell people: a closed list, each with all that has to be said. The words are in the catalogue, under
 * `mail.<kind>`; links lead to our own pages, so no caller can put one in.
 */
import { z } from 'zod';

/** Whole seconds since 1970; shown in words. */
const Moment = z.int().nonnegative();

/** Text somebody chose: one line, short, and without characters that hide or turn what follows. */
const Said = z.string().transform((text) => onOneLine(text).slice(0, 120).toWellFormed());

/** Text a stranger may have chosen, such as a User-Agent: too plain to become a link in a mail program. */
const Plain = z.string().transform((text) =>
  text
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()
    .slice(0, 60)
    .toWellFormed(),
);

const Address = z.union([z.ipv4(), z.ipv6()]);

/** Which token: what its user calls it, and its first and last characters. */
const token = { description: Said, hint: Said };
/** Who the person is elsewhere: at which identity provider, and what they are called there. */
const identity = { provider: Said, label: Said.optional() };
/** When and from where. */
const event = { at: Moment, address: Address.optional(), device: Plain.optional() };

export const Notice = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('token_created'),
    ...token,
    scope: z.array(Said).max(200),
    /** Null: never. */
    expiresAt: Moment.nullable(),
    ...event,
  }),
  z.object({
    kind: z.literal('token_expires'),
    ...token,
    expiresAt: Moment,
    lastUsedAt: Moment.optional(),
    /** Days left. */
    count: z.int().positive(),
  }),
  /** A token that had been replaced by rotation was used; its whole family is revoked. */
  z.object({ kind: z.literal('token_reused'), ...token, ...event }),
  /** Somebody showed us the whole token, so it is revoked. */
  z.object({ kind: z.literal('token_leaked'), ...token, reportedBy: Plain.optional(), ...event }),
  z.object({ kind: z.literal('identity_linked'), ...identity, ...event }),
  z.object({ kind: z.literal('identity_unlinked'), ...identity, ...event }),
]);
export type Notice = z.infer<typeof Notice>;

/** The page of ours where something can be done about it. */
export const PAGE_OF: Record<Notice['kind'], `/${string}`> = {
  token_created: '/account/tokens',
  token_expires: '/account/tokens',
  token_reused: '/account/tokens',
  token_leaked: '/account/tokens',
  identity_linked: '/account/security',
  identity_unlinked: '/account/security',
};

function onOneLine(text: string): string {
  return text.replace(/[\s\p{Cc}\p{Cf}]+/gu, ' ').trim();
}
