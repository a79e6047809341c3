import type Koa from 'koa';
import { koaBody } from 'koa-body';
import { AppError } from '../errors.ts';
import { readMultipart } from './multipart.ts';

/** Bytes. */
const LIMIT = 56 * 1024;

/**
 * Reads an `application/x-www-form-urlencoded` body; anything else is refused before it is read.
 * @param options.fields How many it may have; a name that comes several times has a list of values.
 * @param options.multipart Whether `multipart/form-data` without files will do as well.
 */
export function form({ fields = 100, multipart = false } = {}): Koa.Middleware {
  const parse = koaBody({
    json: false,
    text: false,
    multipart: false,
    formLimit: LIMIT,
    queryString: { depth: 0, parameterLimit: fields, arrayLimit: fields, throwOnLimitExceeded: true } as object,
    onError(error) {
      throw bodyError(error);
    },
  });
  return async function readForm(ctx, next) {
    if (multipart && ctx.is('multipart/form-data')) {
      ctx.request.body = await readMultipart(ctx, { bytes: LIMIT, fields });
      return next();
    }
    if (!ctx.is('application/x-www-form-urlencoded')) {
      throw new AppError('unsupported_media_type', 'send the form as application/x-www-form-urlencoded');
    }
    await parse(ctx, next);
  };
}

function bodyError(error: Error): AppError {
  const tooLarge = (error as { status?: number }).status === 413;
  return tooLarge
    ? new AppError('request_too_large', 'the form is too large', { cause: error })
    : new AppError('invalid_request', 'the form could not be read', { cause: error });
}
