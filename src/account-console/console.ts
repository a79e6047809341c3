/**
 * What all pages of the account console share: who is there, what is said once after a change, and how a page is shown. Knows
 * nothing of what the pages are about.
 */
import type Koa from 'koa';
import type { Account } from '../accounts/account.ts';
import { displayName } from '../accounts/account.ts';
import type { Origin } from '../audit.ts';
import type { Views } from '../http/views.ts';
import { CONSOLE_CLIENT_ID, ROUTES } from '../oidc/provider.ts';
import { deviceOf } from './device.ts';
import { whenIn } from './when.ts';

/** Giving a script the right to act in one's name wants a sign-in at most this old, in seconds. */
const RECENT_SIGN_IN = 600;

const NOTICE_COOKIE = 'latchkey-notice';
/** What a page may say once, after the change before it. */
const NOTICES = [
  'token_revoked',
  'form_used',
  'session_ended',
  'sessions_ended',
  'app_removed',
  'password_changed',
  'profile_saved',
] as const;
export type ConsoleNotice = (typeof NOTICES)[number];

/** The pages of the navigation, in its order. */
const SECTIONS = [
  { id: 'profile', href: '/account' },
  { id: 'tokens', href: '/account/tokens' },
  { id: 'sessions', href: '/account/sessions' },
  { id: 'apps', href: '/account/apps' },
  { id: 'security', href: '/account/security' },
] as const;
type Section = (typeof SECTIONS)[number]['id'];

/** Who looks at the console. */
export interface Visitor {
  account: Account;
  /** Of the browser session. */
  uid: string;
  signedInAt: number;
  origin: Origin;
}

export interface ConsolePage {
  section: Section;
  view: string;
  data?: Record<string, unknown>;
}

export interface Console {
  /** A page for who is signed in; anybody else signs in first and comes back to the page, or to what `returnTo` makes of it. */
  signedIn(show: Handler, options?: { returnTo?: (ctx: Koa.Context) => string }): Koa.Middleware;
  /** The same for who has proved lately who they are; anybody else is asked for the password again. */
  recentlySignedIn(show: Handler, options?: { returnTo?: (ctx: Koa.Context) => string }): Koa.Middleware;
  /** After a sign-in: where it was wanted, or the start. */
  finishSignIn: Koa.Middleware;
  render(ctx: Koa.Context, visitor: Visitor, page: ConsolePage): Promise<void>;
  /** Ends a change: the next page says `notice` once. */
  redirect(ctx: Koa.Context, path: string, notice: ConsoleNotice): void;
}

type Handler = (ctx: Koa.Context, visitor: Visitor) => Promise<void>;

export interface ConsoleOptions {
  issuer: string;
  now: () => number;
  views: Views;
  localeOf: (ctx: Koa.Context) => string;
  findSession: (ctx: Koa.Context) => Promise<{ account: Account; signedInAt: number; uid: string } | undefined>;
}

export function createConsole({ issuer, now, views, localeOf, findSession }: ConsoleOptions): Console {
  const visitorOf = async (ctx: Koa.Context): Promise<Visitor | undefined> => {
    const session = await findSession(ctx);
    return session && { ...session, origin: { address: ctx.ip, userAgent: ctx.get('User-Agent') || undefined } };
  };

  function askToSignIn(ctx: Koa.Context, returnTo: string, again: boolean): void {
    if (ctx.method === 'POST') ctx.status = 303;
    ctx.redirect(signInUrl(issuer, returnTo, again));
  }

  return {
    signedIn(show, { returnTo = pageOf } = {}) {
      return async function forSignedIn(ctx) {
        const visitor = await visitorOf(ctx);
        if (!visitor) return askToSignIn(ctx, returnTo(ctx), false);
        await show(ctx, visitor);
      };
    },

    recentlySignedIn(show, { returnTo = pageOf } = {}) {
      return async function forRecentlySignedIn(ctx) {
        const visitor = await visitorOf(ctx);
        if (!visitor) return askToSignIn(ctx, returnTo(ctx), false);
        if (now() - visitor.signedInAt > RECENT_SIGN_IN) return askToSignIn(ctx, returnTo(ctx), true);
        await show(ctx, visitor);
      };
    },

    async finishSignIn(ctx) {
      if (ctx.query.error === undefined) return ctx.redirect(localPath(ctx.query.state, issuer));
      // Who was asked for the password again, and would not, is still signed in.
      if (await visitorOf(ctx)) return ctx.redirect('/account');
      await views.render(ctx, 'interaction/logged-out');
    },

    async render(ctx, { account }, { section, view, data = {} }) {
      const shared = {
        section,
        sections: SECTIONS,
        visitor: { name: displayName(account), email: account.email },
        notice: takeNotice(ctx),
        logoutAction: ROUTES.end_session,
        when: whenIn({ locale: localeOf(ctx), timeZone: account.zoneinfo, now: now() }),
        deviceOf,
      };
      await views.render(ctx, `account/${view}`, { ...shared, ...data });
    },

    redirect(ctx, path, notice) {
      ctx.cookies.set(NOTICE_COOKIE, notice, { ...COOKIE, maxAge: 60_000 });
      ctx.status = 303;
      ctx.redirect(path);
    },
  };
}

const COOKIE = { signed: true, httpOnly: true, sameSite: 'lax', path: '/account', overwrite: true } as const;

function takeNotice(ctx: Koa.Context): ConsoleNotice | undefined {
  const code = ctx.cookies.get(NOTICE_COOKIE, { signed: true });
  if (code === undefined) return undefined;
  ctx.cookies.set(NOTICE_COOKIE, null, COOKIE);
  return NOTICES.find((known) => known === code);
}

/** Every form is answered where its page is. */
function pageOf(ctx: Koa.Context): string {
  return `${ctx.path}${ctx.search}`;
}

/** An authorization request of our own first-party client; it comes back to `/account/callback` with `state`. */
function signInUrl(issuer: string, state: string, again: boolean): string {
  const request = {
    client_id: CONSOLE_CLIENT_ID,
    response_type: 'none',
    scope: 'openid',
    redirect_uri: `${issuer}/account/callback`,
    state,
    ...(again ? { prompt: 'login' } : {}),
  };
  return `${ROUTES.authorization}?${new URLSearchParams(request)}`;
}

/** A path of ours, or the console's start: nothing a link could carry leads elsewhere. */
function localPath(path: unknown, issuer: string): string {
  const url = typeof path === 'string' && path.startsWith('/') ? URL.parse(path, issuer) : null;
  // Looked at as parsed: `/a/..//evil.example` begins like a path of ours and is another site's address.
  const isOurs = url?.origin === issuer && /^\/[A-Za-z0-9]/.test(url.pathname);
  return isOurs ? `${url.pathname}${url.search}` : '/account';
}
