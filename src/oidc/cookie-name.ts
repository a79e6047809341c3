/**
 * The name of a cookie of ours. Browsers keep the cookies of a host together whatever the port (RFC 6265 §8.5), so where the issuer names
 * one, another instance may live beside it, and the name carries the port.
 */
export function cookieName(issuer: string, name: string): string {
  const { port } = new URL(issuer);
  return port === '' ? name : `${name}-${port}`;
}

/** The cookie of ours by which a browser is known in which people signed in before. */
export const browserCookieOf = (issuer: string) =>
  cookieName(issuer, issuer.startsWith('https:') ? '__Host-latchkey-browser' : 'latchkey-browser');
