import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { type Account, isYielding, profileFromElsewhere } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Audit, Origin } from '../audit.ts';
import { AppError } from '../errors.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import type { IdentityProvider } from './identity-provider.ts';
import { labelOf } from './link.ts';
import { type Links, type Person, personKey } from './links.ts';
import type { UpstreamProfile } from './upstream-profile.ts';

/** Who a person has proved to be elsewhere. */
export interface ExternalIdentity {
  identityProvider: IdentityProvider;
  subject: string;
  profile: UpstreamProfile;
  /** What else the provider tells about them; asked for when an account is to be made. @throws {ProviderUnavailable} */
  tellMore?: (() => Promise<UpstreamProfile>) | undefined;
}

/**
 * Makes an account for a person who has none, where the identity provider's setting says so; undefined where it does not. Only with an
 * e-mail that the provider has verified and no account here has but by an app's word: else a person who claims another's address there
 * would have it here.
 */
export type Provision = (identity: ExternalIdentity, origin?: Origin) => Promise<Account | undefined>;

export interface ProvisioningOptions {
  storage: Storage;
  accounts: Pick<Accounts, 'create' | 'findByEmail' | 'get'>;
  links: Pick<Links, 'add' | 'find' | 'remove'>;
  audit: Audit;
}

/** Seconds that making an account may take. */
const LEASE = 5;
/** Milliseconds between two looks for what another one makes, and how often. */
const INTERVAL_MS = 100;
const LOOKS = 20;

export function createProvisioning({ storage, accounts, links, audit }: ProvisioningOptions): Provision {
  const leases = collection(storage, { kind: 'new-person', version: 1, schema: z.literal(true) });

  async function makeAccount(
    id: string,
    { identityProvider, profile }: ExternalIdentity,
    origin: Origin,
  ): Promise<Account | undefined> {
    const { newPeople } = identityProvider;
    if (newPeople.policy === 'refuse' || profile.email === undefined) return undefined;
    const { email, ...told } = profile;
    const { profile: details, altered } = profileFromElsewhere(told);
    const person = {
      ...details,
      email,
      emailVerified: true,
      status: newPeople.policy,
      organizationId: newPeople.organizationId,
    };
    const made = await accounts.create(person, origin, id).catch((error) => {
      if (error instanceof AppError && ['conflict', 'invalid_request'].includes(error.code)) return undefined;
      throw error;
    });
    if (made && altered.length > 0) {
      const detail = { identity_provider: identityProvider.id, altered: altered.join(' ') };
      await audit.record({ ...origin, type: 'details_altered', accountId: id, detail });
    }
    return made;
  }

  async function accountOf(person: Person): Promise<Account | undefined> {
    const link = await links.find(person);
    return link && accounts.get(link.accountId);
  }

  /** Who comes twice at once is one person: the other one is about to say so. */
  async function madeMeanwhile(person: Person): Promise<Account | undefined> {
    for (let look = 0; look < LOOKS; look++) {
      const account = await accountOf(person);
      if (account) return account;
      await sleep(INTERVAL_MS);
    }
    return undefined;
  }

  /**
   * Linked first: an account whose link could not be written would keep its e-mail, and no one could sign in to it. A link whose account
   * could not be written gives way to the next one.
   */
  async function linkAndMake(identity: ExternalIdentity, person: Person, origin: Origin): Promise<Account | undefined> {
    const known = await accountOf(person);
    if (known) return known;
    // Nothing is linked, even for a moment, for an e-mail that is taken.
    const holder = await accounts.findByEmail(String(identity.profile.email));
    if (holder && !isYielding(holder)) return undefined;
    const accountId = randomUUID();
    await links.add({ ...person, accountId, label: labelOf(identity.profile) }, origin);
    const made = await makeAccount(accountId, identity, origin);
    if (!made) await links.remove(accountId, person, origin);
    return made;
  }

  return async function provision({ tellMore, ...known }, origin = {}) {
    const { identityProvider, subject } = known;
    if (identityProvider.newPeople.policy === 'refuse') return undefined;
    const identity = { ...known, profile: (await tellMore?.()) ?? known.profile };
    if (identity.profile.email === undefined) return undefined;
    const person = { identityProviderId: identityProvider.id, subject };
    const lease = personKey(person);
    if (!(await leases.insert(lease, true, { ttl: LEASE }))) return madeMeanwhile(person);
    try {
      return await linkAndMake(identity, person, origin);
    } finally {
      await leases.delete(lease);
    }
  };
}
