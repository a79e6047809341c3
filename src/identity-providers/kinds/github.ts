/**
 * GitHub, also at Enterprise hosts. It says whose a token is, and only to the app that it was issued to
 * (POST /applications/{client_id}/token). Signing in is plain OAuth 2 and two questions to its API; it cannot be made to ask again.
 */
import { z } from 'zod';
import type { ProviderAnswer, ProviderClient } from '../circuit-breaker.ts';
import { ProviderUnavailable, type TokenCheck, type TokenVerifier, type VerifiedToken } from '../token-verifier.ts';
import { profileIn, type UpstreamProfile } from '../upstream-profile.ts';
import { type Finding, type Kind, NO_TOKEN, type ProviderSettings, type VerifierOptions } from './kind.ts';

const API = 'https://api.github.com';

/** A person's own tokens were issued to no app, so that nothing says which app may use them. */
const PERSONAL = /^(ghp|github_pat)_/;

const PROVES_TO_ITS_APP = 'GitHub proves tokens only to their app';

export const github: Kind = {
  title: 'GitHub',
  brand: 'GitHub',
  mark: '<circle cx="5.5" cy="4.5" r="2"/><circle cx="5.5" cy="15.5" r="2"/><circle cx="14.5" cy="6.5" r="2"/><path d="M5.5 6.5v7M14.5 8.5c0 3.6-6.6 2.3-8.4 5"/>',
  settings: {
    issuer: { use: 'unused', because: 'GitHub has one issuer' },
    baseUrl: { use: 'optional', example: 'https://github.example.com/api/v3' },
    clientId: { use: 'required', because: PROVES_TO_ITS_APP },
    clientSecret: { use: 'required', because: PROVES_TO_ITS_APP },
  },
  subject: 'the number, not the login',
  provesForOtherApps: false,
  canAskAgain: false,
  address: addressOf,
  createVerifier: createGitHubVerifier,

  async createCodeFlow(options) {
    const { createOAuthSignIn } = await import('../oauth-sign-in.ts');
    const { identityProvider, ask } = options;
    const oauth = `${addressOf(identityProvider)}/login/oauth`;
    return createOAuthSignIn(options, {
      issuer: oauth,
      authorizationEndpoint: `${oauth}/authorize`,
      tokenEndpoint: `${oauth}/access_token`,
      scope: 'user:email',
      chooseAccount: { prompt: 'select_account' },
      askWho: (token) => askGitHub(ask, { api: apiOf(identityProvider), token }),
    });
  },

  async *testConnection({ identityProvider, secret, ask }): AsyncGenerator<Finding> {
    const { status } = await ask(...tokenCheck(identityProvider, { secret: (await secret()) ?? '', token: NO_TOKEN }));
    yield { tried: 'address', result: 'good' };
    // One that proves to be the app hears that it knows no such token.
    if (status === 404 || status === 422) return yield { tried: 'credentials', result: 'good' };
    yield { tried: 'credentials', result: status < 500 ? 'wrong' : 'unreachable', detail: String(status) };
  },
};

function apiOf({ baseUrl = API }: ProviderSettings): string {
  return baseUrl.replace(/\/$/, '');
}

/** Where people are, beside the API: github.com, and what Enterprise hosts and their clouds make of it. */
function addressOf({ baseUrl = API }: ProviderSettings): string {
  const { protocol, host, pathname } = new URL(baseUrl);
  return `${protocol}//${host.replace(/^api\./, '')}${pathname.replace(/(\/api\/v3)?\/*$/, '')}`;
}

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

/** The question whose token this is. */
function tokenCheck(
  identityProvider: ProviderSettings,
  { secret, token }: { secret: string | undefined; token: string },
): Parameters<ProviderClient> {
  const { clientId = '' } = identityProvider;
  const headers = {
    authorization: `Basic ${Buffer.from(`${clientId}:${secret}`).toString('base64')}`,
    'content-type': 'application/json',
    ...VERSION,
  };
  const url = `${apiOf(identityProvider)}/applications/${encodeURIComponent(clientId)}/token`;
  return [url, { method: 'POST', headers, body: JSON.stringify({ access_token: token }) }];
}

const VERSION = { accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28' };

function createGitHubVerifier({ identityProvider, secret, ask, now }: VerifierOptions): TokenVerifier {
  /** Most people hide their address from all but those whom they gave the right to see it. */
  async function tellMore(token: string, { subject, profile }: VerifiedToken): Promise<UpstreamProfile> {
    const person = await askGitHub(ask, { api: apiOf(identityProvider), token });
    if (person.subject !== subject) return profile;
    return { ...person.profile, email: person.profile.email ?? profile.email };
  }

  return async function verifyGitHubToken({ token, audience }) {
    if (PERSONAL.test(token)) return { outcome: 'invalid' };
    const answer = await ask(...tokenCheck(identityProvider, { secret: await secret(), token }));
    const check = checkOf(answer, { audience, now: now() });
    return check.outcome === 'proven' ? { ...check, tellMore: (given) => tellMore(given, check) } : check;
  };
}

function checkOf(
  { status, body }: ProviderAnswer,
  { audience, now }: { audience: readonly string[]; now: number },
): TokenCheck {
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

const User = z.object({ id: z.int().positive(), login: z.string(), name: z.string().nullish() });
const Address = z.object({ email: z.string(), primary: z.boolean(), verified: z.boolean() });

/** The API's own limit is 100 addresses a page; no one has more than a few hundred. */
const PAGES = 10;

/** Who has a token, by the API: the name and every address of theirs. @throws {ProviderUnavailable} */
async function askGitHub(
  ask: ProviderClient,
  { api, token }: { api: string; token: string },
): Promise<{ subject: string; profile: UpstreamProfile }> {
  const get = (url: string) => ask(url, { headers: { authorization: `Bearer ${token}`, ...VERSION } });

  /** The one address that the person is written to, if it is theirs. `/user` shows one that is verified at github.com only. */
  async function primary(url: string, left = PAGES): Promise<string | undefined> {
    const { status, body, link } = await get(url);
    const listed: unknown[] = status === 200 && Array.isArray(body) ? body : [];
    const addresses = listed.map((entry) => Address.safeParse(entry).data);
    const found = addresses.find((address) => address?.primary);
    if (found) return found.verified ? found.email : undefined;
    const next = nextPage(link, url);
    return next === undefined || left === 1 ? undefined : primary(next, left - 1);
  }

  const [{ status, body }, email] = await Promise.all([get(`${api}/user`), primary(`${api}/user/emails?per_page=100`)]);
  const user = User.safeParse(body);
  if (status !== 200 || !user.success) throw new ProviderUnavailable(`GitHub answered ${status}`);
  const { id, login, name } = user.data;
  return { subject: String(id), profile: profileIn({ email, email_verified: true, name, nickname: login }) };
}

/** Characters of a header with a few addresses. Where one ends is looked for again from every `<`. */
const LONGEST_LINK = 4_000;

/** The page behind this one (RFC 8288 §3), in the same list: the token goes nowhere else. */
function nextPage(link: string | undefined, url: string): string | undefined {
  if (link !== undefined && link.length > LONGEST_LINK) return undefined;
  const [, target] = /<([^<>]*)>\s*;[^,]*\brel="?next"?/i.exec(link ?? '') ?? [];
  const next = target === undefined ? null : URL.parse(target, url);
  const here = new URL(url);
  const isSameList =
    next?.origin === here.origin && next.pathname === here.pathname && !next.username && !next.password;
  return isSameList && next.href !== here.href ? next.href : undefined;
}
