/** The slice of signing in, composed: the pages between an app's request and its answer. */
import type Router from '@koa/router';
import type { Accounts } from '../accounts/accounts.ts';
import { createKnownBrowsers } from '../accounts/known-browsers.ts';
import type { Passwords } from '../accounts/password.ts';
import { createPasswordSignIn } from '../accounts/sign-in.ts';
import type { Audit } from '../audit.ts';
import type { Views } from '../http/views.ts';
import type { IdentityProviders } from '../identity-providers/identity-providers.ts';
import type { ResolveAccount } from '../identity-providers/resolve-account.ts';
import type { SignInMethods } from '../identity-providers/sign-in-methods.ts';
import type { UpstreamSignIn } from '../identity-providers/upstream-sign-in.ts';
import type { Consents } from '../oidc/consents.ts';
import { ACR_FEDERATED, ACR_PASSWORD } from '../oidc/protocol.ts';
import type { Permissions } from '../permissions/permissions.ts';
import type { Sealing } from '../secrets/sealing.ts';
import type { Storage } from '../storage/storage.ts';
import type { Throttle } from '../throttle.ts';
import { createConsent } from './consent.ts';
import { describeScopes } from './descriptions.ts';
import { createLinkAccount } from './link-account.ts';
import { createLogin } from './login.ts';
import { createProviderSignIn } from './provider-sign-in.ts';
import { type InteractionRoutesOptions, interactionRoutes } from './routes.ts';

interface Foundation {
  storage: Storage;
  throttle: Throttle;
  sealing: Sealing;
  audit: Audit;
  accounts: Accounts;
  passwords: Passwords;
  permissions: Permissions;
  identityProviders: IdentityProviders;
}

export interface InteractionsOptions
  extends Pick<InteractionRoutesOptions, 'issuer' | 'provider' | 'findClient' | 'findAccount'> {
  views: Views;
  consents: Consents;
  upstream: UpstreamSignIn;
  resolveAccount: ResolveAccount;
  methods: SignInMethods;
}

export function createInteractions(core: Foundation, options: InteractionsOptions): Router {
  const { storage, throttle, audit, accounts, passwords, permissions } = core;
  const { consents, upstream, resolveAccount, methods, ...shown } = options;
  const { now } = storage;
  const knownBrowsers = createKnownBrowsers({ keys: core.sealing.cookieKeys });
  const { signIn } = createPasswordSignIn({ accounts, passwords, throttle, knownBrowsers, audit });
  const login = createLogin({ signIn, acr: ACR_PASSWORD, now });
  const findProvider = core.identityProviders.findActive;
  const linkAccount = createLinkAccount({ storage, accounts, findProvider, methods, login, audit });
  return interactionRoutes({
    ...shown,
    now,
    login,
    linkAccount,
    consent: createConsent({
      describe: (names) => describeScopes(names, permissions),
      remember: consents.remember,
      audit,
    }),
    providerSignIn: createProviderSignIn({ upstream, resolveAccount, linkAccount, audit, acr: ACR_FEDERATED, now }),
    async rememberBrowser(kept, accountId) {
      const account = await accounts.get(accountId);
      return account && knownBrowsers.remember(kept, account);
    },
    offeredProviders: upstream.offered,
    federatedAcr: ACR_FEDERATED,
  });
}
