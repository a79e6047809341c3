import { domainToASCII } from 'node:url';
import { z } from 'zod';

/** As HTML's `type=email` takes it, so that nobody can type an address that is refused here, and mail servers deliver to it. */
const LOCAL_PART = /^[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}$/i;
const DOMAIN = /^(?!.{254})[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;

/** What a domain in its own script consists of; the ideographic full stop is one as well (UTS #46). */
const OWN_SCRIPT = /^(?!.*\p{DI})[\p{L}\p{M}\p{N}.\u3002-]+$/u;

/** Latin beside letters that look the same: nobody's name, and meant to be taken for another one. */
const MIXED =
  /\p{Script=Latin}[^.]*[\p{Script=Cyrillic}\p{Script=Greek}]|[\p{Script=Cyrillic}\p{Script=Greek}][^.]*\p{Script=Latin}/u;

/** A domain in its one spelling: lower case, and in ASCII (RFC 5891 §4.4). What has none stays as it is. */
function spelledDomain(domain: string): string {
  if (/^\p{ASCII}*$/u.test(domain)) return domain.toLowerCase();
  const isItself = OWN_SCRIPT.test(domain) && !MIXED.test(domain) && ![...domain].some(isLookalike);
  return (isItself && domainToASCII(domain)) || domain;
}

/** A letter that is another one in disguise, such as a full-width one or the Kelvin sign. */
function isLookalike(letter: string): boolean {
  const folded = letter.normalize('NFKC');
  return letter > '\x7f' && (folded <= '\x7f' || folded !== letter.normalize('NFC'));
}

/** A domain that mail can be sent to, in its one spelling. */
export const MailDomain = z
  .string()
  .transform(spelledDomain)
  .refine((domain) => DOMAIN.test(domain), 'must be a domain such as example.com');

/**
 * An address as it is looked for, whether it is one or not. The domain is one in all its spellings, because the name system says so; the part before it is
 * lower-cased only when it is ASCII, so that no letter that merely looks like, or folds to, an ASCII one can stand for somebody
 * else's mailbox.
 */
export function spelledEmail(text: string): string {
  const at = text.lastIndexOf('@');
  const localPart = text.slice(0, Math.max(at, 0));
  if (!/^\p{ASCII}+$/u.test(localPart)) return text;
  return `${localPart.toLowerCase()}@${spelledDomain(text.slice(at + 1))}`;
}

/** An e-mail address in its one spelling, at most 254 characters of ASCII (RFC 5321 §4.5.3.1.3). */
export const Email = z
  .string()
  .max(500, 'is too long')
  .transform(spelledEmail)
  .refine(isEmail, 'must be an e-mail address such as ann@example.com');

function isEmail(text: string): boolean {
  const at = text.lastIndexOf('@');
  return text.length <= 254 && LOCAL_PART.test(text.slice(0, Math.max(at, 0))) && DOMAIN.test(text.slice(at + 1));
}
