/**
 * Whether an identity provider can be used as it is set up, and which setting is wrong when not. For the administrator who
 * sets it up: it asks what a person's token would make us ask, with a token that nobody has.
 */
import { z } from 'zod';
import type { Outbound, OutboundError, OutboundInit } from '../http/outbound.ts';
import { GITHUB_API } from './github.ts';
import { keySetIn } from './id-token.ts';
import type { IdentityProvider } from './identity-provider.ts';
import type { IdentityProviders } from './identity-providers.ts';
import type { UpstreamAnswer } from './upstream.ts';

const GOOGLE = 'https://accounts.google.com';
/** No token of anybody's. */
const NOBODYS = 'latchkey-trial';

const Metadata = z.object({
  issuer: z.string(),
  jwks_uri: z.url(),
  introspection_endpoint: z.url().optional(),
  token_endpoint: z.url().optional(),
});
type Metadata = z.infer<typeof Metadata>;

/** One thing that was tried, in the order of trying; after what failed nothing more can be tried. */
export interface Finding {
  tried: 'address' | 'metadata' | 'issuer' | 'keys' | 'credentials';
  result: 'good' | 'forbidden' | 'unreachable' | 'wrong' | 'untried';
  /** What the provider says instead. */
  detail?: string;
}

export interface Trial {
  /** Takes as long as the slowest of a few answers, of which none takes long. */
  run(identityProvider: IdentityProvider): Promise<Finding[]>;
}

export function createTrial({
  request,
  secretOf,
}: {
  request: Outbound;
  secretOf: IdentityProviders['secretOf'];
}): Trial {
  async function ask(url: string, init?: OutboundInit): Promise<UpstreamAnswer> {
    const response = await request(url, init);
    return { status: response.status, body: await response.json().catch(() => undefined) };
  }

  /** The credentials of an OpenID provider are proven where tokens are, or else codes. */
  async function tryCredentials(identityProvider: IdentityProvider, metadata: Metadata): Promise<Finding> {
    const secret = await secretOf(identityProvider);
    const { introspection_endpoint: introspection, token_endpoint: token } = metadata;
    const { clientId } = identityProvider;
    if (clientId === undefined || secret === undefined || !(introspection ?? token))
      return { tried: 'credentials', result: 'untried' };
    const code = { grant_type: 'authorization_code', code: NOBODYS, redirect_uri: 'https://latchkey.invalid/' };
    const { status, body } = await ask(String(introspection ?? token), {
      method: 'POST',
      headers: { authorization: basic(clientId, secret), accept: 'application/json' },
      body: new URLSearchParams(introspection === undefined ? code : { token: NOBODYS }),
    });
    const isRefused = status === 401 || (body as { error?: unknown } | undefined)?.error === 'invalid_client';
    return { tried: 'credentials', result: isRefused ? 'wrong' : status < 500 ? 'good' : 'unreachable' };
  }

  async function* tryOpenId(identityProvider: IdentityProvider): AsyncGenerator<Finding> {
    const { kind, issuer, baseUrl } = identityProvider;
    const base = (kind === 'google' ? (baseUrl ?? GOOGLE) : String(issuer)).replace(/\/$/, '');
    const { status, body } = await ask(`${base}/.well-known/openid-configuration`);
    yield { tried: 'address', result: 'good' };
    const metadata = Metadata.safeParse(body);
    if (status !== 200 || !metadata.success)
      return yield { tried: 'metadata', result: 'wrong', detail: String(status) };
    yield { tried: 'metadata', result: 'good' };
    if (kind === 'oidc' && metadata.data.issuer !== issuer)
      return yield { tried: 'issuer', result: 'wrong', detail: metadata.data.issuer.slice(0, 200) };
    if (kind === 'oidc') yield { tried: 'issuer', result: 'good' };
    keySetIn(await ask(metadata.data.jwks_uri));
    yield { tried: 'keys', result: 'good' };
    yield await tryCredentials(identityProvider, metadata.data);
  }

  async function* tryGitHub(identityProvider: IdentityProvider): AsyncGenerator<Finding> {
    const { baseUrl = GITHUB_API, clientId = '' } = identityProvider;
    const secret = (await secretOf(identityProvider)) ?? '';
    const { status } = await ask(`${baseUrl.replace(/\/$/, '')}/applications/${encodeURIComponent(clientId)}/token`, {
      method: 'POST',
      headers: {
        authorization: `Basic ${Buffer.from(`${clientId}:${secret}`).toString('base64')}`,
        accept: 'application/vnd.github+json',
        'content-type': 'application/json',
      },
      body: JSON.stringify({ access_token: NOBODYS }),
    });
    yield { tried: 'address', result: 'good' };
    // Whoever proves to be the app hears that it knows no such token.
    if (status === 404 || status === 422) return yield { tried: 'credentials', result: 'good' };
    yield { tried: 'credentials', result: status < 500 ? 'wrong' : 'unreachable', detail: String(status) };
  }

  return {
    async run(identityProvider) {
      const steps = identityProvider.kind === 'github' ? tryGitHub(identityProvider) : tryOpenId(identityProvider);
      const findings: Finding[] = [];
      try {
        for await (const finding of steps) findings.push(finding);
      } catch (error) {
        findings.push({ tried: nextAfter(findings), result: failureOf(error) });
      }
      return findings;
    },
  };
}

/** What was being tried when something failed. */
function nextAfter(findings: readonly Finding[]): Finding['tried'] {
  const last = findings.at(-1)?.tried;
  if (last === undefined) return 'address';
  return last === 'keys' ? 'credentials' : 'keys';
}

/** What came and could not be used is wrong; for what did not come, the way there says why. */
function failureOf(error: unknown): Finding['result'] {
  const { reason } = error as Partial<OutboundError>;
  if (reason === undefined) return 'wrong';
  return reason === 'forbidden' ? 'forbidden' : 'unreachable';
}

/** RFC 6749 §2.3.1: form-encoded before they are joined. */
function basic(id: string, secret: string): string {
  const encode = (text: string) => new URLSearchParams([['', text]]).toString().slice(1);
  return `Basic ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString('base64')}`;
}
