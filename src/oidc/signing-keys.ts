import { randomUUID } from 'node:crypto';
import { exportJWK, generateKeyPair, type JWK } from 'jose';
import { z } from 'zod';
import type { Audit } from '../audit.ts';
import { AppError } from '../errors.ts';
import type { Sealing } from '../secrets/sealing.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';

/** The first algorithm signs what asks for nothing else (OIDC Core §3.1.3.7 names RS256 as the default). */
const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'] as const;

/** A replaced key is still published this long, for tokens and ID token hints that it signed. */
const RETIRED_KEY_SECONDS = 30 * 24 * 60 * 60;

const SigningKey = z.object({
  kid: z.string(),
  alg: z.enum(ALGORITHMS),
  /** The private JWK, encrypted. */
  sealed: z.string(),
  retiredAt: z.number().int().optional(),
});
type SigningKey = z.infer<typeof SigningKey>;

/** All keys in one record, so that every change of the set is atomic. Newest first: the first of an algorithm signs. */
const SigningKeySet = z.object({ generation: z.number().int(), keys: z.array(SigningKey) });
type SigningKeySet = z.infer<typeof SigningKeySet>;

export interface SigningKeys {
  /** The private key set, newest first, and its generation, which changes with every rotation. Made on first use. */
  load(): Promise<{ generation: number; keys: JWK[] }>;
  /** The generation now, cheaply; 0 before the first key is made. */
  generation(): Promise<number>;
  /** Replaces the signing keys; the old ones verify on, sealed anew. Of rotations that run at once one counts. Answers the new default key's id. */
  rotate(): Promise<{ kid: string }>;
}

export interface SigningKeysOptions {
  storage: Storage;
  sealing: Sealing;
  audit: Audit;
  now: () => number;
}

export function createSigningKeys({ storage, sealing, audit, now }: SigningKeysOptions): SigningKeys {
  const sets = collection(storage, { kind: 'signing-keys', version: 1, schema: SigningKeySet });
  const ID = 'current';

  async function generate(): Promise<SigningKey[]> {
    return Promise.all(ALGORITHMS.map(generateOne));
  }

  async function generateOne(alg: SigningKey['alg']): Promise<SigningKey> {
    const { privateKey } = await generateKeyPair(alg, { extractable: true, modulusLength: 2048 });
    const kid = randomUUID();
    const jwk = { ...(await exportJWK(privateKey)), kid, alg, use: 'sig' };
    return { kid, alg, sealed: await sealing.seal(JSON.stringify(jwk)) };
  }

  /** Sealed with the first secret key of now: after a rotation an earlier one is needed no longer. */
  async function resealed(key: SigningKey): Promise<SigningKey> {
    return { ...key, sealed: await sealing.seal(await sealing.open(key.sealed)) };
  }

  /** Of several processes that start at once one makes the keys. */
  async function ensure(): Promise<SigningKeySet> {
    const existing = await sets.get(ID);
    if (existing) return existing;
    await sets.insert(ID, { generation: 1, keys: await generate() });
    const made = await sets.get(ID);
    if (!made) throw new AppError('server_error', 'the signing keys are gone');
    return made;
  }

  return {
    async load() {
      const { generation, keys } = await ensure();
      const jwks = await Promise.all(keys.map(async (key) => JSON.parse(await sealing.open(key.sealed)) as JWK));
      return { generation, keys: jwks };
    },

    async generation() {
      return (await sets.get(ID))?.generation ?? 0;
    },

    async rotate() {
      const before = await ensure();
      const [fresh, old] = await Promise.all([generate(), Promise.all(before.keys.map(resealed))]);
      // The keys of a generation never change, so those that were sealed anew are all there are.
      const rotated = await sets.update(ID, (set) =>
        set.generation === before.generation ? withNewKeys({ ...set, keys: old }, fresh, now()) : undefined,
      );
      const current = rotated ?? (await ensure());
      const kid = current.keys[0]?.kid;
      if (kid === undefined) throw new AppError('server_error', 'the signing keys are gone');
      if (rotated) await audit.record({ type: 'key_rotated', detail: { kid } });
      return { kid };
    },
  };
}

function withNewKeys(set: SigningKeySet, fresh: readonly SigningKey[], now: number): SigningKeySet {
  const kept = set.keys
    .map((key) => ({ ...key, retiredAt: key.retiredAt ?? now }))
    .filter((key) => key.retiredAt > now - RETIRED_KEY_SECONDS);
  return { generation: set.generation + 1, keys: [...fresh, ...kept] };
}
