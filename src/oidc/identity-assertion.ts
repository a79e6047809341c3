import { randomUUID } from 'node:crypto';
import { type CryptoKey, importJWK, type JWK, SignJWT } from 'jose';
import type { Verified } from '../credentials/verify.ts';
import { AppError } from '../errors.ts';
import type { SigningKeys } from './signing-keys.ts';

const LIFETIME = 60;
const ALGORITHM = 'ES256';
const LONGEST_AUDIENCE = 200;

/** A short-lived JWT that says who was verified, for services behind a proxy; checked with our published keys (RFC 7519). */
export type SignIdentity = (verified: Verified, audience: string) => Promise<string>;

export interface IdentityAssertionOptions {
  issuer: string;
  signingKeys: SigningKeys;
  now: () => number;
}

export function createSignIdentity({ issuer, signingKeys, now }: IdentityAssertionOptions): SignIdentity {
  let current: { generation: number; kid: string; key: CryptoKey | Uint8Array } | undefined;

  /** Imported once for each generation of keys. */
  async function signingKey() {
    const generation = await signingKeys.generation();
    if (current && current.generation === generation) return current;
    const loaded = await signingKeys.load();
    const jwk = loaded.keys.find(({ alg }) => alg === ALGORITHM) as JWK & { kid: string };
    current = { generation: loaded.generation, kid: jwk.kid, key: await importJWK(jwk, ALGORITHM) };
    return current;
  }

  return async function signIdentity({ account, client, scope, id }, audience) {
    if (audience === '' || audience.length > LONGEST_AUDIENCE) {
      throw new AppError('invalid_request', 'audience must be 1 to 200 characters', { field: 'audience' });
    }
    const { kid, key } = await signingKey();
    const claims = {
      scope: scope.join(' '),
      client_id: client?.id,
      email: account?.email || undefined,
      organization: account?.organizationId ?? client?.organizationId,
      credential_id: id,
    };
    return new SignJWT(claims)
      .setProtectedHeader({ alg: ALGORITHM, kid, typ: 'JWT' })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject(account?.id ?? client?.id ?? '')
      .setIssuedAt(now())
      .setExpirationTime(now() + LIFETIME)
      .setJti(randomUUID())
      .sign(key);
  };
}
