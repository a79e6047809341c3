/**
 * A fake provider of each kind that people sign in with, where Ben, Cleo and Dora have accounts, and a server app that exchanges the
 * tokens Ben has there.
 */
import type { Core } from '../src/core.ts';
import type { NewIdentityProvider } from '../src/identity-providers/identity-providers.ts';
import { KIND_NAMES, KINDS, type KindName } from '../src/identity-providers/kinds/kinds.ts';
import type { FakePerson } from './fake-providers/fake-provider.ts';
import { startFakeGitHub } from './fake-providers/github.ts';
import { startFakeGitLab } from './fake-providers/gitlab.ts';
import { startFakeOpenId } from './fake-providers/openid.ts';

/** What Harbor Desk is called at all of them, and what it proves that with. */
const CLIENT_ID = 'harbor-desk';
const CLIENT_SECRET = 'harbor-desk-secret';

const BEN = { subject: '583231', login: 'ben', email: 'ben@harbor.example', givenName: 'Ben', familyName: 'Okafor' };
/** Has an account here that is linked to none there. */
const CLEO = { subject: '740112', login: 'cleo', email: 'cleo@harbor.example', givenName: 'Cleo', familyName: 'Marsh' };
/** Has no account here. */
const DORA = {
  subject: '912004',
  login: 'dora',
  email: 'dora@elsewhere.example',
  givenName: 'Dora',
  familyName: 'Quist',
};
const DAY = 24 * 60 * 60;

export interface SampleProviders {
  /** The app tokens of Harbor Desk, by identity provider. */
  appTokens: Record<string, string>;
  /** A token that Ben has given to Harbor Desk at each provider. */
  people: { provider: string; token: string }[];
  /** What becomes of those who sign in with a provider. */
  signIns: { who: string; outcome: string }[];
}

/** A fake provider that is running, and how it is set up here. */
interface Sample {
  people: FakePerson[];
  settings: Omit<NewIdentityProvider, 'kind' | 'clientId' | 'clientSecret'>;
  /** A token that a person has given to Harbor Desk. */
  tokenOf(person: FakePerson): Promise<string> | string;
}

const APPS = { [CLIENT_ID]: CLIENT_SECRET };
const inADay = () => Math.floor(Date.now() / 1000) + DAY;

/** One of each kind. */
const SAMPLES = {
  async github(port) {
    const { url, people, issue } = await startFakeGitHub(APPS, port);
    const settings = { id: 'github', baseUrl: url, newPeople: { policy: 'pending' } } as const;
    return { people, settings, tokenOf: (person) => issue(person, CLIENT_ID) };
  },
  async gitlab(port) {
    const { url, people, issue } = await startFakeGitLab({ apps: APPS, port });
    const settings = { id: 'gitlab', baseUrl: url, newPeople: { policy: 'pending' } } as const;
    return { people, settings, tokenOf: (person) => issue(person, CLIENT_ID, { expiresIn: DAY }) };
  },
  async google(port) {
    const google = { name: 'Fake Google', issuer: 'https://accounts.google.com' };
    const { url, people, idToken } = await startFakeOpenId({ apps: APPS, ...google, port });
    const settings = { id: 'google', baseUrl: url, newPeople: { policy: 'active' } } as const;
    return { people, settings, tokenOf: (person) => idToken(person, CLIENT_ID, { exp: inADay() }) };
  },
  async oidc(port) {
    const { url, people, accessToken } = await startFakeOpenId({ apps: APPS, name: 'Harbor ID', port });
    const settings = { id: 'openid', name: 'Harbor ID', issuer: url };
    return { people, settings, tokenOf: (person) => accessToken(person, CLIENT_ID, { exp: inADay() }) };
  },
} as const satisfies Record<KindName, (port: number) => Promise<Sample>>;

/** What they are called, in words. */
export const SAMPLE_NAMES = KIND_NAMES.map((kind) => KINDS[kind].brand ?? 'Harbor ID');

export async function startSampleProviders(directory: Core, ports: Record<KindName, number>): Promise<SampleProviders> {
  const { identityProviders } = directory;
  const samples: Sample[] = [];
  for (const kind of KIND_NAMES) {
    const sample: Sample = await SAMPLES[kind](ports[kind]);
    sample.people.push(BEN, CLEO, DORA);
    await identityProviders.create({ kind, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, ...sample.settings });
    samples.push(sample);
  }
  const ids = samples.map(({ settings }) => settings.id);
  const appTokens = await registerServerApp(directory, ids);
  await linkBen(directory, ids);
  return {
    appTokens,
    people: await Promise.all(
      samples.map(async ({ settings, tokenOf }) => ({ provider: settings.id, token: await tokenOf(BEN) })),
    ),
    signIns: [
      { who: 'Ben', outcome: 'is linked at all of them, and is signed in' },
      { who: 'Cleo', outcome: 'has an account with that e-mail: her password links it' },
      { who: 'Dora', outcome: 'is new: Google makes her an account, GitHub and GitLab one to approve, Harbor ID none' },
    ],
  };
}

async function registerServerApp(
  { clients, appTokens }: Core,
  identityProviderIds: string[],
): Promise<Record<string, string>> {
  const { client } = await clients.create({ name: 'Harbor Desk', permissions: ['orders.read'] });
  const made: Record<string, string> = {};
  for (const identityProviderId of identityProviderIds)
    made[identityProviderId] = (await appTokens.create({ clientId: client.id, identityProviderId })).token;
  return made;
}

async function linkBen({ accounts, links }: Core, identityProviderIds: string[]): Promise<void> {
  const { id: accountId } = await accounts.getOrFail(BEN.email);
  for (const identityProviderId of identityProviderIds)
    await links.add({ identityProviderId, subject: BEN.subject, accountId });
}
