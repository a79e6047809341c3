/** The slice of the protocol, composed: the engine, the records it keeps, and what the rest of the product asks of both. */
import type { Logger } from 'pino';
import { countsSession } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Audit } from '../audit.ts';
import { rotatesRefreshTokens } from '../clients/client.ts';
import type { Clients } from '../clients/clients.ts';
import type { JudgeSecret } from '../clients/secret-judge.ts';
import { wallClock } from '../clock.ts';
import { createAccessTokenCheck } from '../credentials/access-token-check.ts';
import { createPersonalTokenCheck } from '../credentials/personal-token-check.ts';
import type { PersonalTokens } from '../credentials/personal-tokens.ts';
import { createVerifier, type Verifier } from '../credentials/verify.ts';
import type { Exchange, IssueAccessToken } from '../exchange/exchange.ts';
import type { IdentityProviders } from '../identity-providers/identity-providers.ts';
import type { Links } from '../identity-providers/links.ts';
import type { Organizations } from '../organizations/organizations.ts';
import type { Outbound } from '../outbound/outbound.ts';
import type { Permissions } from '../permissions/permissions.ts';
import type { Sealing } from '../secrets/sealing.ts';
import type { Storage } from '../storage/storage.ts';
import type { Throttle } from '../throttle.ts';
import { asEngineToken, createEngineTokens, type EngineTokens } from './access-tokens.ts';
import { createAdapter } from './adapter.ts';
import { createAdmission } from './admission.ts';
import { type AppsAccess, createAppsAccess } from './app-access.ts';
import { type BackchannelLogout, createBackchannelLogout } from './backchannel-logout.ts';
import { claimsOf } from './claims.ts';
import { toMetadata } from './client-metadata.ts';
import { type Consents, createConsents } from './consents.ts';
import { createEngine, type Engine, type EngineOptions } from './engine.ts';
import { createGrants } from './grants.ts';
import { createIssueAccessToken } from './issue-access-token.ts';
import type { LogoutNotices } from './logout-notices.ts';
import type { ProviderOptions } from './provider.ts';
import { recordKey } from './records.ts';
import type { SessionRecords } from './session-records.ts';
import type { Sessions } from './sessions.ts';
import { createUnaskedSignOut } from './sign-out.ts';
import type { SigningKeys } from './signing-keys.ts';
import { createStanding, type StandingOptions } from './standing.ts';
import { createTokenFamilies } from './token-families.ts';

/** What it stands on, of all that exists without a web server. */
export interface OidcFoundation {
  storage: Storage;
  throttle: Throttle;
  sealing: Sealing;
  audit: Audit;
  accounts: Accounts;
  organizations: Organizations;
  permissions: Permissions;
  clients: Clients;
  judgeSecret: JudgeSecret;
  identityProviders: IdentityProviders;
  links: Links;
  ssoConnections: { get: StandingOptions['findPartner'] };
  signingKeys: SigningKeys;
  sessions: Sessions;
  sessionRecords: SessionRecords;
  logoutNotices: LogoutNotices;
}

export interface OidcOptions extends Pick<ProviderOptions, 'issuer' | 'pages' | 'uiLocales' | 'isTestRunOpen'> {
  log: Logger;
  /** How apps are told of a sign-out. */
  request: Outbound;
  allowFormTarget: EngineOptions['allowFormTarget'];
  personalTokens: PersonalTokens;
  /** How tokens of identity providers are swapped for what this issues. */
  exchange: (issue: IssueAccessToken) => Exchange;
}

export interface Oidc {
  engine: Engine;
  verifier: Verifier;
  exchange: Exchange;
  issueAccessToken: IssueAccessToken;
  findRefreshToken: EngineTokens['findRefreshToken'];
  consents: Consents;
  appsAccess: AppsAccess;
  backchannelLogout: BackchannelLogout;
}

export function createOidc(core: OidcFoundation, options: OidcOptions): Oidc {
  const { storage, throttle, sealing, audit, accounts, organizations, permissions, clients } = core;
  const { identityProviders, links, sessions, sessionRecords } = core;
  const { issuer, log, personalTokens, ...web } = options;
  const { now } = storage;

  const families = createTokenFamilies({ storage, now });
  const standsOn: StandingOptions = {
    findAccount: accounts.findActive,
    findClient: clients.findActive,
    findPartner: core.ssoConnections.get,
    findIdentityProvider: identityProviders.findActive,
  };
  const { findAccessToken, findRefreshToken } = createEngineTokens({
    storage,
    sessionRecords,
    families,
    now,
    ...standsOn,
    findClient: clients.findActive,
  });
  const consents = createConsents({
    storage,
    now,
    countsSince: async (accountId) => (await accounts.get(accountId))?.tokensSince ?? 0,
  });
  const appsAccess = createAppsAccess({ storage, now, consents });
  const verifier = createVerifier({
    personal_token: createPersonalTokenCheck({ personalTokens, accounts }),
    access_token: createAccessTokenCheck({ findAccessToken, noteAppUse: appsAccess.noteUse }),
  });

  const grants = createGrants({ accounts, clients, consents, sessionRecords });
  const adapter = createAdapter({
    storage,
    sessionRecords,
    families,
    endSession: (uid) => sessions.endWhosever(uid, backchannelLogout.send),
    makeRoom: sessions.makeRoom,
    admission: createAdmission({ throttle, log }),
    now,
    async findClient(clientId) {
      const client = await clients.findActive(clientId);
      return client && toMetadata(client);
    },
    stands: createStanding(standsOn),
    effectiveScope: grants.effectiveScope,
    async findOtherToken(token) {
      const verified = await verifier.introspect(token);
      return verified && asEngineToken(verified);
    },
  });
  const issueAccessToken = createIssueAccessToken({ storage, now: wallClock, adapter });
  const exchange = options.exchange(issueAccessToken);
  const backchannelLogout = createBackchannelLogout({
    notices: core.logoutNotices,
    provider: () => engine.provider(),
    request: options.request,
    log,
  });

  const engine = createEngine({
    log,
    audit,
    throttle,
    allowFormTarget: web.allowFormTarget,
    signingKeys: core.signingKeys,
    permissions,
    hasOwnProof: async ({ id, passwordHash }) => passwordHash !== undefined || (await links.list(id)).length > 0,
    noteVisit: sessions.noteVisit,
    endSession: sessions.end,
    noteAppUse: appsAccess.noteUse,
    settings: {
      issuer,
      adapter,
      cookieKeys: sealing.cookieKeys,
      uiLocales: web.uiLocales,
      pages: web.pages,
      findAccount: accounts.findActive,
      async findProven(accountId, session) {
        const account = await accounts.get(accountId);
        return account && countsSession(account, session) ? account : undefined;
      },
      async claims(account) {
        const { organizationId } = account;
        return claimsOf(account, organizationId === undefined ? undefined : await organizations.get(organizationId));
      },
      loadExistingGrant: grants.loadExisting,
      consent: grants,
      judgeSecret: core.judgeSecret,
      introspectsAll: async (clientId) => (await clients.findActive(clientId))?.introspection === true,
      exchange: exchange.forClient,
      signOutUnasked: createUnaskedSignOut({
        isTrusted: async (clientId) => (await clients.findActive(clientId))?.trusted === true,
        endSession: sessions.end,
      }),
      sendLogout: backchannelLogout.send,
      async rotatesRefreshTokens(clientId) {
        const client = await clients.findActive(clientId);
        return client === undefined || rotatesRefreshTokens(client);
      },
      useRefreshToken: (token) =>
        families.useRefreshToken(recordKey('RefreshToken', token), sealing.successorsOf(token)),
      isTestRunOpen: web.isTestRunOpen,
    },
  });
  return { engine, verifier, exchange, issueAccessToken, findRefreshToken, consents, appsAccess, backchannelLogout };
}
