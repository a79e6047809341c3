/**
 * One browser, one session of a person, also when they sign in in several of its tabs at the same instant: then no tab comes with the
 * cookie of the session that another has begun. A cookie set with the first page of a sign-in names the browser, and the session's uid
 * is made from it and from who has proven to be whom; so all of the tabs begin the same session. Whoever plants the cookie in
 * somebody's browser gains nothing: without that person's proof it names no session.
 */
import { hash, randomBytes } from 'node:crypto';
import type Koa from 'koa';
import { cookieName } from './cookie-name.ts';

const beginningCookieOf = (issuer: string) =>
  cookieName(issuer, issuer.startsWith('https:') ? '__Host-latchkey-beginning' : 'latchkey-beginning');

/** 32 bytes in base64url. */
const NAME_OF_BROWSER = /^[\w-]{43}$/;

export function browserNamedIn(ctx: Koa.Context, issuer: string): string | undefined {
  const sent = ctx.cookies.get(beginningCookieOf(issuer), { signed: false });
  return sent !== undefined && NAME_OF_BROWSER.test(sent) ? sent : undefined;
}

/** Those of a browser that is asked on behalf of another one, beside its session's. */
export function beginningCookies(ctx: Koa.Context, issuer: string): Record<string, string> {
  const browser = browserNamedIn(ctx, issuer);
  return browser === undefined ? {} : { [beginningCookieOf(issuer)]: browser };
}

/** Called with a page on which somebody may sign in. A browser that has a name keeps it: other tabs may be on their way with it. */
export function nameBrowser(ctx: Koa.Context, issuer: string): void {
  if (browserNamedIn(ctx, issuer) === undefined) setCookie(ctx, issuer, randomBytes(32).toString('base64url'));
}

/** Called when somebody has signed out: what begins afterwards is another session. */
export function forgetBrowser(ctx: Koa.Context, issuer: string): void {
  if (browserNamedIn(ctx, issuer) !== undefined) setCookie(ctx, issuer, null);
}

function setCookie(ctx: Koa.Context, issuer: string, value: string | null): void {
  const secure = issuer.startsWith('https:');
  ctx.cookies.set(beginningCookieOf(issuer), value, { httpOnly: true, sameSite: 'lax', secure, signed: false });
}

/** What a sign-in stands on: whatever differs here is another session, so that no weaker proof gets into a stronger one's. */
export interface Beginning {
  accountId: string;
  epoch: number;
  /** The app by whose word it is. */
  clientId: string | undefined;
}

export function uidOfBeginning(browser: string, { accountId, epoch, clientId }: Beginning): string {
  return hash('sha256', JSON.stringify([browser, accountId, epoch, clientId ?? null]), 'base64url');
}
