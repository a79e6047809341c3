/**
 * Everything of OpenID Connect in this app: the authorization code flow with PKCE, through openid-client. Take it along;
 * it knows nothing of the web framework and the pages.
 */
import * as oidc from 'openid-client';

export interface SignInOptions {
  issuer: string;
  clientId: string;
  clientSecret: string;
  /** Where people reach this app. Registered are `<baseUrl>/callback`, and `<baseUrl>/` for after signing out. */
  baseUrl: string;
}

/** `offline_access` asks for a refresh token; the names with a dot are permissions that an administrator has created. */
const SCOPE = 'openid profile email offline_access orders.read orders.write';

/** What the answer to one attempt is checked against; kept in the browser that made it, and used once. */
export interface Attempt {
  state: string;
  nonce: string;
  codeVerifier: string;
}

export interface SignIn {
  /** Who it is. */
  claims: oidc.IDToken;
  idToken: string;
  accessToken: string;
  /** Of the tokens, in milliseconds since 1970. */
  issuedAt: number;
  expiresAt: number;
  /** What was granted, which may be less than was asked for. */
  scope: string;
  refreshToken: string | undefined;
  /** The refresh under way: a refresh token works once, and a second use ends the sign-in, so there is never more than one. */
  refreshing?: Promise<void> | undefined;
}

/** @throws when Latchkey cannot be reached. */
export async function createSignIns({ issuer, clientId, clientSecret, baseUrl }: SignInOptions) {
  const config = await oidc.discovery(new URL(issuer), clientId, clientSecret, undefined, {
    execute: issuer.startsWith('https:') ? [] : [oidc.allowInsecureRequests], // on this machine only
  });

  function refresh(signIn: SignIn): Promise<void> {
    signIn.refreshing ??= renew(signIn).finally(() => {
      signIn.refreshing = undefined;
    });
    return signIn.refreshing;
  }

  async function renew(signIn: SignIn): Promise<void> {
    const { refreshToken } = signIn;
    if (refreshToken) Object.assign(signIn, toSignIn(await oidc.refreshTokenGrant(config, refreshToken)));
  }

  return {
    /** Where to send the browser, and what to keep until it is back. */
    async start(): Promise<{ url: string; attempt: Attempt }> {
      const codeVerifier = oidc.randomPKCECodeVerifier();
      const attempt = { state: oidc.randomState(), nonce: oidc.randomNonce(), codeVerifier };
      const url = oidc.buildAuthorizationUrl(config, {
        redirect_uri: `${baseUrl}/callback`,
        scope: SCOPE,
        state: attempt.state,
        nonce: attempt.nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(codeVerifier),
        code_challenge_method: 'S256',
      });
      return { url: url.href, attempt };
    },

    /** @param path The path and query that the browser came back to. @throws a refusal. */
    async finish(path: string, { state, nonce, codeVerifier }: Attempt): Promise<SignIn> {
      const tokens = await oidc.authorizationCodeGrant(config, new URL(path, baseUrl), {
        expectedState: state,
        expectedNonce: nonce,
        pkceCodeVerifier: codeVerifier,
        idTokenExpected: true,
      });
      return toSignIn(tokens);
    },

    refresh,

    /** Who it is and whether they still may, asked now. @throws a refusal when they may not. */
    async userinfo(signIn: SignIn): Promise<oidc.UserInfoResponse> {
      if (signIn.expiresAt <= Date.now()) await refresh(signIn);
      return oidc.fetchUserInfo(config, signIn.accessToken, signIn.claims.sub);
    },

    /** Where to send the browser so that it is signed out at Latchkey, too. */
    async end({ refreshToken, idToken }: SignIn): Promise<string> {
      // Offline access outlives the session at Latchkey, so it is given back.
      if (refreshToken) await oidc.tokenRevocation(config, refreshToken);
      const request = { id_token_hint: idToken, post_logout_redirect_uri: `${baseUrl}/` };
      return oidc.buildEndSessionUrl(config, request).href;
    },
  };
}

/**
 * Latchkey's no, by its OAuth error code: refused by the person, taken back, expired. `unexpected_answer` is ours, for one
 * that belongs to no attempt of this browser. Undefined for failures, after which trying again makes sense.
 */
export function refusalOf(error: unknown): string | undefined {
  if (error instanceof oidc.AuthorizationResponseError) return error.error;
  if (error instanceof oidc.ResponseBodyError) return error.status < 500 ? error.error : undefined;
  if (error instanceof oidc.WWWAuthenticateChallengeError) return 'invalid_token';
  if (error instanceof oidc.ClientError && error.code === 'OAUTH_INVALID_RESPONSE') return 'unexpected_answer';
  return undefined;
}

function toSignIn(tokens: oidc.TokenEndpointResponse & oidc.TokenEndpointResponseHelpers): SignIn {
  const { access_token: accessToken, refresh_token: refreshToken, id_token: idToken, expires_in = 0 } = tokens;
  const claims = tokens.claims();
  if (!idToken || !claims) throw new Error('there is no ID token');
  const issuedAt = Date.now();
  const expiresAt = issuedAt + expires_in * 1000;
  return { claims, idToken, accessToken, refreshToken, scope: tokens.scope ?? '', issuedAt, expiresAt };
}
