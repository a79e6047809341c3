import type Koa from 'koa';
import { koaBody } from 'koa-body';
import { AppError } from '../errors.ts';

/** Reads an `application/json` body, which is an object; anything else is refused. */
export function json(): Koa.Middleware {
  const parse = koaBody({
    urlencoded: false,
    text: false,
    multipart: false,
    jsonLimit: '56kb',
    jsonStrict: true,
    onError(error) {
      const tooLarge = (error as { status?: number }).status === 413;
      throw tooLarge
        ? new AppError('request_too_large', 'the body is too large', { cause: error })
        : new AppError('invalid_request', 'the body is not JSON', { cause: error });
    },
  });
  return async function readJson(ctx, next) {
    if (!ctx.is('application/json')) {
      throw new AppError('unsupported_media_type', 'send application/json');
    }
    await parse(ctx, next);
  };
}
