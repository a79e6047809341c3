import { type Account, counts, permissionsOf } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { PersonalToken } from './personal-token.ts';
import type { PersonalTokens } from './personal-tokens.ts';
import { type Check, invalidToken } from './verify.ts';

export interface PersonalTokenCheckOptions {
  personalTokens: Pick<PersonalTokens, 'authenticate' | 'noteUse'>;
  accounts: Pick<Accounts, 'findActive'>;
}

/** A person's token may do what it was made for, and what its person may do now. */
export function createPersonalTokenCheck({ personalTokens, accounts }: PersonalTokenCheckOptions): Check {
  return async function checkPersonalToken(token, origin) {
    const record = await personalTokens.authenticate(token, origin);
    const account = await accounts.findActive(record.accountId);
    if (!account || !counts(account, 'token', record.epoch)) throw invalidToken();
    if (origin.address !== undefined) await personalTokens.noteUse(record, origin.address);
    return { id: record.id, account, scope: heldScope(record, account), ...lifetimeOf(record) };
  };
}

function heldScope({ scope }: PersonalToken, account: Account): string[] {
  const held = new Set(permissionsOf(account));
  return scope.filter((name) => held.has(name));
}

function lifetimeOf({ createdAt, expiresAt }: PersonalToken) {
  return { issuedAt: createdAt, ...(expiresAt === undefined ? {} : { expiresAt }) };
}
