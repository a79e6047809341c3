import type { Account } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Audit, Origin } from '../audit.ts';
import type { PersonalTokens } from '../credentials/personal-tokens.ts';
import type { AppsAccess } from '../oidc/app-access.ts';
import type { AppRoutesOptions } from './app-routes.ts';

export interface RevokeEverythingOptions {
  accounts: Pick<Accounts, 'endProven'>;
  appsAccess: Pick<AppsAccess, 'forgetAll'>;
  personalTokens: Pick<PersonalTokens, 'revokeAll'>;
  ssoConnections: AppRoutesOptions['ssoConnections'];
  audit: Audit;
}

/** For who fears the worst: nothing that speaks for the account works afterwards but its password. Safe to repeat. */
export function createRevokeEverything(options: RevokeEverythingOptions) {
  const { accounts, appsAccess, personalTokens, ssoConnections, audit } = options;
  return async function revokeEverything({ id, epoch }: Account, origin: Origin): Promise<void> {
    await audit.record({ ...origin, type: 'everything_revoked', accountId: id });
    for (const { clientId } of await ssoConnections.list(id)) await ssoConnections.refuse(id, clientId);
    await appsAccess.forgetAll(id);
    // Not before, so that who is still signed in can try again; what was proven until here ends with this one write.
    await accounts.endProven(id, 'tokens', { provenUnder: epoch });
    await personalTokens.revokeAll(id, origin);
  };
}
