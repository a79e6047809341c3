/**
 * The name of a cookie of ours. Browsers keep the cookies of a host together whatever the port (RFC 6265 §8.5), so where the issuer names
 * one, another instance may live beside it, and the name carries the port.
 */
export function cookieName(issuer: string, name: string): string {
  const { port } = new URL(issuer);
  return port === '' ? name : `${name}-${port}`;
}
