import type { Audit, Origin } from '../audit.ts';
import type { PersonalTokens } from '../credentials/personal-tokens.ts';
import type { AppsAccess } from '../oidc/app-access.ts';
import type { Sessions } from '../oidc/sessions.ts';
import type { AppRoutesOptions } from './app-routes.ts';

export interface RevokeEverythingOptions {
  sessions: Pick<Sessions, 'endAll'>;
  appsAccess: Pick<AppsAccess, 'forgetAll'>;
  personalTokens: Pick<PersonalTokens, 'revokeAll'>;
  partners: AppRoutesOptions['partners'];
  audit: Audit;
}

/** For who fears the worst: nothing that speaks for the account works afterwards but its password. Safe to repeat. */
export function createRevokeEverything(options: RevokeEverythingOptions) {
  const { sessions, appsAccess, personalTokens, partners, audit } = options;
  return async function revokeEverything(accountId: string, origin: Origin): Promise<void> {
    await personalTokens.revokeAll(accountId, origin);
    for (const { clientId } of await partners.list(accountId)) await partners.refuse(accountId, clientId);
    await appsAccess.forgetAll(accountId);
    await audit.record({ ...origin, type: 'everything_revoked', accountId });
    // Last: who is still signed in can try again.
    await sessions.endAll(accountId);
  };
}
