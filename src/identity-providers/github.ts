/**
 * Tokens of GitHub, also of Enterprise hosts: GitHub says whose they are, and only to the app that they were issued to
 * (POST /applications/{client_id}/token).
 */
import { z } from 'zod';
import { askGitHub } from './github-person.ts';
import type { IdentityProvider } from './identity-provider.ts';
import { type Prove, type Proven, ProviderUnavailable, type Verdict } from './proof.ts';
import type { Upstream, UpstreamAnswer } from './upstream.ts';
import { profileIn, type UpstreamProfile } from './upstream-profile.ts';

export const GITHUB_API = 'https://api.github.com';

/** A person's own tokens were issued to no app, so that nobody could say who may use them. */
const PERSONAL = /^(ghp|github_pat)_/;

const CheckedToken = z.object({
  app: z.object({ client_id: z.string() }),
  user: z.object({
    id: z.int().positive(),
    login: z.string(),
    email: z.string().nullish(),
    name: z.string().nullish(),
  }),
  expires_at: z.string().nullish(),
});

export interface GitHubOptions {
  identityProvider: Pick<IdentityProvider, 'baseUrl' | 'clientId'>;
  /** The secret that goes with the client id. */
  secret: () => Promise<string | undefined>;
  ask: Upstream;
  now: () => number;
}

export function createGitHub({ identityProvider, secret, ask, now }: GitHubOptions): Prove {
  const { baseUrl = GITHUB_API, clientId = '' } = identityProvider;
  const api = baseUrl.replace(/\/$/, '');
  const url = `${api}/applications/${encodeURIComponent(clientId)}/token`;

  /** Most people hide their address from all but those whom they gave the right to see it. */
  async function tellMore(token: string, { subject, profile }: Proven): Promise<UpstreamProfile> {
    const person = await askGitHub(ask, { api, token });
    if (person.subject !== subject) return profile;
    return { ...person.profile, email: person.profile.email ?? profile.email };
  }

  return async function proveGitHubToken({ token, audience }) {
    if (PERSONAL.test(token)) return { outcome: 'invalid' };
    const credentials = Buffer.from(`${clientId}:${await secret()}`).toString('base64');
    const answer = await ask(url, {
      method: 'POST',
      headers: {
        authorization: `Basic ${credentials}`,
        accept: 'application/vnd.github+json',
        'content-type': 'application/json',
        'x-github-api-version': '2022-11-28',
      },
      body: JSON.stringify({ access_token: token }),
    });
    const verdict = verdictOf(answer, { audience, now: now() });
    return verdict.outcome === 'proven' ? { ...verdict, tellMore: (given) => tellMore(given, verdict) } : verdict;
  };
}

function verdictOf(
  { status, body }: UpstreamAnswer,
  { audience, now }: { audience: readonly string[]; now: number },
): Verdict {
  // Unknown, withdrawn or another app's: GitHub makes no difference.
  if (status === 404 || status === 422) return { outcome: 'invalid' };
  const checked = CheckedToken.safeParse(body);
  if (status !== 200 || !checked.success) throw new ProviderUnavailable(`GitHub answered ${status}`);
  const { app, user, expires_at: expires } = checked.data;
  if (!audience.includes(app.client_id)) return { outcome: 'audience_mismatch' };
  const expiresAt = expires ? Math.floor(Date.parse(expires) / 1000) : undefined;
  if (expiresAt !== undefined && !(expiresAt > now)) return { outcome: 'expired' };
  // GitHub shows no address that it has not verified.
  const profile = profileIn({ email: user.email, email_verified: true, name: user.name, nickname: user.login });
  return { outcome: 'proven', subject: String(user.id), expiresAt, profile };
}
