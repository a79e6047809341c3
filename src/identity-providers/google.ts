/** ID tokens of Google. */
import type { JSONWebKeySet } from 'jose';
import { keySetIn, proveIdToken } from './id-token.ts';
import type { IdentityProvider } from './identity-provider.ts';
import type { Prove } from './proof.ts';
import { remembered } from './remembered.ts';
import type { Upstream } from './upstream.ts';

/** Both are Google, as its own documentation has it. */
export const GOOGLE_ISSUERS = ['https://accounts.google.com', 'accounts.google.com'] as const;
const KEYS = 'https://www.googleapis.com/oauth2/v3/certs';

export interface GoogleOptions {
  identityProvider: Pick<IdentityProvider, 'baseUrl'>;
  ask: Upstream;
  now: () => number;
}

export function createGoogle({ identityProvider: { baseUrl }, ask, now }: GoogleOptions): Prove {
  const base = baseUrl?.replace(/\/$/, '');
  const issuers: readonly string[] = base === undefined ? GOOGLE_ISSUERS : [...GOOGLE_ISSUERS, base];
  const keys = remembered<JSONWebKeySet>(async () =>
    keySetIn(await ask(base === undefined ? KEYS : await keysAt(base))),
  );

  /** A double says where its keys are as Google does, or has them at the same path. */
  async function keysAt(place: string): Promise<string> {
    const { body } = await ask(`${place}/.well-known/openid-configuration`);
    const uri = (body as { jwks_uri?: unknown } | undefined)?.jwks_uri;
    return typeof uri === 'string' ? uri : `${place}${new URL(KEYS).pathname}`;
  }

  return ({ token, audience }) => proveIdToken({ token, issuers, audience, keys, now: now() });
}
