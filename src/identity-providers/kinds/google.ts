/** Google: ID tokens, and signing in by OpenID Connect. It lets in a browser in which a person has signed in to it, without asking again. */
import type { JSONWebKeySet } from 'jose';
import { cachedDocument } from '../cached-document.ts';
import { keySetIn, verifyIdToken } from '../id-token.ts';
import { testOpenIdConnection } from '../openid-connection-test.ts';
import type { TokenVerifier } from '../token-verifier.ts';
import type { Kind, ProviderSettings, VerifierOptions } from './kind.ts';

/** Both are Google, as its own documentation has it. */
const ISSUERS = ['https://accounts.google.com', 'accounts.google.com'] as const;
const KEYS = 'https://www.googleapis.com/oauth2/v3/certs';

export const google: Kind = {
  title: 'Google',
  brand: 'Google',
  mark: '<path stroke-width="2.2" d="M15.4 5.6A7 7 0 1 0 17 10h-6.2"/>',
  settings: {
    issuer: { use: 'unused', because: 'Google has one issuer' },
    baseUrl: { use: 'optional' },
    clientId: { use: 'optional' },
    clientSecret: { use: 'optional' },
  },
  subject: 'the sub of an ID token',
  provesForOtherApps: true,
  canAskAgain: false,
  address: addressOf,
  createVerifier: createGoogleVerifier,

  async createCodeFlow(options) {
    const { createOpenIdSignIn } = await import('../openid-sign-in.ts');
    const address = addressOf(options.identityProvider);
    const chooseAccount = { prompt: 'select_account' };
    return createOpenIdSignIn(options, { address, issuers: [...ISSUERS, address], chooseAccount });
  },

  testConnection: (options) => testOpenIdConnection(options, { address: addressOf(options.identityProvider) }),
};

function addressOf({ baseUrl }: ProviderSettings): string {
  return baseUrl ?? ISSUERS[0];
}

function createGoogleVerifier({ identityProvider: { baseUrl }, ask, now }: VerifierOptions): TokenVerifier {
  const base = baseUrl?.replace(/\/$/, '');
  const issuers: readonly string[] = base === undefined ? ISSUERS : [...ISSUERS, base];
  const keys = cachedDocument<JSONWebKeySet>(async () =>
    keySetIn(await ask(base === undefined ? KEYS : await keysAt(base))),
  );

  /** A double says where its keys are as Google does, or has them at the same path. */
  async function keysAt(place: string): Promise<string> {
    const { body } = await ask(`${place}/.well-known/openid-configuration`);
    const uri = (body as { jwks_uri?: unknown } | undefined)?.jwks_uri;
    return typeof uri === 'string' ? uri : `${place}${new URL(KEYS).pathname}`;
  }

  return ({ token, audience }) => verifyIdToken({ token, issuers, audience, keys, now: now() });
}
