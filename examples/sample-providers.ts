/**
 * Fake GitHub, Google and OpenID providers that people sign in with, where Ben, Cleo and Dora have accounts, and a server app that
 * exchanges the tokens Ben has there.
 */
import type { Directory } from '../src/app.ts';
import { startFakeGitHub } from './fake-providers/github.ts';
import { startFakeOpenId } from './fake-providers/openid.ts';

/** What Harbor Desk is called at all three, and what it proves that with. */
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

type Ports = Record<'github' | 'google' | 'openid', number>;

export async function startSampleProviders(directory: Directory, ports: Ports): Promise<SampleProviders> {
  const apps = { [CLIENT_ID]: CLIENT_SECRET };
  const github = await startFakeGitHub(apps, ports.github);
  const googleIs = { name: 'Fake Google', issuer: 'https://accounts.google.com' };
  const google = await startFakeOpenId({ apps, ...googleIs, port: ports.google });
  const openid = await startFakeOpenId({ apps, name: 'Harbor ID', port: ports.openid });
  for (const { people } of [github, google, openid]) people.push(BEN, CLEO, DORA);

  const { identityProviders } = directory;
  const own = { clientId: CLIENT_ID, clientSecret: CLIENT_SECRET };
  const pending = { newPeople: { policy: 'pending' } } as const;
  await identityProviders.create({ id: 'github', kind: 'github', baseUrl: github.url, ...own, ...pending });
  const active = { newPeople: { policy: 'active' } } as const;
  await identityProviders.create({ id: 'google', kind: 'google', baseUrl: google.url, ...own, ...active });
  await identityProviders.create({ id: 'openid', kind: 'oidc', name: 'Harbor ID', issuer: openid.url, ...own });

  const appTokens = await registerServerApp(directory);
  await linkBen(directory, Object.keys(appTokens));
  const exp = Math.floor(Date.now() / 1000) + DAY;
  return {
    appTokens,
    people: [
      { provider: 'github', token: github.issue(BEN, CLIENT_ID) },
      { provider: 'google', token: await google.idToken(BEN, CLIENT_ID, { exp }) },
      { provider: 'openid', token: openid.accessToken(BEN, CLIENT_ID, { exp }) },
    ],
    signIns: [
      { who: 'Ben', outcome: 'is linked at all three, and is signed in' },
      { who: 'Cleo', outcome: 'has an account with that e-mail: her password links it' },
      { who: 'Dora', outcome: 'is new: Google makes her an account, GitHub one to approve, Harbor ID none' },
    ],
  };
}

async function registerServerApp({ clients, appTokens }: Directory): Promise<Record<string, string>> {
  const { client } = await clients.create({ name: 'Harbor Desk', permissions: ['orders.read'] });
  const made: Record<string, string> = {};
  for (const identityProviderId of ['github', 'google', 'openid'])
    made[identityProviderId] = (await appTokens.create({ clientId: client.id, identityProviderId })).token;
  return made;
}

async function linkBen({ accounts, links }: Directory, identityProviderIds: string[]): Promise<void> {
  const { id: accountId } = await accounts.find(BEN.email);
  for (const identityProviderId of identityProviderIds)
    await links.add({ identityProviderId, subject: BEN.subject, accountId });
}
