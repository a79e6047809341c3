/** How many credentials a process checks in a second. */
import type { Core } from '../src/core.ts';
import { type Path, sideBySide } from './side-by-side.ts';

/** The product on one store, with a token of each kind. */
async function prepare(directory: Core, url: string): Promise<Path[]> {
  await directory.permissions.create({ name: 'reports', description: 'Read reports' });
  const account = await directory.accounts.create({ email: 'bench@example.com', permissions: ['reports'] });
  const { token } = await directory.personalTokens.create(account, { description: 'bench', scope: 'reports' });
  const app = { name: 'An API', introspection: true, clientCredentials: true, permissions: ['reports'] };
  const { client, secret } = await directory.clients.create(app);

  const basic = `Basic ${Buffer.from(`${client.id}:${secret}`).toString('base64')}`;
  const form = { authorization: basic, 'content-type': 'application/x-www-form-urlencoded' };
  const issued = await fetch(`${url}/identity/token`, {
    method: 'POST',
    headers: form,
    body: 'grant_type=client_credentials&scope=reports',
  });
  const { access_token: accessToken } = (await issued.json()) as { access_token: string };
  const personal = { authorization: `Token ${token}` };
  const introspect = (value: string) =>
    ({ path: '/identity/introspect', method: 'POST', headers: form, body: `token=${value}` }) as const;
  return [
    { name: '/verify, personal token', reach: 0.5, request: { path: '/verify', headers: personal } },
    { name: '/api/me, personal token', reach: 0.5, request: { path: '/api/me', headers: personal } },
    { name: 'introspection, access token', reach: 0.4, request: introspect(accessToken) },
    { name: 'introspection, personal token', reach: 0.4, request: introspect(token) },
  ];
}

await sideBySide(prepare);
