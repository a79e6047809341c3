import type { Account } from '../accounts/account.ts';
import { Profile } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Origin } from '../audit.ts';
import { AppError } from '../errors.ts';
import type { IdentityProvider } from './identity-provider.ts';
import type { Links } from './links.ts';
import type { UpstreamProfile } from './proof.ts';

/** Somebody who has proved who they are elsewhere. */
export interface Stranger {
  identityProvider: IdentityProvider;
  subject: string;
  profile: UpstreamProfile;
}

/**
 * Makes an account for somebody who has none, where the identity provider's setting says so; undefined where it does not. Only with an
 * e-mail that the provider has verified and nobody here has: else whoever names somebody's address there would have it here.
 */
export type Welcome = (stranger: Stranger, origin?: Origin) => Promise<Account | undefined>;

export interface WelcomeOptions {
  accounts: Pick<Accounts, 'create' | 'get'>;
  links: Pick<Links, 'add' | 'find'>;
}

export function createWelcome({ accounts, links }: WelcomeOptions): Welcome {
  async function makeAccount({ identityProvider, profile }: Stranger, origin: Origin): Promise<Account | undefined> {
    const { newPeople } = identityProvider;
    if (newPeople.policy === 'refuse' || profile.email === undefined) return undefined;
    const { givenName, familyName, nickname } = Profile.shape;
    const person = {
      email: profile.email,
      emailVerified: true,
      // A name that we would not take from the person is left out.
      givenName: givenName.safeParse(profile.givenName).data,
      familyName: familyName.safeParse(profile.familyName).data,
      nickname: nickname.safeParse(profile.nickname).data,
      status: newPeople.policy,
      organizationId: newPeople.organizationId,
    };
    return accounts.create(person, origin).catch((error) => {
      if (error instanceof AppError && ['conflict', 'invalid_request'].includes(error.code)) return undefined;
      throw error;
    });
  }

  return async function welcome(stranger, origin = {}) {
    const person = { identityProviderId: stranger.identityProvider.id, subject: stranger.subject };
    const made = await makeAccount(stranger, origin);
    // The e-mail may be taken because the same person came twice at once.
    const link = made ? await links.add({ ...person, accountId: made.id }, origin) : await links.find(person);
    return made ?? (link && (await accounts.get(link.accountId)));
  };
}
