/** What a provider tells about a person. It proves nothing about accounts here. */
import { Email } from '../email.ts';

export interface UpstreamProfile {
  /** Only when the provider has verified it. */
  email?: string | undefined;
  givenName?: string | undefined;
  familyName?: string | undefined;
  nickname?: string | undefined;
}

/** Whether there is nothing left to ask for that an account needs. */
export function isWhole({ email, givenName, familyName }: UpstreamProfile): boolean {
  return email !== undefined && (givenName !== undefined || familyName !== undefined);
}

/** What is known, with more to go by. Where nothing was left to ask for, that is only whether the address is theirs. */
export function withMore(known: UpstreamProfile, more: UpstreamProfile): UpstreamProfile {
  return isWhole(known) ? { ...known, email: more.email } : more;
}

type Claims = Record<string, unknown>;

/**
 * The standard claims (OIDC Core §5.1) that an account has a place for, from everything that the provider said. Where it said
 * something twice, what it said first counts.
 */
export function profileIn(...said: readonly Claims[]): UpstreamProfile {
  const textOf = (name: string) => said.map((claims) => claims[name]).find(isText);
  const { givenName, familyName } = namesOf(textOf('given_name'), textOf('family_name'), textOf('name'));
  return { email: verifiedEmailIn(said), givenName, familyName, nickname: textOf('nickname') };
}

/** A full name is split where it has no parts of its own: the last word is the family's. */
function namesOf(givenName?: string, familyName?: string, name?: string) {
  if (givenName !== undefined || familyName !== undefined || name === undefined) return { givenName, familyName };
  const [, given, family] = /^(.*\S)\s+(\S+)$/su.exec(name.trim()) ?? [undefined, name.trim(), undefined];
  return { givenName: given, familyName: family };
}

/**
 * An address may be said in one place and be said to be verified in another one, but never be one that it was not said of. That it is
 * not verified counts wherever it is said.
 */
function verifiedEmailIn(said: readonly Claims[]): string | undefined {
  const claimed = said.filter(({ email }) => isText(email));
  const [email] = claimed.map((claims) => Email.safeParse(claims.email).data);
  const about = said.filter((claims) => !isText(claims.email) || Email.safeParse(claims.email).data === email);
  const words = about.map((claims) => claims.email_verified).filter((word) => word !== undefined && word !== null);
  // Some say it in words.
  const isVerified = words.length > 0 && words.every((word) => word === true || word === 'true');
  return isVerified ? email : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== '';
}
