/** Who has a token of GitHub, by its API: the name and every address of theirs. */
import { z } from 'zod';
import { ProviderUnavailable } from './proof.ts';
import type { Upstream } from './upstream.ts';
import { profileIn, type UpstreamProfile } from './upstream-profile.ts';

const User = z.object({ id: z.int().positive(), login: z.string(), name: z.string().nullish() });
const Address = z.object({ email: z.string(), primary: z.boolean(), verified: z.boolean() });

/** The API's own limit is 100 addresses a page; nobody has more than a few hundred. */
const PAGES = 10;

export interface GitHubPerson {
  subject: string;
  profile: UpstreamProfile;
}

/** @throws {ProviderUnavailable} */
export async function askGitHub(ask: Upstream, { api, token }: { api: string; token: string }): Promise<GitHubPerson> {
  const get = (url: string) =>
    ask(url, {
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/vnd.github+json',
        'x-github-api-version': '2022-11-28',
      },
    });

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
  const said = { email, email_verified: true, name, nickname: login };
  return { subject: String(id), profile: profileIn(said) };
}

/** The page behind this one (RFC 8288 §3), in the same list: the token goes nowhere else. */
function nextPage(link: string | undefined, url: string): string | undefined {
  const [, target] = /<([^<>]*)>\s*;[^,]*\brel="?next"?/i.exec(link ?? '') ?? [];
  const next = target === undefined ? null : URL.parse(target, url);
  const here = new URL(url);
  const isSameList =
    next?.origin === here.origin && next.pathname === here.pathname && !next.username && !next.password;
  return isSameList && next.href !== here.href ? next.href : undefined;
}
