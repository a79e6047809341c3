import type Koa from 'koa';
import { AppError } from '../errors.ts';

/** What an API's client is told: the fields of RFC 6750 §3.1, and those that existing clients read. */
const ANSWERS = {
  invalid_token: { error: 'invalid_token', errorCode: '401', errorMsg: 'Missing or invalid token.' },
  expired_token: { error: 'invalid_token', errorCode: '600', errorMsg: 'The sent token is expired.' },
  insufficient_scope: { error: 'insufficient_scope', errorCode: '403', errorMsg: 'The token may not do this.' },
} as const;

/**
 * Answers a request whose credential will not do, with a challenge for both schemes (RFC 9110 §11.6.1).
 * @throws whatever else `error` is.
 */
export function refuseCredential(ctx: Koa.Context, { error, issuer }: { error: unknown; issuer: string }): void {
  if (!(error instanceof AppError) || !(error.code in ANSWERS)) throw error;
  const { error: code, errorCode, errorMsg } = ANSWERS[error.code as keyof typeof ANSWERS];
  const realm = `realm="${issuer}"`;
  ctx.status = error.status;
  ctx.set('WWW-Authenticate', `Bearer ${realm}, error="${code}", error_description="${error.message}", Token ${realm}`);
  ctx.set('Cache-Control', 'no-store');
  ctx.body = { error: code, error_description: error.message, errorCode, errorMsg };
}
