import { isLoopback } from '../config.ts';

/** What may be wrong with a URI that an app wants registered, in words for whoever sent it. */
const FAULTS = {
  not_absolute: 'is not an absolute URL',
  wildcard: 'must be written out in full: there are no wildcards, and every * is one',
  characters: 'has characters that no redirect URI may have, or is too long',
  fragment: 'must not have a fragment (RFC 6749 §3.1.2)',
  credentials: 'must not have a user name or password',
  insecure: 'must use https, except on the loopback interface',
  scheme: 'must use https, or a private scheme such as com.example.app:/callback',
} as const;
export type RedirectUriFault = keyof typeof FAULTS;

/** Undefined when nothing is. */
export function redirectUriFault(uri: string): RedirectUriFault | undefined {
  const url = URL.parse(uri);
  if (uri.includes('*')) return 'wildcard';
  if (!url) return 'not_absolute';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (uri.length > 2000 || /[\s\u0000-\u001f\u007f\\]/.test(uri)) return 'characters';
  if (uri.includes('#')) return 'fragment';
  if (url.username || url.password) return 'credentials';
  if (url.protocol === 'https:') return undefined;
  if (url.protocol === 'http:') return isLoopback(url.hostname) ? undefined : 'insecure';
  return isPrivateUseScheme(url.protocol) ? undefined : 'scheme';
}

/** The same in words. */
export function redirectUriProblem(uri: string): string | undefined {
  const fault = redirectUriFault(uri);
  return fault && FAULTS[fault];
}

/**
 * A URI only an app installed on the user's own device has (RFC 8252 §7): a private-use scheme, or the loopback interface
 * without a port, which then matches every port.
 */
export function isNativeRedirectUri(uri: string): boolean {
  const url = new URL(uri);
  if (isPrivateUseScheme(url.protocol)) return true;
  return url.protocol === 'http:' && LOOPBACK_INTERFACE.has(url.hostname) && url.port === '';
}

/** What the engine compares without a port; another name below localhost is a web app's own. */
const LOOPBACK_INTERFACE = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Reverse-domain names only (RFC 8252 §7.1), which also keeps out javascript:, data:, file: and their kind. */
function isPrivateUseScheme(protocol: string): boolean {
  return /^[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:$/.test(protocol);
}
