/** Names and numbers of the protocol here: routes, lifetimes, ids, `acr` values. Imports nothing, so that whoever needs a name loads no engine. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Lifetimes in seconds. */
export const LIFETIME = {
  accessToken: HOUR,
  /** Of what somebody began who has not signed in. */
  anonymous: 20 * MINUTE,
  authorizationCode: MINUTE,
  idToken: HOUR,
  interaction: HOUR,
  pushedRequest: MINUTE,
  sessionIdle: 3 * DAY,
  sessionAbsolute: 30 * DAY,
  refreshTokenIdle: 14 * DAY,
  refreshTokenAbsolute: 90 * DAY,
} as const;

/** Authentication context of a password sign-in, in `acr` (OIDC Core §2). */
export const ACR_PASSWORD = 'urn:latchkey:acr:password';

/** The same of a sign-in at an identity provider, whatever that one asked for. */
export const ACR_FEDERATED = 'urn:latchkey:acr:federated';

/** Authentication context of a sign-in by a partner's word. */
export const ACR_SSO = 'urn:latchkey:acr:sso';
export const AMR_SSO = 'sso';

/** The engine's client for our own pages: signing in to them runs an ordinary authorization request. */
export const CONSOLE_CLIENT_ID = 'latchkey-console';

/** Where a sign-in to our own pages ends. */
export const CONSOLE_CALLBACK = '/account/callback';

export const ROUTES = {
  authorization: '/identity/authorize',
  end_session: '/identity/logout',
  introspection: '/identity/introspect',
  jwks: '/identity/jwks',
  pushed_authorization_request: '/identity/par',
  revocation: '/identity/revoke',
  token: '/identity/token',
  userinfo: '/identity/userinfo',
} as const;

/** What scripts of apps call from a browser. */
export const BROWSER_ROUTES: readonly string[] = [ROUTES.token, ROUTES.userinfo, ROUTES.revocation, ROUTES.jwks];

/** Where the answer comes to when an administrator tries an app. No redirect URI of any app: only the test run that is open gets one there. */
export const TEST_RUN_CALLBACK = '/admin/apps/try/callback';
