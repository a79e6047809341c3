import { readFileSync } from 'node:fs';
import { AppError, type Reason } from '../errors.ts';

const SHORTEST = 8;
const LONGEST = 256;
/** UTF-16 units before normalization. No password that may be chosen is longer, and all that is longer costs nothing. */
const LONGEST_INPUT = 1024;

/** Shorter parts of names are in too many good passwords to be held against them. */
const SHORTEST_NAME = 4;
const PRODUCT = 'Latchkey';

const commonPasswords = new Set(
  readFileSync(new URL('common-passwords.txt', import.meta.url), 'utf8')
    .split('\n')
    .filter((entry) => !entry.startsWith('#')),
);

export interface PasswordContext {
  email: string;
  /** Names that belong to the place: the organization's, say. */
  words?: readonly string[];
}

/**
 * The bytes that are hashed. NFKC (NIST SP 800-63B §3.1.1.2), because the same keys give composed letters on one device,
 * decomposed or full-width ones on another. Nothing else is changed: not NUL, not spaces at the ends, not length.
 * Undefined for what can be nobody's password: endless input, and broken characters, which would all be encoded alike.
 */
export function normalizePassword(password: string): string | undefined {
  if (password.length > LONGEST_INPUT || !password.isWellFormed()) return undefined;
  return password.normalize('NFKC');
}

/**
 * Whether a person may choose this password. Length counts code points, as NIST SP 800-63B §3.1.1.2 does: an emoji made
 * of several is several. There are no rules of composition.
 * @throws {AppError} `invalid_request` for the field `password`, saying why.
 */
export function checkPassword(password: string, context: PasswordContext): void {
  const reason = problemOf(password, context);
  if (reason) throw new AppError('invalid_request', MESSAGES[reason], { field: 'password', reason });
}

const MESSAGES: Record<Reason, string> = {
  short: `password must have at least ${SHORTEST} characters`,
  long: `password must have at most ${LONGEST} characters`,
  common: 'password is one that many people use; choose another one',
  close: 'password is too close to your e-mail or a name everybody knows here',
  broken: 'password has broken characters',
};

function problemOf(password: string, context: PasswordContext): Reason | undefined {
  if (password.length > LONGEST_INPUT) return 'long';
  const normalized = normalizePassword(password);
  if (normalized === undefined) return 'broken';
  const length = [...normalized].length;
  if (length < SHORTEST) return 'short';
  if (length > LONGEST) return 'long';
  const folded = normalized.toLowerCase();
  if (commonPasswords.has(folded)) return 'common';
  if (isFromContext(folded, context)) return 'close';
  return undefined;
}

/** A word of the place alone, or with digits and signs around it, such as `Acme2026!`. */
function isFromContext(folded: string, { email, words = [] }: PasswordContext): boolean {
  const [localPart = ''] = email.split('@');
  const known = [email, localPart, PRODUCT, ...words].flatMap(spellings);
  const core = folded.replace(/^[^\p{L}]+|[^\p{L}]+$/gu, '');
  if (core.length >= SHORTEST_NAME && known.includes(core)) return true;
  return known.includes(folded) || known.includes(squeezed(folded));
}

/** The name, the name without what separates its words, and each word that is long enough to be a name itself. */
function spellings(name: string): string[] {
  const folded = name.normalize('NFKC').toLowerCase();
  const parts = folded.split(/[^\p{L}\p{N}]+/u).filter((part) => part.length >= SHORTEST_NAME);
  return [folded, squeezed(folded), ...parts].filter((spelling) => spelling !== '');
}

function squeezed(text: string): string {
  return text.replace(/[^\p{L}\p{N}]+/gu, '');
}
