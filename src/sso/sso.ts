/** The slice of signing in by a partner's word, composed: its doors for servers and for browsers. */
import type Router from '@koa/router';
import type { Accounts } from '../accounts/accounts.ts';
import type { Audit } from '../audit.ts';
import type { Clients } from '../clients/clients.ts';
import type { JudgeSecret } from '../clients/secret-judge.ts';
import type { IssueAccessToken } from '../exchange/exchange.ts';
import type { Sessions } from '../oidc/sessions.ts';
import type { Organizations } from '../organizations/organizations.ts';
import type { Storage } from '../storage/storage.ts';
import type { Throttle } from '../throttle.ts';
import { type SsoBrowserRoutesOptions, ssoBrowserRoutes } from './browser-routes.ts';
import { ssoRoutes } from './routes.ts';
import type { SsoConnections } from './sso-connections.ts';
import { createSsoSignIn } from './sso-sign-in.ts';
import { createSsoTokens } from './sso-tokens.ts';

interface Foundation {
  storage: Storage;
  throttle: Throttle;
  audit: Audit;
  accounts: Accounts;
  organizations: Organizations;
  clients: Clients;
  judgeSecret: JudgeSecret;
  ssoConnections: SsoConnections;
  sessions: Sessions;
}

export interface SsoOptions
  extends Pick<
    SsoBrowserRoutesOptions,
    'issuer' | 'views' | 'authorizeInline' | 'consents' | 'findSession' | 'describe'
  > {
  issue: IssueAccessToken;
}

export function createSso(core: Foundation, { issue, ...shown }: SsoOptions): { servers: Router; browsers: Router } {
  const { storage, throttle, audit, sessions } = core;
  const { now } = storage;
  const tokens = createSsoTokens({ storage, now });
  const ssoSignIn = createSsoSignIn({
    ...core,
    organizationName: async (id) => (await core.organizations.get(id))?.name,
    tokens,
  });
  return {
    servers: ssoRoutes({ ssoSignIn, tokens, issue, sessions, throttle, audit }),
    browsers: ssoBrowserRoutes({ ...shown, now, audit, ssoSignIn, sessions }),
  };
}
