/**
 * ID tokens (OIDC Core §2), checked by signature, issuer, audience and time, in this order: what an unsigned text says of
 * itself is never told back.
 */
import {
  type CompactVerifyGetKey,
  type CryptoKey,
  compactVerify,
  createLocalJWKSet,
  errors,
  type JSONWebKeySet,
} from 'jose';
import { z } from 'zod';
import type { CachedDocument } from './cached-document.ts';
import type { ProviderAnswer } from './circuit-breaker.ts';
import { ProviderUnavailable, type TokenCheck, type TokenCheckRequest } from './token-verifier.ts';
import { profileIn } from './upstream-profile.ts';

/** Signatures that only the issuer can make: nothing with a shared secret, and not `none`. */
export const ID_TOKEN_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

/** A key set (RFC 7517 §5) of reasonable size. */
const KeySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })).max(100) });

/** Seconds by which another clock may be ahead of ours. No token lives longer for it. */
const SKEW = 60;

const Claims = z.looseObject({
  iss: z.string(),
  sub: z.string().min(1).max(255),
  aud: z.union([z.string().transform((aud) => [aud]), z.array(z.string())]),
  azp: z.string().optional(),
  exp: z.number(),
  iat: z.number().optional(),
  nbf: z.number().optional(),
  /** A logout token (OIDC Back-Channel Logout §2.4) has the same form and the same key, and is no ID token. */
  events: z.undefined().optional(),
});
type Claims = z.infer<typeof Claims>;

/** Bits of an RSA key, whose work grows with the square of them, and bytes of its exponent. */
const LONGEST_RSA = 8192;
const LONGEST_EXPONENT = 4;

/** @throws {ProviderUnavailable} when it is not one, or has a key that makes a check cost more than all else that a request asks for. */
export function keySetIn({ status, body }: ProviderAnswer): JSONWebKeySet {
  const keySet = KeySet.safeParse(body);
  if (status !== 200 || !keySet.success) throw new ProviderUnavailable('the key set of the provider is none');
  if (keySet.data.keys.some(isTooLong)) {
    throw new ProviderUnavailable(
      `the key set of the provider has an RSA key of more than ${LONGEST_RSA} bits, or with an exponent of more than 32`,
    );
  }
  return keySet.data;
}

function isTooLong({ kty, n, e }: Record<string, unknown>): boolean {
  return kty === 'RSA' && (bytesOf(n) > LONGEST_RSA / 8 || bytesOf(e) > LONGEST_EXPONENT);
}

/** Of a whole number (RFC 7518 §2, Base64urlUInt), however many zeros are before it. */
function bytesOf(value: unknown): number {
  const bytes = Buffer.from(String(value ?? ''), 'base64url');
  const first = bytes.findIndex((byte) => byte !== 0);
  return first === -1 ? 0 : bytes.length - first;
}

export interface IdTokenRules extends TokenCheckRequest {
  issuers: readonly string[];
  keys: CachedDocument<JSONWebKeySet>;
  now: number;
}

/** @throws {ProviderUnavailable} when the keys are not there to check with. */
export async function verifyIdToken({ token, issuers, audience, keys, now }: IdTokenRules): Promise<TokenCheck> {
  const claims = await claimsIn(token, keys);
  if (!claims || !issuers.includes(claims.iss) || isFromTheFuture(claims, now)) return { outcome: 'invalid' };
  if (!isIssuedTo(audience, claims)) return { outcome: 'audience_mismatch' };
  if (claims.exp <= now) return { outcome: 'expired' };
  return { outcome: 'proven', subject: claims.sub, expiresAt: Math.floor(claims.exp), profile: profileIn(claims) };
}

/** Whether a token was made for one of these apps, and, where the issuer says so, also given to one (OIDC Core §3.1.3.7). */
function isIssuedTo(audience: readonly string[], { aud, azp }: Claims): boolean {
  const isTheirs = (id: string) => audience.includes(id);
  if (azp !== undefined) return isTheirs(azp) && aud.some(isTheirs);
  return aud.length > 0 && aud.every(isTheirs);
}

function isFromTheFuture({ iat = 0, nbf = 0 }: Claims, now: number): boolean {
  return Math.max(iat, nbf) > now + SKEW;
}

/** The claims of a token with a good signature. */
async function claimsIn(token: string, keys: CachedDocument<JSONWebKeySet>): Promise<Claims | undefined> {
  const keySet = await keys.get();
  const signed = await payloadOf(token, keySet);
  // The issuer may have a new key that is not known here yet.
  const newer = signed === 'unknown_key' ? await keys.newerThan(keySet) : keySet;
  const payload = newer === keySet ? signed : await payloadOf(token, newer);
  return payload === undefined || payload === 'unknown_key' ? undefined : Claims.safeParse(payload).data;
}

async function payloadOf(token: string, keySet: JSONWebKeySet): Promise<object | 'unknown_key' | undefined> {
  try {
    return await verified(token, keyFinderOf(keySet));
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey) return 'unknown_key';
    if (error instanceof errors.JWKSMultipleMatchingKeys) return firstVerified(token, error);
    return undefined;
  }
}

/** Imports each key of a set once. */
const keyFinders = new WeakMap<JSONWebKeySet, CompactVerifyGetKey>();

function keyFinderOf(keySet: JSONWebKeySet): CompactVerifyGetKey {
  const known = keyFinders.get(keySet);
  if (known) return known;
  const made = createLocalJWKSet(keySet);
  keyFinders.set(keySet, made);
  return made;
}

/** A provider that shows several keys for one algorithm has to name the one in its tokens (OIDC Core §10.1); some do not. */
const MOST_TRIED = 4;

/** A token without a `kid`: any of the first keys that fit its algorithm may have signed it. */
async function firstVerified(token: string, keys: AsyncIterable<CryptoKey>): Promise<object | undefined> {
  let tried = 0;
  for await (const key of keys) {
    const payload = await verified(token, async () => key).catch(() => undefined);
    tried += 1;
    if (payload || tried === MOST_TRIED) return payload;
  }
  return undefined;
}

/** @throws when the signature, the type or the form is wrong. */
async function verified(token: string, key: CompactVerifyGetKey): Promise<object | undefined> {
  const { payload, protectedHeader } = await compactVerify(token, key, { algorithms: ID_TOKEN_ALGORITHMS });
  // Other tokens say what they are, so that they are not taken for this one (RFC 8725 §3.11).
  if (!/^(application\/)?jwt$/i.test(protectedHeader.typ ?? 'jwt')) return undefined;
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
}
