/** Fake GitHub, Google and OpenID providers where Ben has an account, and a server app that exchanges the tokens he has there. */
import type { Directory } from '../src/app.ts';
import { startFakeGitHub } from './fake-providers/github.ts';
import { startFakeOpenId } from './fake-providers/openid.ts';

/** What Harbor Desk is called at all three, and what it proves that with. */
const CLIENT_ID = 'harbor-desk';
const CLIENT_SECRET = 'harbor-desk-secret';

const BEN = { subject: '583231', login: 'ben', email: 'ben@harbor.example', givenName: 'Ben', familyName: 'Okafor' };
const DAY = 24 * 60 * 60;

export interface SampleProviders {
  /** The app tokens of Harbor Desk, by identity provider. */
  appTokens: Record<string, string>;
  /** A token that Ben has given to Harbor Desk at each provider. */
  people: { provider: string; token: string }[];
}

type Ports = Record<'github' | 'google' | 'openid', number>;

export async function startSampleProviders(directory: Directory, ports: Ports): Promise<SampleProviders> {
  const apps = { [CLIENT_ID]: CLIENT_SECRET };
  const github = await startFakeGitHub(apps, ports.github);
  const google = await startFakeOpenId({ issuer: 'https://accounts.google.com', port: ports.google });
  const openid = await startFakeOpenId({ apps, port: ports.openid });

  const { identityProviders } = directory;
  const own = { clientId: CLIENT_ID, clientSecret: CLIENT_SECRET };
  await identityProviders.create({ id: 'github', kind: 'github', baseUrl: github.url, ...own });
  await identityProviders.create({ id: 'google', kind: 'google', baseUrl: google.url, clientId: CLIENT_ID });
  await identityProviders.create({ id: 'openid', kind: 'oidc', issuer: openid.url, ...own });

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
