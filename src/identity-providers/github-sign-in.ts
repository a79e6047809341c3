/** Signing in with GitHub, also at Enterprise hosts: plain OAuth 2 and two questions to its API. It cannot be made to ask again. */
import { authorizationCodeGrant, buildAuthorizationUrl, calculatePKCECodeChallenge } from 'openid-client';
import { GITHUB_API } from './github.ts';
import { askGitHub } from './github-person.ts';
import { type CodeFlow, type CodeFlowOptions, configure } from './oauth-client.ts';
import { githubAddress } from './provider-address.ts';

export function createGitHubSignIn(options: CodeFlowOptions): CodeFlow {
  const { identityProvider, ask } = options;
  const api = (identityProvider.baseUrl ?? GITHUB_API).replace(/\/$/, '');
  const oauth = `${githubAddress(identityProvider)}/login/oauth`;
  const server = {
    issuer: oauth,
    authorization_endpoint: `${oauth}/authorize`,
    token_endpoint: `${oauth}/access_token`,
    token_endpoint_auth_methods_supported: ['client_secret_post'],
  };

  return {
    async authorizationUrl({ redirectUri, state, verifier, chooseAccount }) {
      return buildAuthorizationUrl(await configure(server, options), {
        redirect_uri: redirectUri,
        scope: 'user:email',
        state,
        code_challenge: await calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        ...(chooseAccount ? { prompt: 'select_account' } : {}),
      });
    },

    async redeem(callback, { state, verifier }) {
      const checks = { expectedState: state, pkceCodeVerifier: verifier };
      const tokens = await authorizationCodeGrant(await configure(server, options), callback, checks);
      return askGitHub(ask, { api, token: tokens.access_token });
    },
  };
}
