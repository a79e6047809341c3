import type Koa from 'koa';
import { AppError } from '../errors.ts';

/**
 * The fields of a `multipart/form-data` body (RFC 7578), as some clients send what is no file. A name that comes several times has a
 * list of values. Read by the platform rather than by koa-body, whose parser takes fields with a type of their own for files, writes
 * those to the disk, and reads a body for as long as it goes on.
 * @throws {AppError} `request_too_large`; `invalid_request` for a file, or for what is no such body.
 */
export async function readMultipart(
  ctx: Koa.Context,
  limits: { bytes: number; fields: number },
): Promise<Record<string, string | string[]>> {
  const headers = { 'content-type': ctx.get('Content-Type') };
  const bytes = await readUpTo(limits.bytes, ctx.req);
  const entries = await new Response(bytes, { headers }).formData().then(
    (form) => [...form],
    (cause: unknown) => {
      throw new AppError('invalid_request', 'the form could not be read', { cause });
    },
  );
  if (entries.length > limits.fields) throw new AppError('invalid_request', 'the form has too many fields');
  const fields = new Map<string, string | string[]>();
  for (const [name, value] of entries) {
    if (typeof value !== 'string') throw new AppError('invalid_request', 'files are not taken here', { field: name });
    const earlier = fields.get(name);
    fields.set(name, earlier === undefined ? value : [earlier, value].flat());
  }
  return Object.fromEntries(fields);
}

async function readUpTo(limit: number, body: AsyncIterable<Buffer>): Promise<Buffer<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > limit) throw new AppError('request_too_large', 'the form is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
