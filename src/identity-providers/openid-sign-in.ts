/** Signing in by OpenID Connect, at a provider that is found by discovery (OIDC Discovery §4). */
import {
  authorizationCodeGrant,
  buildAuthorizationUrl,
  type Configuration,
  calculatePKCECodeChallenge,
  fetchUserInfo,
  type ServerMetadata,
} from 'openid-client';
import { z } from 'zod';
import { cachedDocument } from './cached-document.ts';
import type { ProviderClient } from './circuit-breaker.ts';
import { ID_TOKEN_ALGORITHMS } from './id-token.ts';
import type { ProviderAccess } from './kinds/kind.ts';
import { type CodeFlow, configure, type SignInRequest } from './oauth-client.ts';
import { ProviderUnavailable } from './token-verifier.ts';
import { isWhole, profileIn, withMore } from './upstream-profile.ts';

const Endpoint = z.url({ protocol: /^https?$/ });

/** What of the metadata counts here; nothing else is looked at. */
const Metadata = z.object({
  issuer: z.string(),
  authorization_endpoint: Endpoint,
  token_endpoint: Endpoint,
  jwks_uri: Endpoint,
  userinfo_endpoint: Endpoint.optional(),
  token_endpoint_auth_methods_supported: z.array(z.string()).optional(),
  authorization_response_iss_parameter_supported: z.boolean().optional(),
});

export interface OpenIdRules {
  /** Where the metadata are found. */
  address: string;
  /** What the provider may call itself. */
  issuers: readonly string[];
  /** What lets a person choose among several accounts that they have there. */
  chooseAccount: Record<string, string>;
}

export function createOpenIdSignIn(options: ProviderAccess, rules: OpenIdRules): CodeFlow {
  const { identityProvider, ask } = options;
  const { address, issuers } = rules;
  const client = cachedDocument(async () => configure(await discover(ask, { address, issuers }), options));

  /** `max_age` is what obliges the provider to say when it has asked (OIDC Core §3.1.2.1). */
  function promptOf({ askAgain, chooseAccount }: SignInRequest): Record<string, string> {
    if (askAgain) return { prompt: 'login', max_age: '0' };
    return chooseAccount ? rules.chooseAccount : {};
  }

  async function authorizationUrl(request: SignInRequest): Promise<URL> {
    return buildAuthorizationUrl(await client.get(), {
      redirect_uri: request.redirectUri,
      scope: 'openid profile email',
      state: request.state,
      nonce: request.nonce,
      code_challenge: await calculatePKCECodeChallenge(request.verifier),
      code_challenge_method: 'S256',
      ...promptOf(request),
    });
  }

  return {
    authorizationUrl,

    async redeem(callback, { state, nonce, verifier }) {
      const configuration = await client.get();
      const checks = {
        expectedState: state,
        expectedNonce: nonce,
        pkceCodeVerifier: verifier,
        idTokenExpected: true,
      };
      const tokens = await authorizationCodeGrant(configuration, callback, checks);
      const claims = { ...tokens.claims() };
      // openid-client looks at it only beside several audiences (OIDC Core §3.1.3.7, 5).
      if (claims.azp !== undefined && claims.azp !== identityProvider.clientId)
        throw new Error('the ID token was given to another app');
      const subject = String(claims.sub);
      const known = profileIn(claims);
      async function tellMore() {
        const told = await userInfo(configuration, tokens.access_token, subject).catch((error) => {
          // That no more can be learnt is no reason to refuse somebody whose address is known.
          if (known.email === undefined) throw error;
          return {};
        });
        return withMore(known, profileIn(claims, told));
      }
      return {
        subject,
        ...(isWhole(known) ? { profile: known, tellMore } : { profile: await tellMore() }),
        authenticatedAt: typeof claims.auth_time === 'number' ? claims.auth_time : undefined,
      };
    },
  };
}

/** Only the provider's own word about itself counts (OIDC Discovery §4.3). @throws {ProviderUnavailable} */
async function discover(
  ask: ProviderClient,
  { address, issuers }: { address: string; issuers: readonly string[] },
): Promise<ServerMetadata> {
  const { status, body } = await ask(`${address.replace(/\/$/, '')}/.well-known/openid-configuration`);
  const metadata = Metadata.safeParse(body);
  if (status !== 200 || !metadata.success) throw new ProviderUnavailable('the provider has no usable metadata');
  if (!issuers.includes(metadata.data.issuer))
    throw new ProviderUnavailable('the metadata are those of another issuer');
  return { ...(metadata.data as ServerMetadata), id_token_signing_alg_values_supported: ID_TOKEN_ALGORITHMS };
}

/** Many providers say no more in an ID token than who it is; the rest is asked for (OIDC Core §5.3). */
async function userInfo(
  configuration: Configuration,
  token: string,
  subject: string,
): Promise<Record<string, unknown>> {
  if (configuration.serverMetadata().userinfo_endpoint === undefined) return {};
  return { ...(await fetchUserInfo(configuration, token, subject)) };
}
