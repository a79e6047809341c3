/**
 * The administrator's console: apps, people, and where else people sign in. Each page is plain HTML and works without scripts; every form comes from our
 * own pages, and its answer is another page, or the one page that shows a secret.
 */
import Router from '@koa/router';
import type { Accounts } from '../accounts/accounts.ts';
import type { Audit } from '../audit.ts';
import type { Clients } from '../clients/clients.ts';
import { createOneTimeForms } from '../console/one-time-forms.ts';
import type { ConsoleOptions } from '../console/pages.ts';
import type { AppTokens } from '../credentials/app-tokens.ts';
import type { PersonalTokens } from '../credentials/personal-tokens.ts';
import type { InProcess } from '../http/in-process.ts';
import { localeOf } from '../http/locale.ts';
import { hidesOrigin, sameOrigin } from '../http/same-origin.ts';
import { createConnectionTest } from '../identity-providers/connection-test.ts';
import type { IdentityProviders } from '../identity-providers/identity-providers.ts';
import type { EndAccessToken } from '../oidc/end-access-token.ts';
import type { Organizations } from '../organizations/organizations.ts';
import type { Outbound } from '../outbound/outbound.ts';
import type { Permissions } from '../permissions/permissions.ts';
import type { Storage } from '../storage/storage.ts';
import type { Throttle } from '../throttle.ts';
import { accountRoutes } from './account-routes.ts';
import { appRoutes } from './apps/routes.ts';
import { ssoPolicyRoutes } from './apps/sso-policy-routes.ts';
import { testRunRoutes } from './apps/test-run-routes.ts';
import { createTestRunner } from './apps/test-runner.ts';
import type { TestRuns } from './apps/test-runs.ts';
import { appTokenRoutes } from './apps/token-routes.ts';
import { createChoices } from './choices.ts';
import { identityProviderRoutes } from './identity-provider-routes.ts';
import { organizationRoutes } from './organization-routes.ts';
import { createAdminConsole } from './pages.ts';
import { permissionRoutes } from './permission-routes.ts';

export type AdminOptions = Omit<ConsoleOptions, 'localeOf' | 'hidesOrigin'> & {
  storage: Storage;
  throttle: Throttle;
  accounts: Accounts;
  organizations: Organizations;
  permissions: Permissions;
  clients: Clients;
  appTokens: AppTokens;
  personalTokens: Pick<PersonalTokens, 'count'>;
  identityProviders: IdentityProviders;
  /** How an identity provider is tried. */
  request: Outbound;
  /** How an app is tried. */
  testRuns: TestRuns;
  inProcess: InProcess;
  endAccessToken: EndAccessToken;
  audit: Audit;
};

export function adminRoutes(options: AdminOptions): Router {
  const pages = createAdminConsole({ ...options, localeOf, hidesOrigin });
  const forms = createOneTimeForms(options);
  const choices = createChoices(options);
  const router = new Router();
  router.use('/admin', sameOrigin({ issuer: options.issuer, provenByForm: true }));

  router.get(
    '/admin',
    pages.signedIn(async function home(ctx) {
      ctx.redirect('/admin/apps');
    }),
  );
  const { request, identityProviders } = options;
  const connectionTest = createConnectionTest({ request, secretOf: identityProviders.secretOf });
  const run = createTestRunner({ ...options, request: options.inProcess });
  const shared = { ...options, pages, forms, choices };
  const parts = [
    appTokenRoutes(shared),
    ssoPolicyRoutes(shared),
    testRunRoutes({ ...shared, run }),
    appRoutes(shared),
    accountRoutes(shared),
    organizationRoutes(shared),
    permissionRoutes(shared),
    identityProviderRoutes({ ...shared, connectionTest }),
  ];
  for (const part of parts) router.use(part.routes());
  return router;
}
