/** Lines that make an app work, filled in with what it was registered with. */
import type { Client } from '../../clients/client.ts';

export interface Snippet {
  id: 'sign_in' | 'partner_sign_in' | 'client_credentials' | 'introspection' | 'secret';
  code: string;
}

/** Stands for a secret that cannot be shown again. */
const PLACEHOLDER = '<client secret>';

export function snippetsFor(client: Client, { issuer, secret }: { issuer: string; secret?: string }): Snippet[] {
  const credentials = `${client.id}:${secret ?? PLACEHOLDER}`;
  const curl = (path: string, ...fields: string[]) =>
    [`curl -u '${credentials}'`, ...fields.map((field) => `-d '${field}'`), `${issuer}/identity/${path}`].join(
      ' \\\n  ',
    );
  const scope = client.permissions.length > 0 ? [`scope=${client.permissions.join(' ')}`] : [];
  const snippets: Array<Snippet | false> = [
    client.redirectUris.length > 0 && { id: 'sign_in', code: signIn(client, { issuer, secret }) },
    client.clientCredentials && {
      id: 'client_credentials',
      code: curl('token', 'grant_type=client_credentials', ...scope),
    },
    client.introspection && { id: 'introspection', code: curl('introspect', 'token=<access token>') },
    client.sso !== undefined && { id: 'partner_sign_in', code: partnerSignIn(client, { issuer, secret }) },
    secret !== undefined && { id: 'secret', code: curl('introspect', 'token=anything') },
  ];
  return snippets.filter((snippet) => snippet !== false);
}

/** As the partner's server asks; the browser then goes to `/sso/login` with the answer's `access_token`. */
function partnerSignIn(
  { id, sso }: Client,
  { issuer, secret }: { issuer: string; secret: string | undefined },
): string {
  const fields = {
    client_id: id,
    client_secret: secret ?? PLACEHOLDER,
    organization_id: sso?.organizationIds[0] ?? '',
    email: `person@${sso?.emailDomains?.[0] ?? 'example.com'}`,
    ...(sso?.permissions.length ? { permissions: sso.permissions.join(' ') } : {}),
  };
  const lines = Object.entries(fields).map(([name, value]) => `-d '${name}=${value}'`);
  return `curl ${[...lines, `${issuer}/sso/token`].join(' \\\n  ')}`;
}

function signIn(client: Client, { issuer, secret }: { issuer: string; secret: string | undefined }): string {
  const proof = client.public ? 'client.None()' : `client.ClientSecretBasic('${secret ?? PLACEHOLDER}')`;
  const insecure = issuer.startsWith('http:') ? [`  { execute: [client.allowInsecureRequests] },`] : [];
  return `import * as client from 'openid-client';

const config = await client.discovery(
  new URL('${issuer}'),
  '${client.id}',
  undefined,
  ${proof},
${[...insecure, ''].join('\n')});

// Keep these three with the visitor, and send the browser to \`url\`.
const verifier = client.randomPKCECodeVerifier();
const state = client.randomState();
const nonce = client.randomNonce();
const url = client.buildAuthorizationUrl(config, {
  redirect_uri: ${JSON.stringify(client.redirectUris[0])},
  scope: '${['openid', 'profile', 'email', ...client.permissions].join(' ')}',
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  state,
  nonce,
});

// When the browser is back at \`currentUrl\`:
const tokens = await client.authorizationCodeGrant(config, currentUrl, {
  pkceCodeVerifier: verifier,
  expectedState: state,
  expectedNonce: nonce,
});
console.log(tokens.claims());`;
}
