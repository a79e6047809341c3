/** Signing in with GitHub, also at Enterprise hosts: plain OAuth 2 and two questions to its API. It cannot be made to ask again. */
import { authorizationCodeGrant, buildAuthorizationUrl, calculatePKCECodeChallenge } from 'openid-client';
import { z } from 'zod';
import { GITHUB_API } from './github.ts';
import { type CodeFlow, type CodeFlowOptions, configure, type SignedIn } from './oauth-client.ts';
import { ProviderUnavailable } from './proof.ts';
import { githubAddress } from './provider-address.ts';
import type { UpstreamAnswer } from './upstream.ts';

const User = z.object({ id: z.int().positive(), login: z.string() });
const Emails = z.array(z.object({ email: z.string(), primary: z.boolean(), verified: z.boolean() }));

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

  const get = (path: string, token: string): Promise<UpstreamAnswer> =>
    ask(`${api}${path}`, {
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/vnd.github+json',
        'x-github-api-version': '2022-11-28',
      },
    });

  async function whoHas(token: string): Promise<SignedIn> {
    const [user, emails] = await Promise.all([get('/user', token), get('/user/emails', token)]);
    const known = User.safeParse(user.body);
    if (user.status !== 200 || !known.success) throw new ProviderUnavailable(`GitHub answered ${user.status}`);
    const { id, login } = known.data;
    // The one that `/user` shows is verified at github.com only.
    const address = emails.status === 200 ? primaryIn(emails.body) : undefined;
    return { subject: String(id), profile: { email: address, nickname: login } };
  }

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
      return whoHas(tokens.access_token);
    },
  };
}

/** The one address that the person is written to, if it is theirs. */
function primaryIn(body: unknown): string | undefined {
  return Emails.safeParse(body).data?.find(({ primary, verified }) => primary && verified)?.email;
}
