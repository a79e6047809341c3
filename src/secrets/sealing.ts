/**
 * Encryption at rest for the few secrets that must be read back (signing keys, secrets for other systems).
 * What only has to be compared is stored as a digest instead.
 */
import { createHmac, hkdfSync } from 'node:crypto';
import { CompactEncrypt, compactDecrypt } from 'jose';
import { AppError } from '../errors.ts';

export interface Sealing {
  /** JWE compact serialization, `dir` + `A256GCM` (RFC 7516 §3.1), readable with any of the configured keys. */
  seal(plaintext: string): Promise<string>;
  /** @throws {AppError} `server_error` when no configured key opens it. */
  open(sealed: string): Promise<string>;
  /** What follows a secret: whoever has it, but none of the keys, cannot work it out. One for each key. */
  successorsOf(secret: string): string[];
  /** Keys for signing cookies, derived from the same secrets; the first signs, all verify. */
  readonly cookieKeys: string[];
  /** Keys for proving that a form's page was seen; the first proves, all are accepted. */
  readonly formKeys: Uint8Array[];
}

/** @param keys 32 bytes each; the first seals, all open. */
export function createSealing(keys: readonly Buffer[]): Sealing {
  const sealingKeys = keys.map((key) => derive(key, 'sealing'));

  const successionKeys = keys.map((key) => derive(key, 'succession'));

  return {
    successorsOf: (secret) => successionKeys.map((key) => createHmac('sha256', key).update(secret).digest('base64url')),
    cookieKeys: keys.map((key) => Buffer.from(derive(key, 'cookies')).toString('base64url')),
    formKeys: keys.map((key) => derive(key, 'forms')),

    async seal(plaintext) {
      const [key] = sealingKeys;
      if (!key) throw new Error('sealing needs a key');
      const header = { alg: 'dir', enc: 'A256GCM' };
      return new CompactEncrypt(Buffer.from(plaintext)).setProtectedHeader(header).encrypt(key);
    },

    async open(sealed) {
      for (const key of sealingKeys) {
        const opened = await compactDecrypt(sealed, key).catch(() => undefined);
        if (opened) return Buffer.from(opened.plaintext).toString('utf8');
      }
      throw new AppError(
        'server_error',
        'a stored secret cannot be read: SECRET_KEY is not the key it was sealed with',
      );
    },
  };
}

/** One secret, several purposes: each gets its own key (HKDF, RFC 5869 §3.2). */
function derive(key: Buffer, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', key, '', `latchkey ${purpose}`, 32));
}
