import type { IncomingMessage } from 'node:http';
import { isRepeated } from './repeated-header.ts';

/** token68 (RFC 9110 §11.2) of a reasonable length. */
const CREDENTIALS = /^([A-Za-z]+) +([A-Za-z0-9._~+/-]{1,4096}=*)$/;

/**
 * The token of an `Authorization` header with scheme `Bearer` (RFC 6750 §2.1) or `Token`, in any case (RFC 9110 §11.1). Undefined
 * for whatever else is sent, two such headers included.
 */
export function tokenOf(request: IncomingMessage): string | undefined {
  const header = request.headers.authorization;
  if (header === undefined || isRepeated(request, 'authorization')) return undefined;
  const [, scheme = '', token] = CREDENTIALS.exec(header) ?? [];
  return /^(bearer|token)$/i.test(scheme) ? token : undefined;
}

/** Client id and secret as RFC 6749 §2.3.1 has them: form-encoded inside HTTP Basic. Empty for whatever else is sent. */
export function basicCredentials({ headers }: IncomingMessage): [id?: string, secret?: string] {
  const [, encoded = ''] = /^basic +([A-Za-z0-9+/]+=*)$/i.exec(headers.authorization ?? '') ?? [];
  const [, id, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded, 'base64').toString('utf8')) ?? [];
  try {
    return id === undefined || secret === undefined ? [] : [formDecode(id), formDecode(secret)];
  } catch {
    return [];
  }
}

/** @throws {URIError} */
function formDecode(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '));
}
