/**
 * The form of every secret we hand out as a token: a prefix that says what it is, 30 random characters, and a checksum that
 * lets anybody, secret scanners included, tell a real one from a typo before anything is looked up.
 */
import { hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 178 bits. */
const RANDOM_LENGTH = 30;
const CHECKSUM_LENGTH = 6;

/** What a token is of, as `credentials/kinds.ts` names the kinds. */
export type TokenPrefix = `lk_${string}_`;

const FORM = /^(lk_[a-z]{2,8}_)([0-9A-Za-z]{30})([0-9A-Za-z]{6})$/;

/** A new token. It exists only here: what is stored is its digest. */
export function createSecretToken(prefix: TokenPrefix): string {
  const body = prefix + randomCharacters(RANDOM_LENGTH);
  return body + checksumOf(body);
}

/** What a text is a token of, when it has the form and its checksum is right. */
export function prefixOf(text: string): TokenPrefix | undefined {
  const [, prefix, random, checksum] = FORM.exec(text) ?? [];
  if (prefix === undefined || checksum !== checksumOf(`${prefix}${random}`)) return undefined;
  return prefix as TokenPrefix;
}

/** What a token is stored and looked up under. A fast digest will do: nobody guesses 178 bits. */
export function digestOf(token: string): string {
  return hash('sha256', token, 'base64url');
}

/** CRC-32 of all that precedes, in base 62, most significant first. */
function checksumOf(body: string): string {
  let rest = crc32(body);
  let text = '';
  for (let place = 0; place < CHECKSUM_LENGTH; place++) {
    text = ALPHABET.charAt(rest % ALPHABET.length) + text;
    rest = Math.floor(rest / ALPHABET.length);
  }
  return text;
}

/** Every character is as likely as any other: bytes that would favour some are thrown away. */
function randomCharacters(length: number): string {
  const fair = 256 - (256 % ALPHABET.length);
  let text = '';
  while (text.length < length) {
    for (const byte of randomBytes(length * 2)) {
      if (byte < fair && text.length < length) text += ALPHABET.charAt(byte % ALPHABET.length);
    }
  }
  return text;
}
