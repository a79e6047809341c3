/** Signing in by plain OAuth 2 (RFC 6749 §4.1) with PKCE, at a provider whose API says who has a token. */
import { authorizationCodeGrant, buildAuthorizationUrl, calculatePKCECodeChallenge } from 'openid-client';
import type { ProviderAccess } from './kinds/kind.ts';
import { type CodeFlow, configure, type SignedIn } from './oauth-client.ts';

export interface OAuthRules {
  /** What the provider calls itself, where it says so in its answers (RFC 9207). */
  issuer: string;
  authorizationEndpoint: string;
  tokenEndpoint: string;
  scope: string;
  /** What lets a person choose among several accounts that they have there. */
  chooseAccount: Record<string, string>;
  /** Who has a token. @throws {ProviderUnavailable} */
  askWho(token: string): Promise<SignedIn>;
}

export function createOAuthSignIn(options: ProviderAccess, rules: OAuthRules): CodeFlow {
  const server = {
    issuer: rules.issuer,
    authorization_endpoint: rules.authorizationEndpoint,
    token_endpoint: rules.tokenEndpoint,
    token_endpoint_auth_methods_supported: ['client_secret_post'],
  };

  return {
    async authorizationUrl({ redirectUri, state, verifier, chooseAccount }) {
      return buildAuthorizationUrl(await configure(server, options), {
        redirect_uri: redirectUri,
        scope: rules.scope,
        state,
        code_challenge: await calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        ...(chooseAccount ? rules.chooseAccount : {}),
      });
    },

    async redeem(callback, { state, verifier }) {
      const checks = { expectedState: state, pkceCodeVerifier: verifier };
      const tokens = await authorizationCodeGrant(await configure(server, options), callback, checks);
      return rules.askWho(tokens.access_token);
    },
  };
}
