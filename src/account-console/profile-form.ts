/** The form of a profile: which of the standard claims (OIDC Core §5.1) people say of themselves here, and what is wrong with it. */
import { z } from 'zod';
import { type Account, Profile } from '../accounts/account.ts';
import { parseInput } from '../input.ts';
import { isTimeZone } from '../time-zone.ts';

/** Fields of the form, as they are spelled on the wire, and the claim each is. */
const CLAIMS = {
  given_name: 'givenName',
  middle_name: 'middleName',
  family_name: 'familyName',
  nickname: 'nickname',
  phone_number: 'phoneNumber',
  birthdate: 'birthdate',
  website: 'website',
  locale: 'locale',
  zoneinfo: 'zoneinfo',
} as const;
const ADDRESS = {
  street_address: 'streetAddress',
  postal_code: 'postalCode',
  locality: 'locality',
  region: 'region',
  country: 'country',
} as const;

type Field = keyof typeof CLAIMS | keyof typeof ADDRESS;
const FIELDS = [...Object.keys(CLAIMS), ...Object.keys(ADDRESS)] as Field[];

/** What was typed, or is known, by field. */
export type ProfileValues = Record<Field, string>;

/** What is too long is for `Profile` to say: nothing that was typed counts as emptied. */
const Text = z.string('must be one text').trim().default('');
const Sent = z.object(Object.fromEntries(FIELDS.map((field) => [field, Text])) as Record<Field, typeof Text>);

export function valuesOf({ address = {}, ...account }: Account): ProfileValues {
  const entries = FIELDS.map((field) => [
    field,
    (field in CLAIMS
      ? account[CLAIMS[field as keyof typeof CLAIMS]]
      : address[ADDRESS[field as keyof typeof ADDRESS]]) ?? '',
  ]);
  return Object.fromEntries(entries) as ProfileValues;
}

/** @throws {AppError} `invalid_request` naming a field that came more than once. */
export function valuesIn(body: unknown): ProfileValues {
  return parseInput(Sent, body ?? {});
}

/** The changes, with what was emptied as undefined; or the fields at fault. */
export function changesOf(values: ProfileValues, account: Account): { changes: Profile } | { problems: Field[] } {
  const claims = pick(CLAIMS, values);
  const address = pick(ADDRESS, values);
  const hasAddress = Object.values(address).some((value) => value !== undefined);
  const parsed = Profile.safeParse({ ...claims, ...(hasAddress ? { address } : {}) });
  const problems = new Set(parsed.error?.issues.map(({ path }) => fieldOf(path)));
  if (values.zoneinfo !== '' && !isTimeZone(values.zoneinfo)) problems.add('zoneinfo');
  if (values.birthdate !== '' && !isDay(values.birthdate)) problems.add('birthdate');
  if (!parsed.success || problems.size > 0) return { problems: [...problems].filter((field) => field !== undefined) };
  const formatted = address.streetAddress === account.address?.streetAddress ? account.address?.formatted : undefined;
  return {
    changes: {
      ...claims,
      address: hasAddress ? { ...parsed.data.address, ...(formatted ? { formatted } : {}) } : undefined,
      // Somebody has proved the old number, nobody the new one.
      ...(claims.phoneNumber === account.phoneNumber ? {} : { phoneNumberVerified: undefined }),
    },
  };
}

function pick<T extends Partial<Record<Field, string>>>(names: T, values: ProfileValues) {
  const entries = Object.entries(names).map(([field, name]) => [name, values[field as Field] || undefined]);
  return Object.fromEntries(entries) as { [name in T[keyof T] & string]: string | undefined };
}

function fieldOf(path: PropertyKey[]): Field | undefined {
  const name = path[0] === 'address' ? path[1] : path[0];
  const names: Record<string, string> = path[0] === 'address' ? ADDRESS : CLAIMS;
  return FIELDS.find((field) => names[field] === name);
}

/** A year, or a day that there is. */
function isDay(text: string): boolean {
  if (!text.includes('-')) return true;
  const date = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text);
}
