/** Fake identity providers, an app for each with an app token, and a person whom all of them know. */
import { randomInt } from 'node:crypto';
import type { FakePerson } from '../../examples/fake-providers/fake-provider.ts';
import { type FakeGitHub, startFakeGitHub } from '../../examples/fake-providers/github.ts';
import { type FakeGitLab, startFakeGitLab } from '../../examples/fake-providers/gitlab.ts';
import { type FakeOpenId, startFakeOpenId } from '../../examples/fake-providers/openid.ts';
import type { Core } from '../../src/core.ts';
import { fixtures, type TestClient } from './app.ts';

/** Lets the server reach the fakes. */
export const FAKES_ALLOWED = { OUTBOUND_ALLOW: '127.0.0.0/8,::1/128' };

/** The ids our apps have at every provider; `foreign` is somebody else's app there. */
export const OWN = 'own-app';
export const OTHER = 'other-app';
export const FOREIGN = 'foreign-app';

/** A token in one of the ways that a provider makes them. */
export interface Kind {
  /** The identity provider's id here. */
  provider: string;
  issue(person: FakePerson, clientId: string): Promise<string>;
  issueExpired(person: FakePerson, clientId: string): Promise<string>;
}

export interface Fakes {
  github: FakeGitHub;
  gitlab: FakeGitLab;
  google: FakeOpenId;
  openid: FakeOpenId;
  kinds: Record<string, Kind>;
  /** Registers the four, under their names and, for what GitHub calls another app, `github-other`. */
  register(directory: Core): Promise<void>;
  close(): Promise<void>;
}

export async function startFakes(): Promise<Fakes> {
  const apps = { [OWN]: 'own-secret', [OTHER]: 'other-secret', [FOREIGN]: 'foreign-secret' };
  const [github, gitlab, google, openid] = await Promise.all([
    startFakeGitHub(apps),
    startFakeGitLab({ apps }),
    startFakeOpenId({ issuer: 'https://accounts.google.com' }),
    startFakeOpenId({ apps }),
  ]);
  const past = () => Math.floor(Date.now() / 1000) - 10;
  return {
    github,
    gitlab,
    google,
    openid,
    kinds: {
      'a token of GitHub': {
        provider: 'github',
        issue: async (person, clientId) => github.issue(person, clientId),
        issueExpired: async (person, clientId) => github.issue(person, clientId, { expiresAt: '2020-01-01T00:00:00Z' }),
      },
      'a token of GitLab': {
        provider: 'gitlab',
        issue: async (person, clientId) => gitlab.issue(person, clientId),
        issueExpired: async (person, clientId) => gitlab.issue(person, clientId, { expiresIn: -10 }),
      },
      'an ID token of Google': {
        provider: 'google',
        issue: (person, clientId) => google.idToken(person, clientId),
        issueExpired: (person, clientId) => google.idToken(person, clientId, { exp: past() }),
      },
      'an ID token of an OpenID provider': {
        provider: 'openid',
        issue: (person, clientId) => openid.idToken(person, clientId),
        issueExpired: (person, clientId) => openid.idToken(person, clientId, { exp: past() }),
      },
      'an opaque token of an OpenID provider': {
        provider: 'openid',
        issue: async (person, clientId) => openid.accessToken(person, clientId),
        issueExpired: async (person, clientId) => openid.accessToken(person, clientId, { exp: past() }),
      },
    },
    async register({ identityProviders }) {
      const hub = { kind: 'github', baseUrl: github.url } as const;
      await identityProviders.create({ ...hub, id: 'github', clientId: OWN, clientSecret: 'own-secret' });
      await identityProviders.create({ ...hub, id: 'github-other', clientId: OTHER, clientSecret: 'other-secret' });
      await identityProviders.create({ id: 'gitlab', kind: 'gitlab', baseUrl: gitlab.url });
      await identityProviders.create({ id: 'google', kind: 'google', baseUrl: google.url });
      const issuer = openid.url;
      await identityProviders.create({ id: 'openid', kind: 'oidc', issuer, clientId: OWN, clientSecret: 'own-secret' });
    },
    async close() {
      await Promise.all([github, gitlab, google, openid].map((fake) => fake.close()));
    },
  };
}

export interface ExchangingApp extends TestClient {
  /** By identity provider. */
  tokens: Record<string, { id: string; token: string }>;
}

/** An app with an app token for each identity provider, under one id at all of them. */
export async function exchangingApp(directory: Core, providerClientId = OWN): Promise<ExchangingApp> {
  const client = await fixtures(directory).client({ name: 'Server app', permissions: ['tokens'] });
  const tokens: ExchangingApp['tokens'] = {};
  const github = providerClientId === OTHER ? 'github-other' : 'github';
  for (const identityProviderId of [github, 'gitlab', 'google', 'openid']) {
    const wanted = { clientId: client.id, identityProviderId, providerClientIds: [providerClientId] };
    const { token, record } = await directory.appTokens.create(wanted);
    tokens[identityProviderId === github ? 'github' : identityProviderId] = { id: record.id, token };
  }
  return { ...client, tokens };
}

/** Somebody whom all providers know. */
export function fakePerson(person: Partial<FakePerson> = {}): FakePerson {
  const subject = String(randomInt(1, 2 ** 40));
  return { subject, login: `login${subject}`, ...person };
}

/** An account of that person, linked to every provider. */
export async function linkedAccount(directory: Core, person: FakePerson, account = {}): Promise<{ id: string }> {
  const { id } = await fixtures(directory).person(account);
  for (const identityProviderId of ['github', 'github-other', 'gitlab', 'google', 'openid'])
    await directory.links.add({ identityProviderId, subject: person.subject, accountId: id });
  return { id };
}

export interface RestAnswer {
  status: number;
  headers: Headers;
  body: Record<string, unknown>;
}

/** `POST /rest/token`, as a client of Giles does it. */
export async function exchangeToken(
  origin: string,
  appToken: string | undefined,
  providerToken: string | undefined,
): Promise<RestAnswer> {
  const headers = appToken === undefined ? {} : { authorization: `token ${appToken}` };
  const body = new URLSearchParams(providerToken === undefined ? {} : { providerToken });
  return answerOf(await fetch(`${origin}/rest/token`, { method: 'POST', headers, body }));
}

export async function answerOf(response: Response): Promise<RestAnswer> {
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text ? JSON.parse(text) : {} };
}
