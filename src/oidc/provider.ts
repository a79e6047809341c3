/**
 * The protocol engine's configuration: everything that is decided about OpenID Connect and OAuth here, on one page.
 * Knows the engine; what people, apps and pages are comes in as functions.
 */

import type { Adapter, Configuration, ErrorOut, JWK, KoaContextWithOIDC, ResponseType } from 'oidc-provider';
import Provider, { errors } from 'oidc-provider';
import { type Account, BUILT_IN_PERMISSION } from '../accounts/account.ts';
import type { JudgeSecret } from '../clients/secret-judge.ts';
import type { Exchange } from '../exchange/exchange.ts';
import { withOutages } from './adapter.ts';
import type { BackchannelLogout } from './backchannel-logout.ts';
import { CLAIMS_OF_SCOPE, OPENID_SCOPES } from './claims.ts';
import { assertClientAssertion } from './client-assertion.ts';
import { cookieName } from './cookie-name.ts';
import { vouchedIn } from './epoch.ts';
import { keepOfflineAccess } from './offline-access.ts';
import { PATCHES } from './patches.ts';
import { type ConsentPolicy, createPrompts } from './prompts.ts';
import {
  ACR_FEDERATED,
  ACR_PASSWORD,
  ACR_SSO,
  CONSOLE_CALLBACK,
  CONSOLE_CLIENT_ID,
  LIFETIME,
  ROUTES,
  TEST_RUN_CALLBACK,
} from './protocol.ts';
import type { UsedRefreshToken } from './refresh-tokens.ts';
import { sessionCookieOf } from './session-cookie.ts';

/** What the engine shows people; the pages themselves are not its business. */
export interface EnginePages {
  error(ctx: KoaContextWithOIDC, out: ErrorOut, error: Error): Promise<void>;
  logout(ctx: KoaContextWithOIDC, form: SignOutForm): Promise<void>;
  /** In place of `logout` where nobody is signed in. */
  nobodySignedIn(ctx: KoaContextWithOIDC, form: SignOutForm): Promise<void>;
  loggedOut(ctx: KoaContextWithOIDC): Promise<void>;
}

export interface SignOutForm {
  action: string;
  xsrf: string;
}

export interface ProviderOptions {
  issuer: string;
  adapter: (model: string) => Adapter;
  keys: JWK[];
  cookieKeys: string[];
  /** The names of the permissions that were created, each a scope beside the built-in one. */
  permissions: string[];
  uiLocales: readonly string[];
  pages: EnginePages;
  findAccount: (accountId: string) => Promise<Account | undefined>;
  /** The same for somebody who proved who they are under an epoch: undefined when something has ended that since. */
  findProven: (accountId: string, session: { uid: string; epoch?: number | undefined }) => Promise<Account | undefined>;
  claims: (account: Account) => Promise<{ sub: string } & Record<string, unknown>>;
  loadExistingGrant: NonNullable<Configuration['loadExistingGrant']>;
  consent: ConsentPolicy;
  /** Whether what an app presents is its secret; counts what is not. */
  judgeSecret: JudgeSecret;
  /** Whether an app may introspect tokens that were not issued to it. */
  introspectsAll: (clientId: string) => Promise<boolean>;
  /** Swaps a token of an identity provider for an access token. */
  exchange: Exchange['forClient'];
  /** Whether a refresh token of an app is good for one use. */
  rotatesRefreshTokens: (clientId: string) => Promise<boolean>;
  /** Answers the successor of a refresh token; undefined when it must not be used. */
  useRefreshToken: (token: string) => Promise<string | undefined>;
  /** Signs out who need not be asked; false for anybody else. */
  signOutUnasked: (ctx: KoaContextWithOIDC) => Promise<boolean>;
  /** Tells an app that a person has signed out. */
  sendLogout: BackchannelLogout['send'];
  /** Whether a request is that of an app's test run which this account has open. */
  isTestRunOpen: (
    accountId: string,
    request: { id: string; clientId: string; codeChallenge: string | undefined },
  ) => Promise<boolean>;
}

export function createProvider(given: ProviderOptions): Provider {
  const options = withOutages(given);
  const { issuer, pages } = options;
  const secure = issuer.startsWith('https:');
  const cookie = { httpOnly: true, sameSite: 'lax', secure, signed: true, overwrite: true } as const;

  const provider = new Provider(issuer, {
    adapter: options.adapter,
    jwks: { keys: options.keys },
    routes: ROUTES,

    scopes: [...OPENID_SCOPES, BUILT_IN_PERMISSION, ...options.permissions],
    claims: CLAIMS_OF_SCOPE,
    acrValues: [ACR_PASSWORD, ACR_FEDERATED, ACR_SSO],
    // Existing clients read name, e-mail and organization from the ID token itself.
    conformIdTokenClaims: false,
    subjectTypes: ['public'],
    responseTypes: RESPONSE_TYPES,
    clientAuthMethods: [...CLIENT_AUTH_METHODS],
    enabledJWA: {
      idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'],
      clientAuthSigningAlgValues: [...CLIENT_AUTH_ALGORITHMS],
    },
    discovery: {
      ui_locales_supported: [...options.uiLocales],
      claim_types_supported: ['normal'],
      prompt_values_supported: ['none', 'login', 'consent', 'select_account'],
      revocation_endpoint_auth_methods_supported: CLIENT_AUTH_METHODS,
      revocation_endpoint_auth_signing_alg_values_supported: CLIENT_AUTH_ALGORITHMS,
      introspection_endpoint_auth_methods_supported: CLIENT_AUTH_METHODS,
      introspection_endpoint_auth_signing_alg_values_supported: CLIENT_AUTH_ALGORITHMS,
    },

    clients: [consoleClient(issuer)],
    extraClientMetadata: { properties: ['epoch'] },
    clientDefaults: { token_endpoint_auth_method: 'client_secret_basic' },
    assertJwtClientAuthClaimsAndHeader: assertClientAssertion,
    allowOmittingSingleRegisteredRedirectUri: false,
    // Not extra; this is where the engine lets parameters be checked.
    extraParams: {
      state: assertShort('state'),
      nonce: assertShort('nonce'),
      client_id: assertFits,
      scope: keepOfflineAccess,
    },
    pkce: {
      required: (_ctx, client) => client.tokenEndpointAuthMethod === 'none' && client.clientId !== CONSOLE_CLIENT_ID,
    },
    clientBasedCORS: (ctx, origin, client) =>
      isClientOrigin(origin, client.redirectUris) && mayUseFromBrowser(ctx, client),

    cookies: {
      names: {
        session: sessionCookieOf(issuer),
        interaction: cookieName(issuer, secure ? '__Secure-latchkey-interaction' : 'latchkey-interaction'),
        resume: cookieName(issuer, secure ? '__Secure-latchkey-resume' : 'latchkey-resume'),
      },
      keys: options.cookieKeys,
      long: cookie,
      short: cookie,
    },

    ttl: {
      AccessToken: LIFETIME.accessToken,
      ClientCredentials: LIFETIME.accessToken,
      AuthorizationCode: LIFETIME.authorizationCode,
      IdToken: LIFETIME.idToken,
      Interaction: (_ctx, { session }) =>
        session?.accountId === undefined ? LIFETIME.anonymous : LIFETIME.interaction,
      Grant: LIFETIME.sessionAbsolute + LIFETIME.refreshTokenAbsolute,
      Session: (_ctx, { accountId, loginTs }) =>
        accountId === undefined ? LIFETIME.anonymous : within(LIFETIME.sessionIdle, loginTs, LIFETIME.sessionAbsolute),
      RefreshToken: (_ctx, token) => within(LIFETIME.refreshTokenIdle, token.iiat, LIFETIME.refreshTokenAbsolute),
    },
    // Where they are not rotated, one that was used while they were is still used up.
    rotateRefreshToken: async ({ oidc }) =>
      (oidc.entities.RefreshToken as UsedRefreshToken | undefined)?.usedAt !== undefined ||
      options.rotatesRefreshTokens(String(oidc.client?.clientId)),
    // Revoking a token ends that one, or its family, and not all that the app has in this session.
    revokeGrantPolicy: ({ oidc }) => oidc.route !== 'revocation',
    issueRefreshToken: async (_ctx, client, source) =>
      client.grantTypeAllowed('refresh_token') && source.scopes.has('offline_access'),
    expiresWithSession: async (_ctx, source) => !source.scopes.has('offline_access'),

    findAccount: async (ctx, accountId) => {
      const isOfSession = ctx.oidc.session?.accountId === accountId;
      const account = await (isOfSession
        ? options.findProven(accountId, { uid: String(ctx.oidc.session?.uid), ...vouchedIn(ctx) })
        : options.findAccount(accountId));
      return account && { accountId, claims: async () => options.claims(account) };
    },
    loadExistingGrant: options.loadExistingGrant,
    interactions: {
      policy: createPrompts({ ...options.consent, assertOwn: (ctx) => assertOwnTestRun(ctx, options.isTestRunOpen) }),
      url: (_ctx, interaction) => `/interaction/${interaction.uid}`,
    },
    renderError: (ctx, out, error) => pages.error(ctx, out, error),
    // Nothing of an app's choosing is fetched.
    fetch: async () => {
      throw new Error('the engine makes no outgoing requests');
    },

    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      dPoP: { enabled: false },
      claimsParameter: { enabled: true, assertClaimsParameter },
      clientCredentials: { enabled: true },
      introspection: {
        enabled: true,
        allowedPolicy: async (_ctx, client, token) =>
          token.clientId === client.clientId || options.introspectsAll(client.clientId),
      },
      revocation: { enabled: true, allowedPolicy: async (_ctx, client, token) => token.clientId === client.clientId },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => {
          throw new errors.InvalidTarget();
        },
        defaultResource: async (_ctx, _client, oneOf) => oneOf as unknown as string,
        useGrantedResource: async () => false,
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx) => {
          if (!(await options.signOutUnasked(ctx))) await pages.logout(ctx, signOutForm(ctx));
        },
        postLogoutSuccessSource: (ctx) => pages.loggedOut(ctx),
      },
    },
  });

  for (const { apply } of PATCHES) apply(provider, options);
  return provider;
}

/** How apps prove themselves, at every endpoint where they do. */
const CLIENT_AUTH_METHODS = ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'] as const;
const CLIENT_AUTH_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'] as const;

export function signOutForm({ oidc }: KoaContextWithOIDC): SignOutForm {
  return { action: oidc.urlFor('end_session_confirm'), xsrf: String(oidc.session?.state?.secret) };
}

const RESPONSE_TYPES: ResponseType[] = ['code', 'id_token', 'id_token token', 'none'];

function consoleClient(issuer: string) {
  return {
    client_id: CONSOLE_CLIENT_ID,
    client_name: 'Latchkey',
    redirect_uris: [`${issuer}${CONSOLE_CALLBACK}`],
    post_logout_redirect_uris: [`${issuer}/account`],
    response_types: ['none' as const],
    grant_types: [],
    token_endpoint_auth_method: 'none' as const,
  };
}

/** The shorter of sliding and what is left of the absolute lifetime; at least a second, as the engine wants. */
function within(idle: number, startedAt: number | undefined, absolute: number): number {
  const age = startedAt === undefined ? 0 : Math.floor(Date.now() / 1000) - startedAt;
  return Math.max(1, Math.min(idle, absolute - age));
}

function isClientOrigin(origin: string, redirectUris: readonly string[] = []): boolean {
  return origin !== 'null' && redirectUris.some((uri) => URL.parse(uri)?.origin === origin);
}

/** A secret has no place in a browser, so only apps without one may call the token endpoint from there. */
function mayUseFromBrowser(ctx: KoaContextWithOIDC, client: { tokenEndpointAuthMethod?: string | undefined }): boolean {
  return ctx.oidc.route === 'userinfo' || client.tokenEndpointAuthMethod === 'none';
}

/** Bytes of a value that is sent back in a URL; proxies on the way give up at little more. */
const LONGEST_ECHO = 4096;

function assertShort(name: 'state' | 'nonce') {
  return ({ oidc }: KoaContextWithOIDC, value: string | undefined): void => {
    if (Buffer.byteLength(value ?? '') <= LONGEST_ECHO) return;
    if (oidc.params) oidc.params[name] = undefined;
    throw new errors.InvalidRequest(`${name} must not be longer than ${LONGEST_ECHO} bytes`);
  };
}

/** Bytes of all parameters of a request together: it is kept until somebody has signed in. */
const LARGEST_REQUEST = 6_000;

function assertFits({ oidc }: KoaContextWithOIDC): void {
  const sizes = Object.values(oidc.params ?? {}).map((value) => Buffer.byteLength(String(value ?? '')));
  if (sizes.reduce((sum, size) => sum + size, 0) <= LARGEST_REQUEST) return;
  throw new errors.InvalidRequest(
    `the parameters of a request must not be longer than ${LARGEST_REQUEST} bytes together`,
  );
}

/** No request needs more of the `claims` parameter (OIDC Core §5.5), which is parsed, stored and written out several times. */
const CLAIMS_LIMIT = { characters: 8_000, members: 100, levels: 5 };

/** Each requested claim is null or an object (OIDC Core §5.5.1). */
async function assertClaimsParameter({ oidc }: KoaContextWithOIDC, claims: object): Promise<void> {
  if (String(oidc.params?.claims).length > CLAIMS_LIMIT.characters || !isShallow(claims, CLAIMS_LIMIT.levels)) {
    throw new errors.InvalidRequest('claims is too long, too deep or has names that no claim has');
  }
  for (const requested of Object.values(claims)) {
    const members = Object.values((requested ?? {}) as object);
    const areRequests = members.every((member) => typeof member === 'object' && !Array.isArray(member));
    if (members.length > CLAIMS_LIMIT.members || !areRequests) {
      throw new errors.InvalidRequest('claims must name at most 100 claims, each null or an object');
    }
  }
}

function isShallow(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  const members = Object.entries(value);
  return levels > 0 && members.every(([name, member]) => name !== '__proto__' && isShallow(member, levels - 1));
}

/**
 * Our own page gets the answer to the test run that somebody has open there, and no other. Asked again when the person has answered, who
 * may be another one by then.
 */
async function assertOwnTestRun(
  { oidc }: KoaContextWithOIDC,
  isTestRunOpen: ProviderOptions['isTestRunOpen'],
): Promise<void> {
  const { redirect_uri: uri, state, code_challenge: challenge } = oidc.params ?? {};
  if (uri !== `${oidc.provider.issuer}${TEST_RUN_CALLBACK}`) return;
  const { clientId = '' } = oidc.client ?? {};
  const request = { id: String(state), clientId, codeChallenge: typeof challenge === 'string' ? challenge : undefined };
  const isOpen = await isTestRunOpen(oidc.session?.accountId ?? '', request);
  if (isOpen) return;
  throw new errors.AccessDenied('no test run of this app is open here'); // which our page, too, shows nobody else
}
