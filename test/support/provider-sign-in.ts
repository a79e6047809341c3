/** Signing in with fake identity providers: what the person does on our pages and on theirs. */
import { randomInt } from 'node:crypto';
import type { FakePerson } from '../../examples/fake-providers/fake-provider.ts';
import { type FakeGitHub, startFakeGitHub } from '../../examples/fake-providers/github.ts';
import { type FakeGitLab, startFakeGitLab } from '../../examples/fake-providers/gitlab.ts';
import { type FakeOpenId, startFakeOpenId } from '../../examples/fake-providers/openid.ts';
import type { Core } from '../../src/core.ts';
import type { Browser, Landing } from './browser.ts';

const OWN = { clientId: 'latchkey-there', clientSecret: 'secret of latchkey there' };

export type ProviderId = 'github' | 'gitlab' | 'google' | 'openid';

export interface Providers {
  github: FakeGitHub;
  gitlab: FakeGitLab;
  google: FakeOpenId;
  openid: FakeOpenId;
  /** Registers the four under their names, for signing in. */
  register(directory: Core): Promise<void>;
  /** A person whom all four know. */
  somebody(person?: Partial<FakePerson>): FakePerson;
  close(): Promise<void>;
}

export async function startProviders(): Promise<Providers> {
  const apps = { [OWN.clientId]: OWN.clientSecret };
  const [github, gitlab, google, openid] = await Promise.all([
    startFakeGitHub(apps),
    startFakeGitLab({ apps }),
    startFakeOpenId({ apps, name: 'Fake Google', issuer: 'https://accounts.google.com' }),
    startFakeOpenId({ apps }),
  ]);
  return {
    github,
    gitlab,
    google,
    openid,
    async register({ identityProviders }) {
      await identityProviders.create({ id: 'github', kind: 'github', baseUrl: github.url, ...OWN });
      await identityProviders.create({ id: 'gitlab', kind: 'gitlab', baseUrl: gitlab.url, ...OWN });
      await identityProviders.create({ id: 'google', kind: 'google', baseUrl: google.url, ...OWN });
      await identityProviders.create({ id: 'openid', kind: 'oidc', name: 'Acme', issuer: openid.url, ...OWN });
    },
    somebody(person = {}) {
      const subject = String(randomInt(1, 2 ** 40));
      const made = { subject, login: `login${subject}`, email: `login${subject}@elsewhere.example`, ...person };
      for (const { people } of [github, gitlab, google, openid]) people.push(made);
      return made;
    },
    async close() {
      await Promise.all([github, gitlab, google, openid].map((fake) => fake.close()));
    },
  };
}

/** The sign-in page of a page of ours. */
export async function openLogin(browser: Browser, path = '/account'): Promise<Landing> {
  const login = await browser.open(path);
  if (!login.url.pathname.startsWith('/interaction/')) throw new Error(`${login.url} is no sign-in page`);
  return login;
}

/** Presses a provider's button; ends at the provider. */
export async function goThere(browser: Browser, login: Landing, provider: string): Promise<URL> {
  const action = `/interaction/${login.url.pathname.split('/')[2]}/provider`;
  const { url, text } = await browser.submit(action, { identity_provider: provider });
  if (!url.searchParams.has('code_challenge')) throw new Error(`${url} is not the provider's: ${text}`);
  return url;
}

/** Where the provider sends the person back to, with what it has to say. */
export async function agreeThere(there: URL, person: FakePerson): Promise<URL> {
  const response = await fetch(`${there}&as=${person.subject}`, { redirect: 'manual' });
  return new URL(response.headers.get('location') ?? '');
}

export interface SignIn {
  browser: Browser;
  person: FakePerson;
  /** Its id here. */
  provider?: string;
  path?: string;
}

/** The whole way, from a page of ours to whatever page comes of it. */
export async function signInWith({ browser, person, provider = 'github', path }: SignIn): Promise<Landing> {
  const there = await goThere(browser, await openLogin(browser, path), provider);
  return browser.open((await agreeThere(there, person)).href);
}
