import type { Account } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Origin } from '../audit.ts';
import type { Links } from './links.ts';
import type { ExternalIdentity, Provision } from './provisioning.ts';

/**
 * The account of a person who has proved who they are elsewhere, of whatever status: the one that is linked, or a new one where the
 * provider's setting says so. An e-mail is never looked at.
 */
export type ResolveAccount = (identity: ExternalIdentity, origin?: Origin) => Promise<Account | undefined>;

export interface ResolveAccountOptions {
  links: Pick<Links, 'find'>;
  accounts: Pick<Accounts, 'get'>;
  provision: Provision;
}

export function createResolveAccount({ links, accounts, provision }: ResolveAccountOptions): ResolveAccount {
  return async function resolveAccount(identity, origin) {
    const { identityProvider, subject } = identity;
    const person = { identityProviderId: identityProvider.id, subject };
    const link = await links.find(person);
    const account = link && (await accounts.get(link.accountId));
    if (!account) return provision(identity, origin);
    // Looked at again: of a link that was removed before the account was read, the account's epoch says nothing.
    return (await links.find(person)) ? account : undefined;
  };
}
