/** Us as an OAuth client of one provider, through openid-client. Owns that every request goes the guarded way. */
import {
  allowInsecureRequests,
  type ClientAuth,
  ClientSecretBasic,
  ClientSecretPost,
  Configuration,
  type CustomFetch,
  customFetch,
  enableNonRepudiationChecks,
  type ServerMetadata,
} from 'openid-client';
import type { OutboundInit } from '../outbound/outbound.ts';
import type { ProviderClient } from './circuit-breaker.ts';
import type { ProviderAccess } from './kinds/kind.ts';
import type { UpstreamProfile } from './upstream-profile.ts';

/** What a sign-in there is told apart by: all of it random, made for this one, and known to no one else but `state`. */
export interface Unguessable {
  /** RFC 6749 §10.12. */
  state: string;
  /** OIDC Core §3.1.2.1. */
  nonce: string;
  /** RFC 7636 §4.1. */
  verifier: string;
}

export interface SignInRequest extends Unguessable {
  redirectUri: string;
  /** Whether the provider is to ask who the person is, even if it knows. */
  askAgain: boolean;
  /** Whether the person is to choose among several accounts that they have there, where that can be asked for. */
  chooseAccount: boolean;
}

/** Who signed in at a provider. */
export interface SignedIn {
  subject: string;
  profile: UpstreamProfile;
  /** When they last showed the provider who they are (OIDC Core §2 `auth_time`); absent when it does not say. */
  authenticatedAt?: number | undefined;
  /** What else the provider tells about them, where signing in does not need it. */
  tellMore?: (() => Promise<UpstreamProfile>) | undefined;
}

/** Signing in at one provider: the authorization code flow with PKCE (RFC 7636). */
export interface CodeFlow {
  /** Where the person goes. @throws {ProviderUnavailable} */
  authorizationUrl(request: SignInRequest): Promise<URL>;
  /**
   * Who came back. Nothing that the provider gave for it is kept.
   * @param callback The whole URL they came back to.
   * @throws {ProviderUnavailable}, or what openid-client throws when the answer is not one to this request.
   */
  redeem(callback: URL, expected: Unguessable): Promise<SignedIn>;
}

export async function configure(
  server: ServerMetadata,
  { identityProvider, secret, ask }: ProviderAccess,
): Promise<Configuration> {
  const auth = clientAuth(server, (await secret()) ?? '');
  const configuration = new Configuration(server, identityProvider.clientId ?? '', undefined, auth);
  configuration[customFetch] = throughGuard(ask);
  // ID tokens are checked by their signature as well, and not only by the connection that they came through.
  enableNonRepudiationChecks(configuration);
  // Plain http is for the guard to refuse, which knows what OUTBOUND_ALLOW names.
  allowInsecureRequests(configuration);
  return configuration;
}

/** The way without a secret in the body, unless the provider says that it only takes the other one. */
function clientAuth({ token_endpoint_auth_methods_supported: methods }: ServerMetadata, secret: string): ClientAuth {
  return methods === undefined || methods.includes('client_secret_basic')
    ? ClientSecretBasic(secret)
    : ClientSecretPost(secret);
}

function throughGuard(ask: ProviderClient): CustomFetch {
  return async (url, init) => {
    const { status, body } = await ask(url, init as OutboundInit);
    const text = body === undefined ? null : JSON.stringify(body);
    return new Response(text, { status, headers: { 'content-type': 'application/json' } });
  };
}
