/** A client's id and secret in a header, form-encoded before they are joined (RFC 6749 §2.3.1). */
export function basicAuthorization(id: string, secret: string): string {
  const encode = (text: string) => new URLSearchParams([['', text]]).toString().slice(1);
  return `Basic ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString('base64')}`;
}
