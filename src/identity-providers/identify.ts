import type { Account } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Origin } from '../audit.ts';
import type { Links } from './links.ts';
import type { Stranger, Welcome } from './new-people.ts';

/**
 * The account of somebody who has proved who they are elsewhere, of whatever status: the one that is linked, or a new one where the
 * provider's setting says so. An e-mail is never looked at.
 */
export type Identify = (stranger: Stranger, origin?: Origin) => Promise<Account | undefined>;

export interface IdentifyOptions {
  links: Pick<Links, 'find'>;
  accounts: Pick<Accounts, 'get'>;
  welcome: Welcome;
}

export function createIdentify({ links, accounts, welcome }: IdentifyOptions): Identify {
  return async function identify(stranger, origin) {
    const { identityProvider, subject } = stranger;
    const person = { identityProviderId: identityProvider.id, subject };
    const link = await links.find(person);
    const account = link && (await accounts.get(link.accountId));
    if (!account) return welcome(stranger, origin);
    // Looked at again: of a link that was removed before the account was read, the account's epoch says nothing.
    return (await links.find(person)) ? account : undefined;
  };
}
