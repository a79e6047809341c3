/** A test of the connection to a provider that is found by discovery (OIDC Discovery §4). */
import { z } from 'zod';
import { basicAuthorization } from './client-authentication.ts';
import { keySetIn } from './id-token.ts';
import { type Finding, NO_TOKEN, type ProviderAccess } from './kinds/kind.ts';

const Metadata = z.object({
  issuer: z.string(),
  jwks_uri: z.url(),
  introspection_endpoint: z.url().optional(),
  token_endpoint: z.url().optional(),
});
type Metadata = z.infer<typeof Metadata>;

/** @param expected Where the metadata are found, and what they must call the issuer if there is but one. */
export async function* testOpenIdConnection(
  options: ProviderAccess,
  { address, issuer }: { address: string; issuer?: string },
): AsyncGenerator<Finding> {
  const { ask } = options;
  const { status, body } = await ask(`${address.replace(/\/$/, '')}/.well-known/openid-configuration`);
  yield { tried: 'address', result: 'good' };
  const metadata = Metadata.safeParse(body);
  if (status !== 200 || !metadata.success) return yield { tried: 'metadata', result: 'wrong', detail: String(status) };
  yield { tried: 'metadata', result: 'good' };
  if (issuer !== undefined && metadata.data.issuer !== issuer)
    return yield { tried: 'issuer', result: 'wrong', detail: metadata.data.issuer.slice(0, 200) };
  if (issuer !== undefined) yield { tried: 'issuer', result: 'good' };
  keySetIn(await ask(metadata.data.jwks_uri));
  yield { tried: 'keys', result: 'good' };
  yield await testCredentials(options, metadata.data);
}

/** Credentials are proven where tokens are, or else codes. */
async function testCredentials(
  { identityProvider, ask, secret: secretOf }: ProviderAccess,
  { introspection_endpoint: introspection, token_endpoint: token }: Metadata,
): Promise<Finding> {
  const secret = await secretOf();
  const { clientId } = identityProvider;
  const endpoint = introspection ?? token;
  if (clientId === undefined || secret === undefined || endpoint === undefined)
    return { tried: 'credentials', result: 'untried' };
  const code = { grant_type: 'authorization_code', code: NO_TOKEN, redirect_uri: 'https://latchkey.invalid/' };
  const { status, body } = await ask(endpoint, {
    method: 'POST',
    headers: { authorization: basicAuthorization(clientId, secret), accept: 'application/json' },
    body: new URLSearchParams(introspection === undefined ? code : { token: NO_TOKEN }),
  });
  const isRefused = status === 401 || (body as { error?: unknown } | undefined)?.error === 'invalid_client';
  return { tried: 'credentials', result: isRefused ? 'wrong' : status < 500 ? 'good' : 'unreachable' };
}
