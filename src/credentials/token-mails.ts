/** What owners of personal tokens are told by mail: of a new token, of one that ends soon, of one that others have. */
import { isIP } from 'node:net';
import type { Account } from '../accounts/account.ts';
import type { Mail } from '../mail/mail.ts';
import type { Notice } from '../mail/notice.ts';
import type { TokenEvent } from './personal-tokens.ts';

const DAY = 24 * 60 * 60;

export interface TokenMailsOptions {
  send: Mail['send'];
  /** Undefined for who may not act now, and is not written to. */
  findAccount: (id: string) => Promise<Account | undefined>;
  /** What a User-Agent says, in words. */
  deviceInWords: (userAgent: string | undefined) => string | undefined;
}

/** @throws {AppError} `temporarily_unavailable` when the mail could not be queued. */
export function createTokenMails({ send, findAccount, deviceInWords }: TokenMailsOptions) {
  return async function notify(event: TokenEvent): Promise<void> {
    const account = await findAccount(event.token.accountId);
    if (!account?.email) return;
    const { id: accountId, email: to, locale, zoneinfo } = account;
    await send({ to, accountId, locale, zoneinfo, notice: noticeOf(event, deviceInWords) });
  };
}

function noticeOf(event: TokenEvent, deviceInWords: TokenMailsOptions['deviceInWords']): Notice {
  const { description, hint, scope, expiresAt } = event.token;
  const named = { description, hint };
  if (event.kind === 'token_expires') {
    const count = Math.max(1, Math.ceil((event.expiresAt - event.at) / DAY));
    return { kind: event.kind, ...named, expiresAt: event.expiresAt, lastUsedAt: event.lastUsedAt, count };
  }
  const { address = '', userAgent } = event.origin;
  const device = deviceInWords(userAgent);
  const moment = { at: event.at, ...(isIP(address) ? { address } : {}), ...(device ? { device } : {}) };
  if (event.kind === 'token_created')
    return { kind: event.kind, ...named, scope, expiresAt: expiresAt ?? null, ...moment };
  return { kind: event.kind, ...named, ...moment };
}
