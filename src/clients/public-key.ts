import { createPublicKey, type JsonWebKey } from 'node:crypto';

/**
 * Whether a JWK can prove who an app is: a private or shared one would let whoever reads our store pose as the app, a short
 * one anybody, and a very long one makes every request that is signed with it cost more than all else that it asks for.
 */
export function isPublicKey(jwk: Record<string, unknown>): boolean {
  if ('d' in jwk || 'k' in jwk) return false;
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
    const { modulusLength = 0, publicExponent = 0n } = asymmetricKeyDetails ?? {};
    return (
      asymmetricKeyType !== 'rsa' || (modulusLength >= 2048 && modulusLength <= 4096 && publicExponent < 2n ** 32n)
    );
  } catch {
    return false;
  }
}
