import type { Account } from '../accounts/account.ts';
import { displayName } from '../accounts/account.ts';

/** Scope → the claims it asks for (OIDC Core §5.4); `organization` is ours and belongs to the profile. */
export const CLAIMS_OF_SCOPE = {
  openid: ['sub', 'acr', 'amr', 'auth_time'],
  profile: [
    'name',
    'given_name',
    'family_name',
    'middle_name',
    'nickname',
    'preferred_username',
    'website',
    'birthdate',
    'zoneinfo',
    'locale',
    'updated_at',
    'organization',
  ],
  email: ['email', 'email_verified'],
  address: ['address'],
  phone: ['phone_number', 'phone_number_verified'],
} satisfies Record<string, string[]>;

/** Scopes of OpenID Connect itself; every other scope is a permission an administrator created. */
export const OPENID_SCOPES = [...Object.keys(CLAIMS_OF_SCOPE), 'offline_access'];

export const OPENID_SCOPE_SET: ReadonlySet<string> = new Set(OPENID_SCOPES);

/** The scope that a single requested claim belongs to, which is what a person is asked about. */
export function scopeOfClaim(claim: string): string | undefined {
  return Object.entries(CLAIMS_OF_SCOPE).find(([, claims]) => claims.includes(claim))?.[0];
}

export interface Organization {
  id: string;
  name: string;
}

/** All that may be told about a person, by claim name (OIDC Core §5.1). The engine picks what was granted; absent values are left out. */
export function claimsOf(
  account: Account,
  organization: Organization | undefined,
): { sub: string } & Record<string, unknown> {
  const { address } = account;
  const claims = {
    sub: account.id,
    name: displayName(account),
    given_name: account.givenName,
    family_name: account.familyName,
    middle_name: account.middleName,
    nickname: account.nickname,
    preferred_username: account.preferredUsername,
    website: account.website,
    birthdate: account.birthdate,
    zoneinfo: account.zoneinfo,
    locale: account.locale,
    updated_at: account.updatedAt,
    email: account.email || undefined,
    email_verified: account.email === '' ? undefined : account.emailVerified,
    phone_number: account.phoneNumber,
    phone_number_verified: account.phoneNumber === undefined ? undefined : (account.phoneNumberVerified ?? false),
    address: address && {
      formatted: address.formatted,
      street_address: address.streetAddress,
      locality: address.locality,
      region: address.region,
      postal_code: address.postalCode,
      country: address.country,
    },
    organization: organization && { id: organization.id, name: organization.name },
  };
  return { ...claims, sub: account.id };
}
