/**
 * Tokens that people have from identity providers, and whether they prove to an app who a person is. Owns how long a
 * check counts and how long a request waits for one. Whether account and app may act now is for others to ask, at each use.
 */
import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { elapsed } from '../clock.ts';
import type { Outbound } from '../outbound/outbound.ts';
import { createProviderClient } from './circuit-breaker.ts';
import type { IdentityProvider } from './identity-provider.ts';
import type { IdentityProviders } from './identity-providers.ts';
import { KINDS } from './kinds/kinds.ts';
import {
  ProviderUnavailable,
  type TokenCheck,
  type TokenCheckRequest,
  type TokenVerifier,
  unavailableIn,
  type VerifiedToken,
} from './token-verifier.ts';

/** Seconds a good check counts without being asked for again. */
const REMEMBERED = 60;
/** Seconds that a request waits, however many questions there are. */
const PATIENCE = 2.5;

/** What a token may consist of. Longer ones than any provider makes are not sent on. */
const FORM = /^[\x21-\x7e]{1,16384}$/;
/** Our own tokens go to no provider. */
const OURS = /^lk_/;

export interface ProviderTokens {
  /**
   * @returns What the check says, and whether it was known already.
   * @throws {ProviderUnavailable} within three seconds, or at once while the provider is taken to be down.
   */
  check(
    identityProvider: IdentityProvider,
    request: TokenCheckRequest,
  ): Promise<{ check: TokenCheck; remembered: boolean }>;
}

export interface ProviderTokensOptions {
  now: () => number;
  request: Outbound;
  secretOf: IdentityProviders['secretOf'];
  /** Hears once an hour of each reason why tokens of a provider cannot be checked. */
  warn: (identityProviderId: string, problem: string) => void;
}

export function createProviderTokens({ now, request, secretOf, warn }: ProviderTokensOptions): ProviderTokens {
  /** Made anew when a provider is changed. */
  const verifiers = new LRUCache<string, TokenVerifier>({ max: 100 });
  const verified = new LRUCache<string, { token: VerifiedToken; until: number; expiresAt: number }>({ max: 10_000 });
  const underWay = new Map<string, Promise<TokenCheck>>();

  function verifierOf(identityProvider: IdentityProvider): TokenVerifier {
    const { id, createdAt, ...settings } = identityProvider;
    const key = JSON.stringify([id, createdAt, settings]);
    const known = verifiers.get(key);
    if (known) return known;
    const ask = createProviderClient({ request });
    const { createVerifier } = KINDS[identityProvider.kind];
    const verifier = createVerifier({ identityProvider, ask, now, secret: () => secretOf(identityProvider) });
    verifiers.set(key, verifier);
    return verifier;
  }

  const warned = new LRUCache<string, true>({ max: 1_000, ttl: 60 * 60 * 1000 });

  function note({ id }: IdentityProvider, error: unknown): never {
    const { message = '' } = unavailableIn((error as Error).cause) ?? unavailableIn(error) ?? {};
    if (message !== '' && !warned.has(id + message)) warn(id, message);
    warned.set(id + message, true);
    throw error;
  }

  async function askProvider(identityProvider: IdentityProvider, request: TokenCheckRequest): Promise<TokenCheck> {
    const check = await inTime(verifierOf(identityProvider)(request)).catch((error) => note(identityProvider, error));
    if (check.outcome !== 'proven' || !check.tellMore) return check;
    const { tellMore } = check;
    return { ...check, tellMore: (token) => inTime(tellMore(token)) };
  }

  async function verifyOnce(
    key: string,
    identityProvider: IdentityProvider,
    request: TokenCheckRequest,
  ): Promise<TokenCheck> {
    const check = await askProvider(identityProvider, request);
    if (check.outcome !== 'proven') return check;
    const { expiresAt = Number.POSITIVE_INFINITY } = check;
    verified.set(key, { token: check, until: elapsed() + REMEMBERED, expiresAt });
    return check;
  }

  return {
    async check(identityProvider, request) {
      if (!FORM.test(request.token) || OURS.test(request.token))
        return { check: { outcome: 'invalid' }, remembered: false };
      const key = keyOf(identityProvider, request);
      const known = verified.get(key);
      if (known && elapsed() < known.until && now() < known.expiresAt) return { check: known.token, remembered: true };
      let asking = underWay.get(key);
      if (!asking) {
        asking = verifyOnce(key, identityProvider, request).finally(() => underWay.delete(key));
        underWay.set(key, asking);
      }
      return { check: await asking, remembered: false };
    },
  };
}

/** @throws {ProviderUnavailable} */
function inTime<T>(answer: Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(PATIENCE * 1000);
  const tooLate = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(new ProviderUnavailable('took too long')));
  });
  return Promise.race([answer, tooLate]);
}

/** Everything that a check depends on; a digest, so that no token stays in memory. */
function keyOf(
  { id, createdAt, updatedAt, sealedSecret }: IdentityProvider,
  { token, audience }: TokenCheckRequest,
): string {
  const all = JSON.stringify([id, createdAt, updatedAt, sealedSecret, audience, token]);
  return hash('sha256', all, 'base64url');
}
