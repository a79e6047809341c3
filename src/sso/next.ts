import type { Client } from '../clients/client.ts';
import { AppError } from '../errors.ts';

/**
 * Where a sign-in leads to: an origin that the app has registered, or ours. Without a wish, the person's own page.
 * @throws {AppError} `invalid_request` naming `next`.
 */
export function nextWithin(next: string | undefined, { issuer, client }: { issuer: string; client: Client }): URL {
  if (next === undefined || next === '') return new URL('/account', issuer);
  // Parsers drop control characters, and take a backslash for a slash: what is checked must be what is meant.
  const url = /^[^\p{Cc}\s\\]{1,16000}$/u.test(next) ? URL.parse(next, issuer) : null;
  // What is not of the web may have an origin of it all the same (`blob:`).
  const isPlain = url !== null && isOfWeb(url) && url.username === '' && url.password === '';
  if (isPlain && (url.origin === issuer || originsOf(client).has(url.origin))) return url;
  throw new AppError('invalid_request', 'next must be under an origin that the app has registered', { field: 'next' });
}

function originsOf({ sso, redirectUris }: Client): Set<string> {
  const webUris = redirectUris.map((uri) => new URL(uri)).filter(isOfWeb);
  return new Set([...(sso?.nextOrigins ?? []), ...webUris.map(({ origin }) => origin)]);
}

function isOfWeb({ protocol }: URL): boolean {
  return protocol === 'https:' || protocol === 'http:';
}
