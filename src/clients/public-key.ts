import { createPublicKey, type JsonWebKey } from 'node:crypto';

/**
 * Whether a JWK can prove who an app is: a private or shared one would let whoever reads our store pose as the app, a short
 * one anybody.
 */
export function isPublicKey(jwk: Record<string, unknown>): boolean {
  if ('d' in jwk || 'k' in jwk) return false;
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
    return asymmetricKeyType !== 'rsa' || (asymmetricKeyDetails?.modulusLength ?? 0) >= 2048;
  } catch {
    return false;
  }
}
