/**
 * The web server, as a list: the slices with what each is given, then what is mounted, top to bottom. Read it as the map of the system;
 * what exists without it is in `core.ts`.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Koa from 'koa';
import type { Logger } from 'pino';
import { deviceInWords } from './account-console/device.ts';
import { accountConsoleRoutes } from './account-console/routes.ts';
import { createTestRuns } from './admin/apps/test-runs.ts';
import { adminRoutes } from './admin/routes.ts';
import { createCallers } from './api/caller.ts';
import { docsRoutes } from './api/docs-routes.ts';
import { leakedSecretsRoutes } from './api/leaked-secrets-routes.ts';
import { apiRoutes } from './api/routes.ts';
import type { Config } from './config.ts';
import type { Core } from './core.ts';
import { createPersonalTokens } from './credentials/personal-tokens.ts';
import { createTokenMails } from './credentials/token-mails.ts';
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
import { createFederation } from './identity-providers/federation.ts';
import { callbackRoutes } from './interactions/callback-routes.ts';
import { createDescriptions, describeClient, describeScopes } from './interactions/descriptions.ts';
import { enginePages } from './interactions/engine-pages.ts';
import { createInteractions } from './interactions/interactions.ts';
import { openMail } from './mail/open.ts';
import { createEndAccessToken } from './oidc/end-access-token.ts';
import { formRequestRoutes } from './oidc/form-request-routes.ts';
import { createSignIdentity } from './oidc/identity-assertion.ts';
import { createAuthorizeInline } from './oidc/inline-authorization.ts';
import { introspectionRoutes } from './oidc/introspection-routes.ts';
import { createOidc } from './oidc/oidc.ts';
import { BROWSER_ROUTES } from './oidc/protocol.ts';
import { acceptFormerSessionCookie } from './oidc/session-cookie.ts';
import { spellingRoutes } from './oidc/spelling-routes.ts';
import { createNameResolver } from './outbound/name-resolver.ts';
import { createOutbound } from './outbound/outbound.ts';
import { feedRoutes } from './resource-server/feed-routes.ts';
import { verifyRoutes } from './resource-server/verify-routes.ts';
import { createSchedule } from './schedule.ts';
import { setupRoutes } from './setup/routes.ts';
import { createSso } from './sso/sso.ts';

const VIEWS = fileURLToPath(new URL('../views', import.meta.url));

/** What goes on beside the requests, in every process of the server and in no command of the shell. */
interface Background {
  start(): void;
  /** Begins nothing new and waits for what is under way. */
  stop(): Promise<void>;
}

interface AppOptions {
  config: Config;
  log: Logger;
  isStopping?: () => boolean;
}

/** The web server's handler, and the work beside it. */
export async function createApp(
  core: Core,
  { config, log, isStopping = () => false }: AppOptions,
): Promise<{ app: Koa; background: Background }> {
  const { storage, sealing, audit, accounts, clients } = core;
  const { now } = storage;
  const { issuer, personalTokensMayBeEternal: mayBeEternal } = config;

  // The slices.
  const assets = createAssets(join(VIEWS, 'assets'));
  const views = await createViews({ directory: VIEWS, assets });
  const errors = createErrorAnswers({ views, log, profileLocale: (ctx) => engine.profileLocale(ctx) });
  const descriptions = createDescriptions(core);
  const describe = (names: readonly string[]) => describeScopes(names, core.permissions);
  const resolve = createNameResolver();
  const warn = (message: string) => log.warn({ setting: 'OUTBOUND_ALLOW' }, message);
  const outbound = { allow: config.outboundAllow, resolve, warn };
  const request = createOutbound(outbound);
  const mail = openMail(core, { config, log, resolve, views });
  const personalTokens = createPersonalTokens({
    storage,
    now,
    audit,
    findAccount: accounts.get,
    mayBeEternal,
    notify: createTokenMails({ send: mail.send, findAccount: accounts.findActive, deviceInWords }),
  });
  const federation = createFederation(core, {
    issuer,
    outbound,
    send: mail.send,
    deviceInWords,
    warn: (identityProvider, problem) => log.warn({ identityProvider, problem }, 'tokens of it cannot be checked'),
  });
  const testRuns = createTestRuns({ storage });
  const oidc = createOidc(core, {
    issuer,
    log,
    request,
    allowFormTarget,
    pages: enginePages({ views, errors, ...descriptions }),
    uiLocales: views.locales,
    isTestRunOpen: testRuns.isOpen,
    personalTokens,
    exchange: (issue) => createExchange({ ...core, ...federation, issue }),
  });
  const { engine, verifier, exchange, consents, appsAccess, backchannelLogout } = oidc;
  const shown = { issuer, views, findSession: engine.browserSession };
  const sso = createSso(core, {
    ...shown,
    issue: oidc.issueAccessToken,
    authorizeInline: createAuthorizeInline({ listener: () => app.callback(), provider: engine.provider }),
    consents,
    describe: describeClient,
  });
  const interactions = createInteractions(core, {
    ...descriptions,
    ...federation,
    issuer,
    views,
    provider: engine.provider,
    consents,
  });
  const callers = createCallers({ verifier, tokenOf, findSession: engine.browserSession });
  const consoles = {
    ...core,
    ...descriptions,
    ...shown,
    now,
    formKeys: sealing.formKeys,
    personalTokens,
    mayBeEternal,
  };

  const revokeLeaked = { personal_token: personalTokens.revokeLeaked, app_token: core.appTokens.revokeLeaked };

  // What is mounted.
  const app = new Koa({ proxy: true, keys: sealing.cookieKeys });
  readQueriesInOnePass(app);
  app.on('error', (error) => log.warn({ err: error }, 'connection failed'));
  app
    .use(securityHeaders({ issuer }))
    .use(errors.handle) // sees every failure below
    .use(canonicalRequest({ issuer, trustedProxies: config.trustedProxies, log })) // before anything reads the request
    .use(verifyRoutes({ issuer, verifier, signIdentity: createSignIdentity({ ...core, issuer, now }) }).routes()) // the busiest first
    .use(bearerCors({ below: '/api/' }))
    .use(troubleCors({ at: new Set(BROWSER_ROUTES) }))
    .use(plainBody) // not before what proxies ask with the headers of another request
    .use(takeTurns(({ path }) => path.startsWith('/interaction/'))) // where passwords are guessed
    .use(acceptFormerSessionCookie(issuer))
    .use(introspectionRoutes({ ...core, ...oidc, issuer }).routes())
    .use(restRoutes({ ...core, issuer, exchange }).routes())
    .use(sso.servers.routes())
    .use(apiRoutes({ ...descriptions, issuer, now, callers, personalTokens }).routes())
    .use(leakedSecretsRoutes({ ...core, revokeLeaked }).routes())
    .use(docsRoutes({ issuer, assets }).routes())
    .use(feedRoutes(core).routes())
    .use(assets.serve)
    .use(healthRoutes({ storage, isStopping }).routes())
    .use(setupRoutes({ issuer, setup: core.setup, views }).routes())
    .use(callbackRoutes(federation).routes())
    .use(interactions.routes())
    .use(accountConsoleRoutes({ ...consoles, ...federation, appsAccess, describe }).routes())
    .use(
      adminRoutes({
        ...consoles,
        request,
        testRuns,
        inProcess: createInProcess(() => app.callback()),
        endAccessToken: createEndAccessToken(engine.provider),
      }).routes(),
    )
    .use(formRequestRoutes().routes())
    .use(spellingRoutes({ issuer, clients }).routes())
    .use(sso.browsers.routes())
    .use(engine.handle); // last: answers what is left

  // With the wrong secret key every sign-in would fail: better not to start. From now on keys are known, whatever the store does.
  await engine.provider();
  const schedule = createSchedule({ storage, now, log });
  schedule.every('mail', { seconds: 30 }, mail.deliverDue);
  schedule.every('token-reminders', { seconds: 3600 }, personalTokens.remindDue);
  schedule.every('backchannel-logout', { seconds: 5 }, backchannelLogout.deliverDue);
  const stop = () => Promise.all([schedule.stop(), mail.stop(), backchannelLogout.stop()]).then(() => undefined);
  return { app, background: { start: schedule.start, stop } };
}
