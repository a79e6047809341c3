/**
 * The browser of a partner's user arrives, by one of two doors: `/sso/login`, a page that posts itself, so that whoever only looks at
 * the link uses nothing up; or an authorization request with `sso_token`, answered at once.
 */
import Router from '@koa/router';
import type Koa from 'koa';
import type { InteractionResults } from 'oidc-provider';
import { z } from 'zod';
import { type Account, displayName } from '../accounts/account.ts';
import type { Audit } from '../audit.ts';
import type { Client } from '../clients/client.ts';
import type { Word } from '../clients/sso-policy.ts';
import { AppError, ignoreNotFound } from '../errors.ts';
import { form } from '../http/form.ts';
import { sameOrigin } from '../http/same-origin.ts';
import { allowFormTarget } from '../http/security-headers.ts';
import type { Views } from '../http/views.ts';
import { parseInput } from '../input.ts';
import { nameBrowser } from '../oidc/beginning.ts';
import type { Consents } from '../oidc/consents.ts';
import { type Form, queryOf } from '../oidc/form-request-routes.ts';
import type { Answer, AuthorizeInline } from '../oidc/inline-authorization.ts';
import { ACR_SSO, AMR_SSO, CONSOLE_CLIENT_ID, ROUTES } from '../oidc/protocol.ts';
import type { Sessions } from '../oidc/sessions.ts';
import { nextWithin } from './next.ts';
import type { SignIn, SsoSignIn } from './sso-sign-in.ts';

/** What a partner knows of its user anyway, and so nobody is asked to allow. */
const KNOWN_TO_PARTNER = ['openid', 'profile', 'email'];

const LoginForm = z.object({ token: z.string(), next: z.string().optional(), switch: z.literal('yes').optional() });
const AuthorizationQuery = z.object({ sso_token: z.string(), client_id: z.string() });

/** Somebody whose browser brings a token that is good. */
interface Arrival extends SignIn {
  token: string;
}

export interface SsoBrowserRoutesOptions {
  issuer: string;
  now: () => number;
  views: Views;
  audit: Audit;
  ssoSignIn: SsoSignIn;
  authorizeInline: AuthorizeInline;
  consents: Pick<Consents, 'remember'>;
  sessions: Pick<Sessions, 'end' | 'noteSignedInBy'>;
  /** Who is signed in to the browser. */
  findSession: (ctx: Koa.Context) => Promise<{ account: Account; uid: string; by?: Word | undefined } | undefined>;
  /** An app as its pages show it. */
  describe: (client: Client) => object;
}

export function ssoBrowserRoutes(options: SsoBrowserRoutesOptions): Router {
  const { issuer, now, views, audit, ssoSignIn, authorizeInline, consents, sessions, findSession } = options;
  const router = new Router();

  router.get('/sso/login', async function showSignIn(ctx) {
    const { token, next } = parseInput(LoginForm, ctx.query);
    const arrival = await peek(token);
    nameBrowser(ctx, issuer);
    await show(ctx, arrival, {
      next: nextWithin(next, { issuer, ...arrival }),
      other: await somebodyElse(ctx, arrival),
    });
  });

  // Whoever was given a token knows all of the form, and must not make others switch from a page of their own.
  const provenWithoutOrigin = async (ctx: Koa.Context) => (await findSession(ctx)) === undefined;
  router.post(
    '/sso/login',
    sameOrigin({ issuer, provenByForm: true, provenWithoutOrigin }),
    form(),
    async function signInByForm(ctx) {
      const sent = parseInput(LoginForm, ctx.request.body);
      const arrival = await peek(sent.token);
      const next = nextWithin(sent.next, { issuer, ...arrival });
      const other = sent.switch === 'yes' ? undefined : await somebodyElse(ctx, arrival);
      if (other) return show(ctx, arrival, { next, other });
      const answer = await signIn(ctx, {
        token: arrival.token,
        query: new URLSearchParams(ownRequest(issuer)),
        arrival,
      });
      if (answer.sessionUid === undefined) return answer.send();
      answer.sendCookies();
      ctx.set('Cache-Control', 'no-store');
      ctx.status = 303;
      ctx.redirect(next.href);
    },
  );

  router.get(ROUTES.authorization, async function authorizeAtOnce(ctx, next) {
    if (ctx.query.sso_token === undefined) return next();
    ctx.set('Cache-Control', 'no-store');
    if (isOnlyLooking(ctx)) return answerNothing(ctx);
    const { sso_token: token, client_id: clientId } = parseInput(AuthorizationQuery, ctx.query);
    const query = new URLSearchParams(ctx.querystring);
    query.delete('sso_token');
    const arrival = await peek(token, clientId).catch(unlessRefused);
    const other = arrival && (await somebodyElse(ctx, arrival));
    if (arrival && other && query.get('prompt') !== 'none') {
      return show(ctx, arrival, { next: withoutSignIn(issuer, query), other });
    }
    const answer = other ? await refuseOther(ctx, query) : await signIn(ctx, { token, query, arrival, clientId });
    answer.send();
  });

  // Its form has been read. Cookies do not come with a form of another site; they do with the one that this page posts.
  router.post(ROUTES.authorization, async function authorizeByPage(ctx) {
    const { sso_token: token, client_id: clientId } = parseInput(AuthorizationQuery, ctx.request.body);
    const query = queryOf(ctx.request.body as Form);
    query.delete('sso_token');
    await show(ctx, await peek(token, clientId), { next: withoutSignIn(issuer, query), other: undefined });
  });

  /** The app learns that a page would have been needed, and nothing is used up. */
  function refuseOther(ctx: Koa.Context, query: URLSearchParams): Promise<Answer> {
    const error_description = 'somebody else is signed in to this browser';
    const prove = async () => ({ error: 'account_selection_required', error_description });
    return authorizeInline(ctx, { query, keepSession: false, prove });
  }

  /** @throws {AppError} `sso_token_used`, `access_denied` */
  async function peek(token: string, clientId?: string): Promise<Arrival> {
    return { ...(await ssoSignIn.look(token, clientId)), token };
  }

  async function somebodyElse(ctx: Koa.Context, { account }: SignIn): Promise<Account | undefined> {
    const session = await findSession(ctx);
    return session && session.account.id !== account.id ? session.account : undefined;
  }

  /** Posts itself, unless somebody else is signed in: then it asks. */
  async function show(
    ctx: Koa.Context,
    { token, account, client }: Arrival,
    { next, other }: { next: URL; other: Account | undefined },
  ): Promise<void> {
    // The form ends where `next` is, and may go on from there to the app.
    for (const uri of [next.href, ...client.redirectUris]) allowFormTarget(ctx, uri);
    await views.render(ctx, 'sso/login', {
      client: options.describe(client),
      token,
      next: next.href,
      account: shown(account),
      other: other && shown(other),
    });
  }

  /** Answers an authorization request of somebody who is signed in by it. */
  async function signIn(
    ctx: Koa.Context,
    {
      token,
      query,
      arrival,
      clientId,
    }: {
      token: string;
      query: URLSearchParams;
      arrival: SignIn | undefined;
      /** The app whose own request it is. */
      clientId?: string;
    },
  ) {
    const session = await findSession(ctx);
    const isThere = session !== undefined && session.account.id === arrival?.account.id;
    let signedIn: SignIn | undefined;

    async function prove(): Promise<InteractionResults> {
      const origin = { address: ctx.ip, userAgent: ctx.get('User-Agent') || undefined };
      const { account, client, word } = await ssoSignIn.redeem(token, origin, clientId);
      if (session && !isThere) {
        await sessions.end(session.account.id, session.uid).catch(ignoreNotFound);
        await audit.record({ ...origin, type: 'sign_out', accountId: session.account.id });
      }
      const scopesByWord = [...KNOWN_TO_PARTNER, ...ssoSignIn.scopeFor(client, account)];
      await consents.remember({ accountId: account.id, clientId: client.id, epoch: account.epoch, scopesByWord });
      signedIn = { account, client };
      const login = { accountId: account.id, epoch: account.epoch, acr: ACR_SSO, amr: [AMR_SSO], ts: now() };
      // What the person began themselves does not end with the app's right to sign them in, and what another app began ends with its own.
      const by = isThere ? session.by : word;
      return { login: by ? { ...login, by } : login };
    }

    const answer = await authorizeInline(ctx, {
      query,
      keepSession: isThere,
      prove: () => (clientId === undefined ? prove() : prove().catch(asRefusal)),
    });
    if (signedIn !== undefined && answer.sessionUid !== undefined && !isThere) {
      const { account, client } = signedIn;
      await sessions.noteSignedInBy(answer.sessionUid, { accountId: account.id, clientId: client.id });
    }
    return answer;
  }

  return router;
}

const shown = (account: Account) => ({ name: displayName(account), email: account.email });

/** An authorization request of our own first-party client, for signing in and nothing else. */
function ownRequest(issuer: string): Record<string, string> {
  return {
    client_id: CONSOLE_CLIENT_ID,
    response_type: 'none',
    scope: 'openid',
    redirect_uri: `${issuer}/account/callback`,
  };
}

/** The app's request as it goes on once the person is signed in. */
function withoutSignIn(issuer: string, query: URLSearchParams): URL {
  const url = new URL(ROUTES.authorization, issuer);
  url.search = query.toString();
  const prompt = (query.get('prompt') ?? '').split(' ').filter((each) => each === 'consent' || each === 'none');
  url.searchParams.delete('prompt');
  if (prompt.length > 0) url.searchParams.set('prompt', prompt.join(' '));
  return url;
}

/** How browsers say that they fetch ahead of a person (Fetch: `Sec-Purpose`), older ones included. */
const PURPOSES = ['Sec-Purpose', 'Purpose', 'X-Purpose', 'X-Moz'];

/** Whoever fetches a link ahead of a person, or looks at its headers, uses nothing up. */
function isOnlyLooking(ctx: Koa.Context): boolean {
  return ctx.method === 'HEAD' || PURPOSES.some((name) => /prefetch|prerender|preview/i.test(ctx.get(name)));
}

function answerNothing(ctx: Koa.Context): void {
  ctx.status = 204;
}

/** The app is told that its user was not signed in. @throws whatever else it is. */
function asRefusal(error: unknown): InteractionResults {
  unlessRefused(error);
  return { error: 'access_denied', error_description: (error as AppError).message };
}

function unlessRefused(error: unknown): undefined {
  const isRefusal = error instanceof AppError && (error.code === 'sso_token_used' || error.code === 'access_denied');
  if (!isRefusal) throw error;
}
