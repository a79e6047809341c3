import type Koa from 'koa';
import { AppError } from '../errors.ts';

/** In all of them what a form or JSON is made of are ASCII's bytes; older clients name the third and send the second. */
const CHARSETS = new Set(['', 'utf-8', 'us-ascii', 'iso-8859-1']);

/** Bodies are read as they are, as UTF-8: one that says it is to be read in another way is refused before anybody reads it. */
export const plainBody: Koa.Middleware = async function refuseCodedBody(ctx, next) {
  // Koa reads the charset of a header that is not there by catching an error, which costs as much as reading the store.
  const charset = ctx.get('Content-Type') && ctx.request.charset;
  if (ctx.get('Content-Encoding') || !CHARSETS.has(charset.toLowerCase())) {
    throw new AppError('unsupported_media_type', 'send the body in UTF-8 and without content encoding');
  }
  await next();
};
