/** How many tokens of an identity provider a process exchanges in a second, once it knows what the provider says of them. */
import { startFakeOpenId } from '../examples/fake-providers/openid.ts';
import type { Core } from '../src/core.ts';
import { type Path, sideBySide } from './side-by-side.ts';

const CLIENT_ID = 'bench';
const BEN = { subject: '1', login: 'ben' };

const openid = await startFakeOpenId();

async function prepare({ accounts, clients, identityProviders, appTokens, links }: Core): Promise<Path[]> {
  await identityProviders.create({ id: 'openid', kind: 'oidc', issuer: openid.url, clientId: CLIENT_ID });
  const { client } = await clients.create({ name: 'A server app', permissions: ['tokens'] });
  const { token } = await appTokens.create({ clientId: client.id, identityProviderId: 'openid' });
  const account = await accounts.create({ email: 'bench@example.com' });
  await links.add({ identityProviderId: 'openid', subject: BEN.subject, accountId: account.id });
  const providerToken = await openid.idToken(BEN, CLIENT_ID);
  return [
    {
      name: '/rest/token, verdict warm',
      reach: 0.2,
      request: {
        path: '/rest/token',
        method: 'POST',
        headers: { authorization: `token ${token}`, 'content-type': 'application/x-www-form-urlencoded' },
        body: `providerToken=${providerToken}`,
      },
    },
  ];
}

await sideBySide(prepare, { OUTBOUND_ALLOW: '127.0.0.0/8,::1/128' });
await openid.close();
