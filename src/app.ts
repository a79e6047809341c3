/**
 * The composition root: builds every part and mounts it, top to bottom. Read it as the map of the system.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Koa from 'koa';
import type { Logger } from 'pino';
import { deviceInWords } from './account-console/device.ts';
import { accountConsoleRoutes } from './account-console/routes.ts';
import { countsSession, displayName } from './accounts/account.ts';
import { createKnownBrowsers } from './accounts/known-browsers.ts';
import { createPasswordSignIn } from './accounts/sign-in.ts';
import { createTestRuns } from './admin/apps/test-runs.ts';
import { adminRoutes } from './admin/routes.ts';
import { createCallers } from './api/caller.ts';
import { docsRoutes } from './api/docs-routes.ts';
import { leakedSecretsRoutes } from './api/leaked-secrets-routes.ts';
import { apiRoutes } from './api/routes.ts';
import { rotatesRefreshTokens } from './clients/client.ts';
import { createJudgeSecret } from './clients/secret-judge.ts';
import { wallClock } from './clock.ts';
import type { Config } from './config.ts';
import type { Core } from './core.ts';
import { createPersonalTokens } from './credentials/personal-tokens.ts';
import { createTokenMails } from './credentials/token-mails.ts';
import { createVerifier } from './credentials/verify.ts';
import { createExchange } from './exchange/exchange.ts';
import { restRoutes } from './exchange/routes.ts';
import { healthRoutes } from './health/routes.ts';
import { createAssets } from './http/assets.ts';
import { tokenOf } from './http/authorization.ts';
import { bearerCors, troubleCors } from './http/bearer-cors.ts';
import { canonicalRequest } from './http/canonical-request.ts';
import { createErrorAnswers } from './http/errors.ts';
import { createInProcess } from './http/in-process.ts';
import { plainBody } from './http/plain-body.ts';
import { readQueriesInOnePass } from './http/query.ts';
import { allowFormTarget, securityHeaders } from './http/security-headers.ts';
import { takeTurns } from './http/turns.ts';
import { createViews } from './http/views.ts';
import { createProviderTokens } from './identity-providers/provider-tokens.ts';
import { createProvisioning } from './identity-providers/provisioning.ts';
import { createResolveAccount } from './identity-providers/resolve-account.ts';
import { createSignInMethods } from './identity-providers/sign-in-methods.ts';
import { createUpstreamSignIn } from './identity-providers/upstream-sign-in.ts';
import { callbackRoutes } from './interactions/callback-routes.ts';
import { createConsent } from './interactions/consent.ts';
import { describeClient, describeScopes, OWN_PAGES } from './interactions/descriptions.ts';
import { enginePages } from './interactions/engine-pages.ts';
import { createLinkAccount } from './interactions/link-account.ts';
import { createLogin } from './interactions/login.ts';
import { createProviderSignIn } from './interactions/provider-sign-in.ts';
import { interactionRoutes } from './interactions/routes.ts';
import type { Deliver } from './mail/delivery.ts';
import { createMail } from './mail/mail.ts';
import { createComposer } from './mail/message.ts';
import { createOutbox } from './mail/outbox.ts';
import { createMailQueue } from './mail/queue.ts';
import { createSmtpDelivery } from './mail/smtp.ts';
import { asEngineToken, createEngineTokens } from './oidc/access-tokens.ts';
import { createAdapter } from './oidc/adapter.ts';
import { createAdmission } from './oidc/admission.ts';
import { createAppsAccess } from './oidc/app-access.ts';
import { createBackchannelLogout } from './oidc/backchannel-logout.ts';
import { claimsOf } from './oidc/claims.ts';
import { toMetadata } from './oidc/client-metadata.ts';
import { createConsents } from './oidc/consents.ts';
import { createEndAccessToken } from './oidc/end-access-token.ts';
import { createEngine } from './oidc/engine.ts';
import { formRequestRoutes } from './oidc/form-request-routes.ts';
import { createGrants } from './oidc/grants.ts';
import { createSignIdentity } from './oidc/identity-assertion.ts';
import { createAuthorizeInline } from './oidc/inline-authorization.ts';
import { introspectionRoutes } from './oidc/introspection-routes.ts';
import { createIssueAccessToken } from './oidc/issue-access-token.ts';
import { ACR_FEDERATED, ACR_PASSWORD, BROWSER_ROUTES, CONSOLE_CLIENT_ID } from './oidc/protocol.ts';
import { recordKey } from './oidc/records.ts';
import { acceptFormerSessionCookie } from './oidc/session-cookie.ts';
import { createUnaskedSignOut } from './oidc/sign-out.ts';
import { spellingRoutes } from './oidc/spelling-routes.ts';
import { createStanding } from './oidc/standing.ts';
import { createTokenFamilies } from './oidc/token-families.ts';
import { createNameResolver, type ResolveName } from './outbound/name-resolver.ts';
import { createOutbound } from './outbound/outbound.ts';
import { feedRoutes } from './resource-server/feed-routes.ts';
import { verifyRoutes } from './resource-server/verify-routes.ts';
import { createSchedule } from './schedule.ts';
import { setupRoutes } from './setup/routes.ts';
import { ssoBrowserRoutes } from './sso/browser-routes.ts';
import { ssoRoutes } from './sso/routes.ts';
import { createSsoSignIn } from './sso/sso-sign-in.ts';
import { createSsoTokens } from './sso/sso-tokens.ts';
import { directoryOf } from './storage/open.ts';

const VIEWS = fileURLToPath(new URL('../views', import.meta.url));

/** What goes on beside the requests, in every process of the server and in no command of the shell. */
interface Background {
  start(): void;
  /** Begins nothing new and waits for what is under way. */
  stop(): Promise<void>;
}

/** The web server's handler, and the work beside it. */
export async function createApp(
  core: Core,
  { config, log, isStopping = () => false }: { config: Config; log: Logger; isStopping?: () => boolean },
): Promise<{ app: Koa; background: Background }> {
  const {
    storage,
    throttle,
    withdrawals,
    sealing,
    audit,
    organizations,
    permissions,
    passwords,
    accounts,
    clients,
    signingKeys,
    logoutNotices,
    sessionRecords,
    sessions,
    setup,
    links,
    partners,
    identityProviders,
    appTokens,
  } = core;
  const { now } = storage;
  const { issuer } = config;

  const assets = createAssets(join(VIEWS, 'assets'));
  const views = await createViews({ directory: VIEWS, assets });
  const errors = createErrorAnswers({ views, log, profileLocale: (ctx) => engine.profileLocale(ctx) });
  const judgeSecret = createJudgeSecret(throttle);
  const resolve = createNameResolver();
  const mail = createMail({
    queue: createMailQueue({ storage, sealing, now }),
    compose: createComposer({ view: views.compose, issuer, now }),
    deliver: openDelivery(config, { log, resolve }),
    throttle,
    audit,
    now,
    log,
  });
  const personalTokens = createPersonalTokens({
    storage,
    now,
    audit,
    findAccount: accounts.get,
    mayBeEternal: config.personalTokensMayBeEternal,
    notify: createTokenMails({ send: mail.send, findAccount: accounts.findActive, deviceInWords }),
  });
  const knownBrowsers = createKnownBrowsers({ keys: sealing.cookieKeys });
  const signIn = createPasswordSignIn({ accounts, passwords, throttle, knownBrowsers, audit });

  const findMetadata = async (clientId: string) => {
    const client = await clients.findActive(clientId);
    return client && toMetadata(client);
  };
  const findClient = async (clientId: string) => {
    if (clientId === CONSOLE_CLIENT_ID) return OWN_PAGES;
    const client = await clients.findActive(clientId);
    return client && describeClient(client);
  };
  const findAccount = async (accountId: string) => {
    const account = await accounts.findActive(accountId);
    return account && { id: account.id, name: displayName(account), email: account.email, locale: account.locale };
  };
  const findProven = async (accountId: string, session: { uid: string; epoch?: number | undefined }) => {
    const account = await accounts.get(accountId);
    return account && countsSession(account, session) ? account : undefined;
  };
  const findOrganization = async (id: string | undefined) => {
    const organization = id === undefined ? undefined : await organizations.get(id);
    return organization && { id: organization.id, name: organization.name };
  };

  const families = createTokenFamilies({ storage, now });
  const standsOn = {
    findAccount: accounts.findActive,
    findClient: clients.findActive,
    findPartner: partners.get,
    findIdentityProvider: identityProviders.findActive,
  };
  const stands = createStanding(standsOn);
  const { findAccessToken, findRefreshToken } = createEngineTokens({
    storage,
    sessionRecords,
    families,
    now,
    ...standsOn,
  });
  const consents = createConsents({
    storage,
    now,
    countsSince: async (accountId) => (await accounts.get(accountId))?.tokensSince ?? 0,
  });
  const appsAccess = createAppsAccess({ storage, now, consents });
  const verifier = createVerifier({ personalTokens, accounts, findAccessToken, noteAppUse: appsAccess.noteUse });
  const signIdentity = createSignIdentity({ issuer, signingKeys, now });

  const grants = createGrants({ accounts, clients, consents, sessionRecords });
  const adapter = createAdapter({
    storage,
    sessionRecords,
    families,
    endSession: (uid) => sessions.endWhosever(uid, backchannelLogout.send),
    makeRoom: sessions.makeRoom,
    admission: createAdmission({ throttle, log }),
    now,
    findClient: findMetadata,
    stands,
    effectiveScope: grants.effectiveScope,
    findPersonalToken: async (token) => {
      const verified = await verifier.introspect(token);
      return verified && asEngineToken(verified);
    },
  });
  const guard = {
    allow: config.outboundAllow,
    resolve,
    warn: (message: string) => log.warn({ setting: 'OUTBOUND_ALLOW' }, message),
  };
  const outbound = createOutbound(guard);
  const issueAccessToken = createIssueAccessToken({ storage, now: wallClock, adapter });
  const provision = createProvisioning({ storage, accounts, links, audit });
  const resolveAccount = createResolveAccount({ links, accounts, provision });
  const exchange = createExchange({
    appTokens,
    clients,
    identityProviders,
    providerTokens: createProviderTokens({
      now,
      request: createOutbound({ ...guard, timeout: 2.5 }),
      secretOf: identityProviders.secretOf,
      warn: (identityProvider, problem) => log.warn({ identityProvider, problem }, 'tokens of it cannot be checked'),
    }),
    resolveAccount,
    issue: issueAccessToken,
    audit,
  });
  const backchannelLogout = createBackchannelLogout({
    notices: logoutNotices,
    provider: () => engine.provider(),
    request: outbound,
    log,
  });
  const testRuns = createTestRuns({ storage });
  const engine = createEngine({
    log,
    audit,
    throttle,
    allowFormTarget,
    signingKeys,
    permissions,
    hasOwnProof: async ({ id, passwordHash }) => passwordHash !== undefined || (await links.list(id)).length > 0,
    noteVisit: sessions.noteVisit,
    endSession: sessions.end,
    noteAppUse: appsAccess.noteUse,
    settings: {
      issuer,
      adapter,
      cookieKeys: sealing.cookieKeys,
      uiLocales: views.locales,
      pages: enginePages({ views, errors, findClient, findAccount }),
      findAccount: accounts.findActive,
      findProven,
      claims: async (account) => claimsOf(account, await findOrganization(account.organizationId)),
      loadExistingGrant: grants.loadExisting,
      consent: grants,
      judgeSecret,
      introspectsAll: async (clientId) => (await clients.findActive(clientId))?.introspection === true,
      exchange: exchange.forClient,
      signOutUnasked: createUnaskedSignOut({
        isTrusted: async (clientId) => (await clients.findActive(clientId))?.trusted === true,
        endSession: sessions.end,
      }),
      sendLogout: backchannelLogout.send,
      rotatesRefreshTokens: async (clientId) => {
        const client = await clients.findActive(clientId);
        return client === undefined || rotatesRefreshTokens(client);
      },
      useRefreshToken: (token) =>
        families.useRefreshToken(recordKey('RefreshToken', token), sealing.successorsOf(token)),
      isTestRunOpen: testRuns.isOpen,
    },
  });
  const consent = createConsent({
    describe: (names) => describeScopes(names, permissions),
    remember: consents.remember,
    audit,
  });

  const upstream = createUpstreamSignIn({
    issuer,
    storage,
    sealing,
    now,
    request: outbound,
    throttle,
    identityProviders,
  });
  const signInMethods = createSignInMethods({
    storage,
    now,
    links,
    identityProviders,
    findAccount: accounts.findActive,
    endProven: accounts.endProven,
    send: mail.send,
    deviceInWords,
  });
  const login = createLogin({ signIn: signIn.signIn, acr: ACR_PASSWORD, now });
  const linkAccount = createLinkAccount({
    storage,
    accounts,
    findProvider: identityProviders.findActive,
    methods: signInMethods,
    login,
    audit,
  });
  const providerSignIn = createProviderSignIn({
    upstream,
    resolveAccount,
    linkAccount,
    audit,
    acr: ACR_FEDERATED,
    now,
  });

  const ssoTokens = createSsoTokens({ storage, now });
  const ssoSignIn = createSsoSignIn({
    accounts,
    clients,
    organizationName: async (id) => (await organizations.get(id))?.name,
    tokens: ssoTokens,
    partners,
    audit,
    judgeSecret,
  });
  const authorizeInline = createAuthorizeInline({ listener: () => app.callback(), provider: engine.provider });

  const callers = createCallers({ verifier, tokenOf, findSession: engine.browserSession });

  const app = new Koa({ proxy: true, keys: sealing.cookieKeys });
  readQueriesInOnePass(app);
  app.on('error', (error) => log.warn({ err: error }, 'connection failed'));
  app
    .use(securityHeaders({ issuer }))
    .use(errors.handle) // sees every failure below
    .use(canonicalRequest({ issuer, trustedProxies: config.trustedProxies, log })) // before anything reads the request
    .use(verifyRoutes({ issuer, verifier, signIdentity }).routes()) // the busiest first
    .use(bearerCors({ below: '/api/' }))
    .use(troubleCors({ at: new Set(BROWSER_ROUTES) }))
    .use(plainBody) // not before what proxies ask with the headers of another request
    .use(takeTurns(({ path }) => path.startsWith('/interaction/'))) // where passwords are guessed
    .use(acceptFormerSessionCookie(issuer))
    .use(introspectionRoutes({ issuer, clients, verifier, judgeSecret, findRefreshToken }).routes())
    .use(restRoutes({ issuer, exchange, throttle, audit }).routes())
    .use(ssoRoutes({ ssoSignIn, tokens: ssoTokens, issue: issueAccessToken, sessions, throttle, audit }).routes())
    .use(apiRoutes({ issuer, now, callers, personalTokens, findOrganization }).routes())
    .use(leakedSecretsRoutes({ personalTokens, appTokens, throttle }).routes())
    .use(docsRoutes({ issuer, assets }).routes())
    .use(feedRoutes({ clients, withdrawals, judgeSecret }).routes())
    .use(assets.serve)
    .use(healthRoutes({ storage, isStopping }).routes())
    .use(setupRoutes({ issuer, setup, views }).routes())
    .use(callbackRoutes({ upstream }).routes())
    .use(
      interactionRoutes({
        issuer,
        now,
        views,
        provider: engine.provider,
        login,
        consent,
        providerSignIn,
        linkAccount,
        async rememberBrowser(kept, accountId) {
          const account = await accounts.get(accountId);
          return account && knownBrowsers.remember(kept, account);
        },
        offeredProviders: upstream.offered,
        federatedAcr: ACR_FEDERATED,
        findClient,
        findAccount,
      }).routes(),
    )
    .use(
      accountConsoleRoutes({
        issuer,
        now,
        storage,
        views,
        formKeys: sealing.formKeys,
        findSession: engine.browserSession,
        findOrganization,
        findClient,
        accounts,
        passwords,
        throttle,
        audit,
        sessions,
        appsAccess,
        partners,
        methods: signInMethods,
        upstream,
        personalTokens,
        mayBeEternal: config.personalTokensMayBeEternal,
        describe: (names) => describeScopes(names, permissions),
      }).routes(),
    )
    .use(
      adminRoutes({
        issuer,
        now,
        storage,
        throttle,
        views,
        formKeys: sealing.formKeys,
        findSession: engine.browserSession,
        accounts,
        clients,
        organizations,
        permissions,
        appTokens,
        personalTokens,
        identityProviders,
        request: outbound,
        testRuns,
        inProcess: createInProcess(() => app.callback()),
        endAccessToken: createEndAccessToken(engine.provider),
        audit,
      }).routes(),
    )
    .use(formRequestRoutes().routes())
    .use(spellingRoutes({ issuer, clients }).routes())
    .use(
      ssoBrowserRoutes({
        issuer,
        now,
        views,
        audit,
        ssoSignIn,
        authorizeInline,
        consents,
        sessions,
        findSession: engine.browserSession,
        describe: describeClient,
      }).routes(),
    )
    .use(engine.handle); // last: answers what is left

  // With the wrong secret key every sign-in would fail: better not to start. From now on keys are known, whatever the store does.
  await engine.provider();

  const schedule = createSchedule({ storage, now, log });
  schedule.every('mail', { seconds: 30 }, mail.deliverDue);
  schedule.every('token-reminders', { seconds: 3600 }, personalTokens.remindDue);
  schedule.every('backchannel-logout', { seconds: 5 }, backchannelLogout.deliverDue);

  return {
    app,
    background: {
      start: schedule.start,
      async stop() {
        await Promise.all([schedule.stop(), mail.stop(), backchannelLogout.stop()]);
      },
    },
  };
}

function openDelivery(
  { smtpUrl, storeUrl, issuer, mailFrom: from }: Config,
  { log, resolve }: { log: Logger; resolve: ResolveName },
): Deliver {
  if (smtpUrl !== undefined) return createSmtpDelivery({ smtpUrl, issuer, from, findHost: resolve });
  return createOutbox({ directory: join(directoryOf(storeUrl) ?? 'data', 'outbox'), issuer, from, log });
}
