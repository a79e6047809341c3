import type Koa from 'koa';
import { koaBody } from 'koa-body';
import type { z } from 'zod';
import { AppError } from '../errors.ts';

const LIMIT = '56kb';

/** Reads an `application/x-www-form-urlencoded` body; anything else is refused before it is read. */
export function form(): Koa.Middleware {
  const parse = koaBody({
    json: false,
    text: false,
    multipart: false,
    formLimit: LIMIT,
    queryString: { depth: 0, parameterLimit: 100, throwOnLimitExceeded: true } as object,
    onError(error) {
      throw bodyError(error);
    },
  });
  return async function readForm(ctx, next) {
    if (!ctx.is('application/x-www-form-urlencoded') || ctx.get('Content-Encoding')) {
      throw new AppError('unsupported_media_type', 'send the form as application/x-www-form-urlencoded');
    }
    await parse(ctx, next);
  };
}

/** @throws {AppError} `invalid_request` naming the first field at fault. */
export function parseForm<S extends z.ZodType>(ctx: Koa.Context, schema: S): z.infer<S> {
  const parsed = schema.safeParse({ ...(ctx.request.body as object) });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = String(issue?.path[0] ?? 'body');
  throw new AppError('invalid_request', `${field} ${issue?.message}`, { field });
}

function bodyError(error: Error): AppError {
  const tooLarge = (error as { status?: number }).status === 413;
  return tooLarge
    ? new AppError('request_too_large', 'the form is too large', { cause: error })
    : new AppError('invalid_request', 'the form could not be read', { cause: error });
}
