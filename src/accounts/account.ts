import { z } from 'zod';
import { cleanLine, line } from './text.ts';

/** A moment, in whole seconds since 1970-01-01T00:00Z. */
export const Instant = z.int().nonnegative();

const LONGEST_NAME = 120;

/** Part of somebody's name. Without angle brackets: names end up in pages of apps that may not escape them. */
const Name = line(LONGEST_NAME).regex(/^[^<>]*$/, 'must not have angle brackets');
const Url = z.url({ protocol: /^https?$/ }).max(2000);

const Address = z.object({
  /** May have several lines (OIDC Core §5.1.1). */
  formatted: z
    .string()
    .max(1000)
    .regex(/^(?:[^\p{Cc}\p{Cs}]|\r?\n)*$/u, 'must not have control characters')
    .optional(),
  streetAddress: line(300).optional(),
  locality: line(120).optional(),
  region: line(120).optional(),
  postalCode: line(40).optional(),
  country: line(120).optional(),
});

/** What a person tells about themselves: the standard claims (OIDC Core §5.1). */
export const Profile = z.object({
  givenName: Name.optional(),
  familyName: Name.optional(),
  middleName: Name.optional(),
  nickname: Name.optional(),
  preferredUsername: Name.optional(),
  website: Url.optional(),
  /** YYYY-MM-DD, or YYYY; the year may be 0000. */
  birthdate: z
    .string()
    .regex(/^\d{4}(-\d{2}-\d{2})?$/, 'must be YYYY-MM-DD or YYYY')
    .optional(),
  /** Name of a time zone, such as Europe/Helsinki. */
  zoneinfo: z
    .string()
    .regex(/^[A-Za-z0-9_+/-]{1,64}$/, 'must be the name of a time zone')
    .optional(),
  /** Language tag (BCP 47), such as fi-FI. */
  locale: z
    .string()
    .max(35)
    .regex(/^[A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8})*$/, 'must be a language tag')
    .optional(),
  phoneNumber: z
    .string()
    .regex(/^\+?[0-9][0-9 ().-]{2,30}(;ext=[0-9]{1,8})?$/, 'must be a telephone number')
    .optional(),
  phoneNumberVerified: z.boolean().optional(),
  address: Address.optional(),
});
export type Profile = z.infer<typeof Profile>;

/** Those that are names, which nearly any text can be made into. */
const NAMES = new Set(['givenName', 'familyName', 'middleName', 'nickname', 'preferredUsername']);

/**
 * What somebody else tells about a person, as far as it has a place here: names cleaned, whatever else is unusable left out. A
 * detail is never a reason to refuse the person.
 * @returns The names of the details that are not as they were told as `altered`.
 */
export function profileFromElsewhere(told: Partial<Record<keyof Profile, unknown>>): {
  profile: Profile;
  altered: string[];
} {
  const said = Object.entries(told).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const taken = said.flatMap(([name, value]) => {
    const text = NAMES.has(name) && typeof value === 'string' ? cleanLine(value, LONGEST_NAME) : value;
    const { data } = Profile.shape[name as keyof Profile].safeParse(text);
    return data === undefined ? [] : [[name, data] as const];
  });
  const profile = Object.fromEntries(taken);
  const isAltered = ([name, value]: [string, unknown]) =>
    typeof value === 'string' ? value.trim() !== (profile[name] ?? '') : profile[name] === undefined;
  return { profile: Profile.parse(profile), altered: said.filter(isAltered).map(([name]) => name) };
}

/** `pending` waits for an administrator's approval. Only `active` may do anything. */
export const AccountStatus = z.enum(['active', 'pending', 'disabled']);
export type AccountStatus = z.infer<typeof AccountStatus>;

/** A person who can sign in. `id` is the `sub` of every token (OIDC Core §2) and never changes. */
export const Account = Profile.extend({
  id: z.uuid(),
  /** In the spelling of `Email`; empty when somebody else proved it to be theirs. */
  email: z.string(),
  emailVerified: z.boolean(),
  /** The id of the app by whose word alone the e-mail is, or was, this person's. */
  emailSaidBy: z.string().optional(),
  /** The e-mail that went to who proved it. Apps of the organization find this person by it as before. */
  emailGivenUp: z.string().optional(),
  status: AccountStatus,
  administrator: z.boolean(),
  organizationId: z.string().optional(),
  /** Names of permissions given to this person; see `permissionsOf` for what they may use. */
  permissions: z.array(z.string().max(64)).max(200),
  /** Those of them that apps gave by their word, by app. What an administrator gave is in none. */
  given: z.record(z.string(), z.array(z.string())).optional(),
  /** Argon2id in PHC string format. Absent: signs in by other means only. */
  passwordHash: z.string().optional(),
  /**
   * Raised by the same write as whatever ends what was proven before. Sessions, grants and sign-ins on their way carry the epoch
   * they were proven under, and count while it is this one.
   */
  epoch: z.int().nonnegative().default(0),
  /** The uid of the one session of the epoch before that goes on. */
  keptSession: z.string().optional(),
  /** The epoch since which grants count: ending other sessions leaves what apps were given to keep. */
  grantsSince: z.int().nonnegative().default(0),
  /** The epoch since which personal tokens count: a new password ends none. */
  tokensSince: z.int().nonnegative().default(0),
  createdAt: Instant,
  updatedAt: Instant,
});
export type Account = z.infer<typeof Account>;

/** What stands on a proof of who somebody is. */
export type ProofKind = 'sign-in' | 'grant' | 'token';

/**
 * Whether what was proven under an epoch counts now: the account may act, and nothing has ended it since. Records of earlier versions
 * name no epoch, which was the first.
 */
export function counts(account: Account, kind: ProofKind, under = 0): boolean {
  const since = { 'sign-in': account.epoch, grant: account.grantsSince, token: account.tokensSince };
  return account.status === 'active' && under >= since[kind];
}

/** The same of a session, of which one may have been kept. */
export function countsSession(
  account: Account,
  { uid, epoch = 0 }: { uid: string; epoch?: number | undefined },
): boolean {
  const isKept = uid === account.keptSession && epoch === account.epoch - 1;
  return counts(account, 'sign-in', isKept ? account.epoch : epoch);
}

/** Whether the e-mail goes to whoever proves it to be theirs. */
export function isYielding({ email, emailVerified, emailSaidBy }: Account): boolean {
  return email !== '' && !emailVerified && emailSaidBy !== undefined;
}

/** The permission every account has: to manage one's own personal tokens. */
export const BUILT_IN_PERMISSION = 'tokens';

/** Everything the account may do now, the built-in permission included. Nothing unless it is active. */
export function permissionsOf(account: Account): string[] {
  return account.status === 'active' ? [...new Set([BUILT_IN_PERMISSION, ...account.permissions])] : [];
}

/** The `name` claim (OIDC Core §5.1): what to call this person on a page. */
export function displayName(account: Account): string {
  const { givenName, middleName, familyName } = account;
  const fullName = [givenName, middleName, familyName].filter((part) => part !== undefined).join(' ');
  return fullName || account.nickname || account.preferredUsername || account.email || account.id;
}
