/**
 * The one place where a failure becomes an answer: a page for people, JSON in RFC 6749 §5.2 form for programs. Every failure
 * carries a reference that its log line carries too.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type Koa from 'koa';
import type { Logger } from 'pino';
import { AppError, type ErrorCode, type WayOn } from '../errors.ts';
import type { Views } from './views.ts';

export interface ErrorReport {
  code: string;
  status: number;
  /** What was wrong, in technical words; absent when that is not for the caller. */
  detail?: string | undefined;
  cause?: unknown;
  /** Where the person may go on; their account when absent. */
  wayOn?: WayOn | undefined;
}

export interface ErrorAnswers {
  /** Outermost middleware: answers whatever fails below, and what nobody answered. */
  handle: Koa.Middleware;
  /** Answers with the error page and logs it. */
  renderPage(ctx: Koa.Context, report: ErrorReport): Promise<void>;
}

export interface ErrorAnswersOptions {
  views: Views;
  log: Logger;
  /** The language in the profile of who is signed in to the browser. */
  profileLocale: (ctx: Koa.Context) => Promise<string | undefined>;
}

/** Milliseconds that a page waits to learn whose it is. */
const PATIENCE_MS = 500;

export function createErrorAnswers({ views, log, profileLocale }: ErrorAnswersOptions): ErrorAnswers {
  const noted = new WeakSet<object>();

  function note(ctx: Koa.Context, { code, status, detail, cause }: ErrorReport): string {
    noted.add(ctx.req);
    const reference = randomBytes(5).toString('hex');
    const line = {
      reference,
      code,
      status,
      method: ctx.method,
      route: ctx._matchedRoute ?? withoutIds(ctx.path),
      detail,
      err: cause,
    };
    if (status >= 500) log.error(line, 'request failed');
    else log.info(line, 'request refused');
    return reference;
  }

  function noteOwn(ctx: Koa.Context, { code, status, cause }: AppError): void {
    if (status >= 500) note(ctx, { code, status, cause });
  }

  /** Many fail before anybody has asked who is there. What is our trouble may come of not being able to ask. */
  async function learnLocale(ctx: Koa.Context, status: number): Promise<void> {
    if (status >= 500 || 'profileLocale' in ctx.state) return;
    const asked = profileLocale(ctx).catch(() => undefined);
    ctx.state.profileLocale = await Promise.race([asked, sleep(PATIENCE_MS, undefined, { ref: false })]);
  }

  async function renderPage(ctx: Koa.Context, report: ErrorReport): Promise<void> {
    const reference = note(ctx, report);
    await learnLocale(ctx, report.status);
    ctx.status = report.status;
    const { code, status, detail, wayOn } = report;
    // What may be over soon is worth another try; only a page that was asked for can be asked for again.
    const again = status >= 429 && ctx.method === 'GET';
    await views.render(ctx, 'error', { code, status, detail, reference, wayOn, again });
  }

  async function answer(ctx: Koa.Context, error: AppError): Promise<void> {
    const { code, status, wayOn } = error;
    const detail = code === 'server_error' ? undefined : error.message;
    if (status === 401) ctx.set('WWW-Authenticate', code === 'invalid_client' ? 'Basic' : 'Bearer, Token');
    if (status === 503 || error.retryAfter !== undefined) ctx.set('Retry-After', String(error.retryAfter ?? 2));
    ctx.set('Cache-Control', 'no-store');
    const report = { code, status, detail, wayOn, cause: error.cause ?? (status >= 500 ? error : undefined) };
    if (ctx.accepts('json', 'html') === 'html') return renderPage(ctx, report);
    const reference = note(ctx, report);
    ctx.status = status;
    ctx.body = { error: code, error_description: detail, field: error.field, reference };
  }

  return {
    renderPage,
    async handle(ctx, next) {
      try {
        await next();
        if (ctx.status === 404 && ctx.body === undefined)
          throw new AppError('not_found', 'there is nothing at this address');
        if (ctx.status === 405 && !ctx.body)
          throw new AppError('method_not_allowed', `${ctx.method} is not possible here`);
        // The protocol engine answers its failures itself, and leaves what happened in `ctx.state.failure`.
        const { status, body, state } = ctx;
        if (noted.has(ctx.req)) return;
        if (status >= 500 && body?.error) note(ctx, { code: body.error, status, cause: state.failure });
        // It may also have sent the browser back to the app with it.
        else if (status < 400 && state.failure !== undefined) noteOwn(ctx, asAppError(state.failure));
      } catch (error) {
        await answer(ctx, asAppError(error));
      }
    },
  };
}

/** A path fit for the log: that of an interaction, for one, is known only to who is in it. */
function withoutIds(path: string): string {
  return path.slice(0, 200).replace(/[\w-]{20,}/g, ':id');
}

/**
 * Errors of Koa and its middlewares carry a status, those of the engine may wrap one of ours; any other is a defect of ours and
 * shows nothing of itself.
 */
function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const { status = 500, expose = false, cause } = error as { status?: number; expose?: boolean; cause?: unknown };
  if (cause instanceof AppError) return cause;
  const code = CODE_OF_STATUS[status];
  return code && expose
    ? new AppError(code, 'the request could not be understood', { cause: error })
    : new AppError('server_error', 'unexpected', { cause: error });
}

const CODE_OF_STATUS: Record<number, ErrorCode> = {
  400: 'invalid_request',
  404: 'not_found',
  405: 'method_not_allowed',
  413: 'request_too_large',
  415: 'unsupported_media_type',
};
