import Router from '@koa/router';
import type Koa from 'koa';
import type { Audit } from '../audit.ts';
import { AppError } from '../errors.ts';
import { tokenOf } from '../http/authorization.ts';
import { form } from '../http/form.ts';
import type { Rule, Throttle } from '../throttle.ts';
import type { Exchange, ExchangeOutcome, ExchangeRefused } from './exchange.ts';

/** Tokens that are none, from one source. They cannot be guessed; this stops the noise, and spares the identity providers. */
const REFUSED_TOKENS: Rule = { name: 'exchange', limit: 100, window: 60 };

/** The provider that stands in the answer when the app token is at fault. */
const APP_TOKEN = 'APP_TOKEN_GILES';

export interface RestRoutesOptions {
  issuer: string;
  exchange: Exchange;
  throttle: Throttle;
  audit: Audit;
}

/** `POST /rest/token`: an app's server swaps its user's token for one of ours. The answers are those that clients of Giles read. */
export function restRoutes({ issuer, exchange, throttle, audit }: RestRoutesOptions): Router {
  const router = new Router();

  router.all('/rest/token', async function exchangeToken(ctx) {
    ctx.set('Cache-Control', 'no-store');
    if (ctx.method !== 'POST') {
      ctx.set('Allow', 'POST');
      throw new AppError('method_not_allowed', 'tokens are exchanged by POST');
    }
    const outcome = await exchange.byAppToken({
      appToken: appTokenIn(ctx),
      readProviderToken: () => providerTokenIn(ctx),
      origin: { address: ctx.ip, userAgent: ctx.get('User-Agent') || undefined },
    });
    if (isNoise(outcome)) await countRefused(ctx, outcome);
    answer(ctx, outcome);
  });

  /** @throws {AppError} `too_many_requests` beyond the limit. */
  async function countRefused(ctx: Koa.Context, { outcome }: ExchangeOutcome): Promise<void> {
    await throttle.consume(REFUSED_TOKENS, { source: ctx.ip });
    await audit.record({ type: 'client_refused', address: ctx.ip, detail: { exchange: outcome } });
  }

  function answer(ctx: Koa.Context, outcome: ExchangeOutcome): void {
    if (outcome.outcome === 'exchanged') {
      const { accessToken: token, expiresIn } = outcome;
      ctx.body = { authentication: 'success', token, expires_in: expiresIn, token_type: 'Bearer' };
      return;
    }
    const { status, errorCode, errorMsg } = answerTo(outcome);
    ctx.status = status;
    if (status === 401) ctx.set('WWW-Authenticate', `Token realm="${issuer}"`);
    if (status === 503) ctx.set('Retry-After', String(outcome.retryAfter ?? 2));
    ctx.body = { provider: outcome.identityProviderId?.toUpperCase() ?? APP_TOKEN, errorCode, errorMsg };
  }

  return router;
}

const INVALID = { status: 401, errorCode: '401', errorMsg: 'Missing or invalid token.' };

const ANSWERS: Partial<Record<ExchangeRefused['outcome'], typeof INVALID>> = {
  app_token_invalid: INVALID,
  app_token_revoked: { status: 401, errorCode: '401', errorMsg: 'REVOKED' },
  token_invalid: INVALID,
  audience_mismatch: { status: 401, errorCode: '401', errorMsg: 'AUDIENCE_MISMATCH' },
  token_expired: { status: 401, errorCode: '600', errorMsg: 'The sent token is expired.' },
  no_account: { status: 403, errorCode: '403', errorMsg: "The user doesn't seem to have an account." },
  account_not_approved: {
    status: 403,
    errorCode: '403',
    errorMsg: 'The user account you are using has not been approved. Please contact an administrator.',
  },
  provider_unavailable: { status: 503, errorCode: '503', errorMsg: 'The identity provider does not answer.' },
};

function answerTo({ outcome }: ExchangeRefused): typeof INVALID {
  return ANSWERS[outcome] ?? INVALID;
}

/** What no honest app sends often. People whose tokens have expired or who have no account are the ordinary case. */
function isNoise({ outcome }: ExchangeOutcome): boolean {
  return outcome === 'app_token_invalid' || outcome === 'app_token_revoked' || outcome === 'token_invalid';
}

/** Only after the scheme `token`, in any case (RFC 9110 §11.1). */
function appTokenIn(ctx: Koa.Context): string | undefined {
  return /^token /i.test(ctx.get('Authorization')) ? tokenOf(ctx.req) : undefined;
}

const readForm = form({ multipart: true });

/**
 * Undefined when it is missing or empty. What stands in the URL, and so in logs, is not read.
 * @throws {AppError} as the form does, or `invalid_request` when it came more than once.
 */
async function providerTokenIn(ctx: Koa.Context): Promise<string | undefined> {
  const isEmpty = !ctx.request.length && ctx.get('Transfer-Encoding') === '';
  if (isEmpty) return undefined;
  await readForm(ctx, async () => {});
  const { providerToken } = ctx.request.body as { providerToken?: string | string[] };
  const isTwice = Array.isArray(providerToken) || (providerToken !== undefined && 'providerToken' in ctx.query);
  if (isTwice)
    throw new AppError('invalid_request', 'send providerToken once, in the form', { field: 'providerToken' });
  return providerToken || undefined;
}
