/**
 * Every failure this product answers with: a code from a closed list, and the HTTP status it has everywhere.
 * The message is for the caller; `cause` is for the log.
 */
export const STATUS_OF = {
  invalid_request: 400,
  invalid_grant: 400,
  invalid_scope: 400,
  interaction_expired: 400,
  cookies_missing: 400,
  sso_token_used: 400,
  invalid_client: 401,
  invalid_token: 401,
  expired_token: 401,
  login_required: 401,
  access_denied: 403,
  setup_closed: 403,
  insufficient_scope: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  request_too_large: 413,
  unsupported_media_type: 415,
  too_many_requests: 429,
  server_error: 500,
  temporarily_unavailable: 503,
} as const;

export type ErrorCode = keyof typeof STATUS_OF;

/** A link: to an app by its name, or to a page of ours. */
export interface WayOn {
  href: string;
  app?: string | undefined;
}

/** What is wrong with a field, for pages, which say it in the words of their language. */
export type Reason = 'short' | 'long' | 'common' | 'close' | 'broken';

export interface ErrorDetails {
  /** The input field at fault, by its wire name. */
  field?: string;
  /** What is wrong with it, where there is more than one thing. */
  reason?: Reason;
  /** Where who sees this as a page may go on; their account when absent. */
  wayOn?: WayOn | undefined;
  /** Whole seconds after which trying again makes sense (RFC 9110 §10.2.3). */
  retryAfter?: number;
  /** What really happened; logged, never sent. */
  cause?: unknown;
}

/** A failure the caller may see; the message is for programs and their developers, in English. Anything else that is thrown becomes `server_error` without its message. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly field: string | undefined;
  readonly reason: Reason | undefined;
  readonly retryAfter: number | undefined;
  readonly wayOn: WayOn | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'AppError';
    this.code = code;
    this.field = details.field;
    this.reason = details.reason;
    this.retryAfter = details.retryAfter;
    this.wayOn = details.wayOn;
  }

  get status(): number {
    return STATUS_OF[this.code];
  }
}

/** For what was to end and has ended meanwhile. @throws whatever else it is. */
export function ignoreNotFound(error: unknown): void {
  if (!(error instanceof AppError) || error.code !== 'not_found') throw error;
}

/** @param id As it was sent; of a long one its beginning is enough. */
export function noSuch(what: string, id: string): AppError {
  return new AppError('not_found', `there is no ${what} ${JSON.stringify(id.slice(0, 100))}`);
}
