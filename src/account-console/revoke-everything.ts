import type { Audit, Origin } from '../audit.ts';
import type { PersonalTokens } from '../credentials/personal-tokens.ts';
import type { AppsAccess } from '../oidc/app-access.ts';
import type { Sessions } from '../oidc/sessions.ts';

export interface RevokeEverythingOptions {
  sessions: Pick<Sessions, 'endAll'>;
  appsAccess: Pick<AppsAccess, 'forgetAll'>;
  personalTokens: Pick<PersonalTokens, 'revokeAll'>;
  audit: Audit;
}

/** For who fears the worst: nothing that speaks for the account works afterwards but its password. Safe to repeat. */
export function createRevokeEverything({ sessions, appsAccess, personalTokens, audit }: RevokeEverythingOptions) {
  return async function revokeEverything(accountId: string, origin: Origin): Promise<void> {
    await personalTokens.revokeAll(accountId, origin);
    await appsAccess.forgetAll(accountId);
    await audit.record({ ...origin, type: 'everything_revoked', accountId });
    // Last: who is still signed in can try again.
    await sessions.endAll(accountId);
  };
}
