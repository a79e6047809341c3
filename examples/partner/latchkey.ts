/**
 * Everything between this app and Latchkey: its server vouches for its own user, and Latchkey signs that person in without a
 * password. Take it along; it knows nothing of the web framework and the pages. docs/sign-your-users-in.md explains it.
 */
import * as oidc from 'openid-client';

export interface LatchkeyOptions {
  issuer: string;
  clientId: string;
  /** For servers only: whoever has it can come as any user of this app. */
  clientSecret: string;
  /** Where the users belong at Latchkey. */
  organizationId: string;
  /** Where people reach this app. Registered is `<baseUrl>/callback`. */
  baseUrl: string;
}

/** Somebody who is signed in to this app. */
export interface User {
  email: string;
  firstName: string;
  lastName: string;
  /** What the person may do at Latchkey, separated by spaces; what this app gave earlier and is not here is taken back. */
  permissions: string;
}

/** What the answer to one authorization request is checked against; kept on this server, and used once. */
export interface Attempt {
  user: User;
  state: string;
  nonce: string;
  codeVerifier: string;
}

/** Latchkey's no, by its OAuth error code. */
export class Refusal extends Error {
  readonly code: string;

  constructor(code: string, description = '') {
    super(description);
    this.code = code;
  }
}

const SCOPE = 'openid profile email orders.read';

/** @throws when Latchkey cannot be reached. */
export async function connectLatchkey(options: LatchkeyOptions) {
  const { issuer, clientId, clientSecret, organizationId, baseUrl } = options;
  const config = await oidc.discovery(new URL(issuer), clientId, clientSecret, undefined, {
    execute: issuer.startsWith('https:') ? [] : [oidc.allowInsecureRequests], // on this machine only
  });

  /** @throws {Refusal} */
  async function vouch(path: string, { email, firstName, lastName, permissions }: User): Promise<Response> {
    const form = new FormData();
    form.set('client_id', clientId);
    form.set('client_secret', clientSecret);
    form.set('organization_id', organizationId);
    form.set('email', email);
    form.set('first_name', firstName);
    form.set('last_name', lastName);
    form.set('permissions', permissions);
    const response = await fetch(issuer + path, { method: 'POST', body: form, signal: AbortSignal.timeout(5_000) });
    if (response.ok) return response;
    const { error, error_description } = (await response.json()) as { error: string; error_description?: string };
    throw new Refusal(error, error_description);
  }

  async function tokenOf(response: Response): Promise<string> {
    return ((await response.json()) as { access_token: string }).access_token;
  }

  return {
    /** The first door: an address that signs the person in and leads to `next`. Works once, for a minute. @throws {Refusal} */
    async signInLink(user: User, next: string): Promise<string> {
      const token = await tokenOf(await vouch('/sso/token', user));
      return `${issuer}/sso/login?${new URLSearchParams({ token, next })}`;
    },

    /** The second door: an authorization request that brings the sign-in along. @throws {Refusal} */
    async start(user: User): Promise<{ url: string; attempt: Attempt }> {
      const codeVerifier = oidc.randomPKCECodeVerifier();
      const attempt = { user, state: oidc.randomState(), nonce: oidc.randomNonce(), codeVerifier };
      const url = oidc.buildAuthorizationUrl(config, {
        redirect_uri: `${baseUrl}/callback`,
        scope: SCOPE,
        state: attempt.state,
        nonce: attempt.nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(codeVerifier),
        code_challenge_method: 'S256',
        sso_token: await tokenOf(await vouch('/sso/token', user)),
      });
      return { url: url.href, attempt };
    },

    /** @param path The path and query that the browser came back to. @throws {Refusal} */
    async finish(path: string, { user, state, nonce, codeVerifier }: Attempt): Promise<oidc.IDToken> {
      const tokens = await oidc
        .authorizationCodeGrant(config, new URL(path, baseUrl), {
          expectedState: state,
          expectedNonce: nonce,
          pkceCodeVerifier: codeVerifier,
          idTokenExpected: true,
        })
        .catch(asRefusal);
      const claims = tokens.claims();
      if (claims?.email !== user.email) throw new Refusal('somebody_else', 'somebody else is signed in at Latchkey');
      return claims;
    },

    /** For calling APIs as the person, without a browser. @throws {Refusal} */
    async accessToken(user: User): Promise<string> {
      return tokenOf(await vouch('/sso/access-token', user));
    },

    /** Ends the person's sessions at Latchkey that this app began. @throws {Refusal} */
    async signOut(user: User): Promise<void> {
      await vouch('/sso/logout', user);
    },
  };
}

/** @throws {Refusal} for a no; whatever else went wrong as it is. */
function asRefusal(error: unknown): never {
  if (error instanceof oidc.AuthorizationResponseError || error instanceof oidc.ResponseBodyError)
    throw new Refusal(error.error, error.error_description);
  if (error instanceof oidc.ClientError && error.code === 'OAUTH_INVALID_RESPONSE')
    throw new Refusal('unexpected_answer', 'it belongs to no sign-in of this browser');
  throw error;
}
