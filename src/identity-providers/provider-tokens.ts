/**
 * Tokens that people have from identity providers, and whether they prove who somebody is to an app. Owns how long a proof is
 * remembered and how long anybody waits for one. Whether account and app may act now is for others to ask, at each use.
 */
import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { elapsed } from '../clock.ts';
import type { Outbound } from '../http/outbound.ts';
import type { IdentityProvider } from './identity-provider.ts';
import type { IdentityProviders } from './identity-providers.ts';
import { KINDS } from './kinds/kinds.ts';
import { type ProofRequest, type Prove, type Proven, ProviderUnavailable, type Verdict } from './proof.ts';
import { createUpstream } from './upstream.ts';

/** Seconds a proof counts without being asked for again. */
const REMEMBERED = 60;
/** Seconds that anybody waits, however many questions there are. */
const PATIENCE = 2.5;

/** What a token may consist of. Longer ones than any provider makes are not sent on. */
const FORM = /^[\x21-\x7e]{1,16384}$/;
/** Our own tokens are nobody else's business. */
const OURS = /^lk_/;

export interface ProviderTokens {
  /**
   * @returns The verdict, and whether it was known already.
   * @throws {ProviderUnavailable} within three seconds, or at once while the provider is taken to be down.
   */
  prove(identityProvider: IdentityProvider, request: ProofRequest): Promise<{ verdict: Verdict; remembered: boolean }>;
}

export interface ProviderTokensOptions {
  now: () => number;
  request: Outbound;
  secretOf: IdentityProviders['secretOf'];
}

export function createProviderTokens({ now, request, secretOf }: ProviderTokensOptions): ProviderTokens {
  /** Made anew when a provider is changed. */
  const provers = new LRUCache<string, Prove>({ max: 100 });
  const proofs = new LRUCache<string, { proven: Proven; until: number; expiresAt: number }>({ max: 10_000 });
  const underWay = new Map<string, Promise<Verdict>>();

  function proverOf(identityProvider: IdentityProvider): Prove {
    const { id, createdAt, ...settings } = identityProvider;
    const key = JSON.stringify([id, createdAt, settings]);
    const known = provers.get(key);
    if (known) return known;
    const ask = createUpstream({ request });
    const { createVerifier } = KINDS[identityProvider.kind];
    const prover = createVerifier({ identityProvider, ask, now, secret: () => secretOf(identityProvider) });
    provers.set(key, prover);
    return prover;
  }

  async function askProvider(identityProvider: IdentityProvider, request: ProofRequest): Promise<Verdict> {
    const verdict = await inTime(proverOf(identityProvider)(request));
    if (verdict.outcome !== 'proven' || !verdict.tellMore) return verdict;
    const { tellMore } = verdict;
    return { ...verdict, tellMore: (token) => inTime(tellMore(token)) };
  }

  async function proveOnce(key: string, identityProvider: IdentityProvider, request: ProofRequest): Promise<Verdict> {
    const verdict = await askProvider(identityProvider, request);
    if (verdict.outcome !== 'proven') return verdict;
    const { expiresAt = Number.POSITIVE_INFINITY } = verdict;
    proofs.set(key, { proven: verdict, until: elapsed() + REMEMBERED, expiresAt });
    return verdict;
  }

  return {
    async prove(identityProvider, request) {
      if (!FORM.test(request.token) || OURS.test(request.token))
        return { verdict: { outcome: 'invalid' }, remembered: false };
      const key = keyOf(identityProvider, request);
      const known = proofs.get(key);
      if (known && elapsed() < known.until && now() < known.expiresAt)
        return { verdict: known.proven, remembered: true };
      let asking = underWay.get(key);
      if (!asking) {
        asking = proveOnce(key, identityProvider, request).finally(() => underWay.delete(key));
        underWay.set(key, asking);
      }
      return { verdict: await asking, remembered: false };
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

/** Everything that a proof depends on; a digest, so that no token stays in memory. */
function keyOf(
  { id, createdAt, updatedAt, sealedSecret }: IdentityProvider,
  { token, audience }: ProofRequest,
): string {
  const all = JSON.stringify([id, createdAt, updatedAt, sealedSecret, audience, token]);
  return hash('sha256', all, 'base64url');
}
