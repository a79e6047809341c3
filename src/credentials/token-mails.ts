/** What owners of personal tokens are told by mail: of a new token, of one that ends soon, of one that others have. */
import { isIP } from 'node:net';
import type { Account } from '../accounts/account.ts';
import type { Mail } from '../mail/mail.ts';
import type { Notice } from '../mail/notice.ts';
import type { TokenNews } from './personal-tokens.ts';

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
  return async function tell(news: TokenNews): Promise<void> {
    const account = await findAccount(news.token.accountId);
    if (!account?.email) return;
    const { id: accountId, email: to, locale, zoneinfo } = account;
    await send({ to, accountId, locale, zoneinfo, notice: noticeOf(news, deviceInWords) });
  };
}

function noticeOf(news: TokenNews, deviceInWords: TokenMailsOptions['deviceInWords']): Notice {
  const { description, hint, scope, expiresAt } = news.token;
  const named = { description, hint };
  if (news.kind === 'token_expires') {
    const count = Math.max(1, Math.ceil((news.expiresAt - news.at) / DAY));
    return { kind: news.kind, ...named, expiresAt: news.expiresAt, lastUsedAt: news.lastUsedAt, count };
  }
  const { address = '', userAgent } = news.origin;
  const device = deviceInWords(userAgent);
  const event = { at: news.at, ...(isIP(address) ? { address } : {}), ...(device ? { device } : {}) };
  if (news.kind === 'token_created')
    return { kind: news.kind, ...named, scope, expiresAt: expiresAt ?? null, ...event };
  return { kind: news.kind, ...named, ...event };
}
