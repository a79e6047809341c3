import { type Client, errors, type KoaContextWithOIDC } from 'oidc-provider';

/** An assertion is made for one request. Each is remembered until it expires, so its life is bounded (RFC 7523 §3). */
const LONGEST_LIFE = 60 * 60;

/** Clocks differ, but not by more than this (FAPI 2.0 Security Profile §5.3.2.1). */
const CLOCK_SKEW = 60;

/**
 * What an app's assertion (`private_key_jwt`, OIDC Core §9) must be beyond what the engine checks, which is its signature, issuer,
 * audience, expiry and that it is used once.
 * @throws {errors.InvalidClientAuth}
 */
export async function assertClientAssertion(
  _ctx: KoaContextWithOIDC,
  { sub, aud, exp, iat }: Record<string, unknown>,
  _header: object,
  { clientId }: Client,
): Promise<void> {
  const now = Date.now() / 1000;
  if (sub !== clientId) throw new errors.InvalidClientAuth('sub must be the client_id');
  // One that names others beside us could be used by one of them at us.
  if (typeof aud !== 'string') throw new errors.InvalidClientAuth('aud must be a single string');
  if (Number(exp) > now + LONGEST_LIFE) throw new errors.InvalidClientAuth('exp is too far in the future');
  if (typeof iat === 'number' && iat > now + CLOCK_SKEW) throw new errors.InvalidClientAuth('iat is in the future');
}
