/**
 * What the pages of both consoles share: who is there, what is said once after a change, and how a page is shown. Knows
 * nothing of what the pages are about.
 */
import type Koa from 'koa';
import type { z } from 'zod';
import type { Account } from '../accounts/account.ts';
import { displayName } from '../accounts/account.ts';
import type { Origin } from '../audit.ts';
import { AppError } from '../errors.ts';
import type { Views } from '../http/views.ts';
import { cookieName } from '../oidc/cookie-name.ts';
import { CONSOLE_CLIENT_ID, ROUTES } from '../oidc/protocol.ts';
import type { Storage } from '../storage/storage.ts';
import { createFormTokens, FORM_TOKEN } from './form-tokens.ts';
import { whenIn } from './format-time.ts';
import { createKeptForms, type Fields } from './kept-forms.ts';

const START = '/account';

/** Who looks at a console. */
export interface Visitor {
  account: Account;
  /** Of the browser session. */
  uid: string;
  signedInAt: number;
  /** Came by a partner's word, and has nothing to prove with who they are. */
  hasNoProof: boolean;
  /** The app by whose word the session began. */
  by?: { clientId: string } | undefined;
  origin: Origin;
  /** The form of this page as they had sent it, before they had to show anew who they are. */
  kept?: Fields | undefined;
}

/** What a page is filled with that was sent before, as far as it fits. */
export function keptIn<S extends z.ZodType>({ kept }: Visitor, schema: S): z.output<S> | undefined {
  return kept && schema.safeParse(kept).data;
}

/** What one console is made of. */
export interface ConsolePlan<Section extends string, Notice extends string> {
  /** The first part of its paths, and the folder of its views. */
  name: string;
  /** The pages of the navigation, in its order. */
  sections: readonly { id: Section; href: string }[];
  /** What a page may say once, after the change before it. */
  notices: readonly Notice[];
  /** What wants a recent sign-in wants one at most this old, in seconds. */
  recentSignIn: number;
  /** Refuses who may not be here, at each request. @throws {AppError} */
  admit?(account: Account): void;
  /** For its views. */
  helpers?: Record<string, unknown>;
}

export interface ConsolePage<Section extends string> {
  section: Section;
  view: string;
  data?: Record<string, unknown>;
}

export interface Console<Section extends string, Notice extends string> {
  /** A page for who is signed in; anybody else signs in first and comes back to the page, or to what `returnTo` makes of it. */
  signedIn(show: Handler, options?: { returnTo?: (ctx: Koa.Context) => string }): Koa.Middleware;
  /** The same for who has proved lately who they are; anybody else is asked for the password again, and finds their form filled. */
  recentlySignedIn(
    show: Handler,
    options?: {
      returnTo?: (ctx: Koa.Context) => string;
      /** Who has nothing to prove with who they are may do it too: it makes nothing that outlives their sign-in. */
      withoutProof?: boolean;
    },
  ): Koa.Middleware;
  /** After a sign-in: where it was wanted, or the start. */
  finishSignIn: Koa.Middleware;
  render(ctx: Koa.Context, visitor: Visitor, page: ConsolePage<Section>): Promise<void>;
  /** Ends a change: the next page says `notice` once. */
  redirect(ctx: Koa.Context, path: string, notice: Notice): void;
}

type Handler = (ctx: Koa.Context, visitor: Visitor) => Promise<void>;

export interface ConsoleOptions {
  issuer: string;
  now: () => number;
  storage: Storage;
  views: Views;
  localeOf: (ctx: Koa.Context) => string;
  /** Whether only the form itself can say that it comes from a page of ours. */
  hidesOrigin: (ctx: Koa.Context) => boolean;
  formKeys: readonly Uint8Array[];
  findSession: (ctx: Koa.Context) => Promise<Omit<Visitor, 'origin' | 'kept'> | undefined>;
}

export function createConsole<Section extends string, Notice extends string>(
  { name, sections, notices, recentSignIn, admit, helpers }: ConsolePlan<Section, Notice>,
  { issuer, now, storage, views, localeOf, hidesOrigin, formKeys, findSession }: ConsoleOptions,
): Console<Section, Notice> {
  const keptForms = createKeptForms({ storage });
  const formTokens = createFormTokens({ keys: formKeys });
  const noticeCookie = cookieName(issuer, 'latchkey-notice');
  const cookie = { signed: true, httpOnly: true, sameSite: 'lax', path: `/${name}`, overwrite: true } as const;

  const visitorOf = async (ctx: Koa.Context): Promise<Visitor | undefined> => {
    const session = await findSession(ctx);
    const provesItself = session !== undefined && formTokens.prove(ctx.request.body, session.uid);
    if (ctx.method === 'POST' && hidesOrigin(ctx) && !provesItself) throw unproven();
    if (session) admit?.(session.account);
    return session && { ...session, origin: { address: ctx.ip, userAgent: ctx.get('User-Agent') || undefined } };
  };

  function askToSignIn(ctx: Koa.Context, returnTo: string, again: boolean): void {
    if (ctx.method === 'POST') ctx.status = 303;
    ctx.redirect(signInUrl(issuer, returnTo, again));
  }

  /** To be asked for a password that one does not have would lead nowhere. */
  async function refuseWithoutProof(ctx: Koa.Context, { account }: Visitor): Promise<void> {
    ctx.status = 403;
    await views.render(ctx, 'account/no-proof', {
      email: account.email || displayName(account),
      logoutAction: ROUTES.end_session,
    });
  }

  function takeNotice(ctx: Koa.Context): Notice | undefined {
    const code = ctx.cookies.get(noticeCookie, { signed: true });
    if (code === undefined) return undefined;
    ctx.cookies.set(noticeCookie, null, cookie);
    return notices.find((known) => known === code);
  }

  return {
    signedIn(show, { returnTo = pageOf } = {}) {
      return async function forSignedIn(ctx) {
        const visitor = await visitorOf(ctx);
        if (!visitor) return askToSignIn(ctx, returnTo(ctx), false);
        await show(ctx, visitor);
      };
    },

    recentlySignedIn(show, { returnTo = pageOf, withoutProof = false } = {}) {
      return async function forRecentlySignedIn(ctx) {
        const visitor = await visitorOf(ctx);
        if (!visitor) return askToSignIn(ctx, returnTo(ctx), false);
        if (visitor.hasNoProof && !withoutProof) return refuseWithoutProof(ctx, visitor);
        if (!visitor.hasNoProof && now() - visitor.signedInAt > recentSignIn) {
          if (ctx.method === 'POST') await keptForms.keep(visitor, ctx.path, ctx.request.body);
          return askToSignIn(ctx, returnTo(ctx), true);
        }
        const kept = ctx.method === 'GET' ? await keptForms.take(visitor, ctx.path) : undefined;
        await show(ctx, { ...visitor, kept });
      };
    },

    async finishSignIn(ctx) {
      const { error } = ctx.query;
      if (error === undefined) return ctx.redirect(localPath(ctx.query.state, issuer));
      if (error !== 'access_denied') throw unfinished(error);
      // Who was asked for the password again, and would not, is still signed in.
      if (await visitorOf(ctx)) return ctx.redirect(START);
      await views.render(ctx, 'interaction/logged-out');
    },

    async render(ctx, { account, uid, kept }, { section, view, data = {} }) {
      const shared = {
        section,
        sections,
        visitor: { name: displayName(account), email: account.email, administrator: account.administrator },
        notice: kept ? 'form_kept' : takeNotice(ctx),
        logoutAction: ROUTES.end_session,
        when: whenIn({ locale: localeOf(ctx), timeZone: account.zoneinfo, now: now() }),
        ...helpers,
      };
      await views.render(ctx, `${name}/${view}`, { ...shared, ...data });
      ctx.body = formTokens.intoForms(String(ctx.body), uid);
    },

    redirect(ctx, path, notice) {
      ctx.cookies.set(noticeCookie, notice, { ...cookie, maxAge: 60_000 });
      ctx.status = 303;
      ctx.redirect(path);
    },
  };
}

function unproven(): AppError {
  const detail = 'nothing shows that this form comes from one of our own pages; open its page and send it again';
  return new AppError('access_denied', detail, { field: FORM_TOKEN });
}

/** Nobody said no: the sign-in could not be carried out. */
function unfinished(error: unknown): AppError {
  if (error === 'temporarily_unavailable')
    return new AppError('temporarily_unavailable', 'the sign-in could not be carried out; try again in a moment');
  return new AppError('interaction_expired', 'the sign-in could not be finished; begin again');
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

/** A path of ours, or the start: nothing a link could carry leads elsewhere. */
function localPath(path: unknown, issuer: string): string {
  const url = typeof path === 'string' && path.startsWith('/') ? URL.parse(path, issuer) : null;
  // Looked at as parsed: `/a/..//evil.example` begins like a path of ours and is another site's address.
  const isOurs = url?.origin === issuer && /^\/[A-Za-z0-9]/.test(url.pathname);
  return isOurs ? `${url.pathname}${url.search}` : START;
}
