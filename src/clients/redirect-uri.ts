import { isLoopback } from '../config.ts';

/** What is wrong with a URI that an app wants registered, in words for its administrator; undefined when it is fine. */
export function redirectUriProblem(uri: string): string | undefined {
  const url = URL.parse(uri);
  if (!url) return 'is not an absolute URL';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (uri.length > 2000 || /[\s\u0000-\u001f\u007f*\\]/.test(uri))
    return 'has characters that no redirect URI may have, or is too long';
  if (uri.includes('#')) return 'must not have a fragment (RFC 6749 §3.1.2)';
  if (url.username || url.password) return 'must not have a user name or password';
  if (url.protocol === 'https:') return undefined;
  if (url.protocol === 'http:')
    return isLoopback(url.hostname) ? undefined : 'must use https, except on the loopback interface';
  return isPrivateUseScheme(url.protocol)
    ? undefined
    : 'must use https, or a private scheme such as com.example.app:/callback';
}

/**
 * A URI only an app installed on the user's own device has (RFC 8252 §7): a private-use scheme, or the loopback interface
 * without a port, which then matches every port.
 */
export function isNativeRedirectUri(uri: string): boolean {
  const url = new URL(uri);
  if (isPrivateUseScheme(url.protocol)) return true;
  return url.protocol === 'http:' && isLoopback(url.hostname) && url.port === '';
}

/** Reverse-domain names only (RFC 8252 §7.1), which also keeps out javascript:, data:, file: and their kind. */
function isPrivateUseScheme(protocol: string): boolean {
  return /^[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:$/.test(protocol);
}
