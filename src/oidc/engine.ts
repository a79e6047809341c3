/**
 * The protocol engine as the rest of the product sees it: one middleware, the provider of this moment, and the few
 * things done to it from outside. Owns when the engine is made anew: its keys and scopes are fixed when it is constructed,
 * which costs a millisecond, so a change of either swaps the instance behind this handler.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type Koa from 'koa';
import compose from 'koa-compose';
import type Provider from 'oidc-provider';
import type { KoaContextWithOIDC, Session } from 'oidc-provider';
import type { Logger } from 'pino';
import type { Account } from '../accounts/account.ts';
import { cleanLine } from '../accounts/text.ts';
import type { Audit } from '../audit.ts';
import type { Word } from '../clients/sso-policy.ts';
import { type ApiKind, CREDENTIAL_KINDS } from '../credentials/kinds.ts';
import { AppError } from '../errors.ts';
import type { Rule, Throttle } from '../throttle.ts';
import type { AppsAccess } from './app-access.ts';
import { forgetBrowser } from './beginning.ts';
import { collectEvents, recordEvents } from './engine-audit.ts';
import type { Vouched } from './epoch.ts';
import { wasReplaced } from './merging.ts';
import { AMR_SSO, CONSOLE_CLIENT_ID, ROUTES } from './protocol.ts';
import { createProvider, type ProviderOptions, signOutForm } from './provider.ts';
import { createResume } from './resume.ts';
import type { Sessions } from './sessions.ts';
import { questionUnverified } from './sign-out.ts';
import type { SigningKeys } from './signing-keys.ts';

export interface Engine {
  /** Answers the protocol endpoints; passes everything else on. */
  handle: Koa.Middleware;
  /** The engine with the keys and scopes of now. */
  provider(): Promise<Provider>;
  /**
   * Who is signed in to this browser; undefined for nobody. A partner's word is no proof: who came by it has proved nothing themselves.
   */
  browserSession(ctx: Koa.Context): Promise<BrowserSession | undefined>;
  /** The language in their profile. Asks the store nothing for a browser without a session, and writes nothing. */
  profileLocale(ctx: Koa.Context): Promise<string | undefined>;
}

export interface BrowserSession {
  account: Account;
  uid: string;
  /** When they last proved themselves who they are; never is 0. */
  signedInAt: number;
  /** They have not, and have nothing to do it with: neither a password nor an identity provider. */
  hasNoProof: boolean;
  /** The app by whose word the session began. */
  by?: Word | undefined;
}

/** Wrong proofs of being an app from one source, for any app. Secrets cannot be guessed; this stops the noise. */
export const REFUSED_CLIENTS: Rule = { name: 'client-authentication', limit: 100, window: 60 };

/** What these answer is made of the keys and settings alone: they go on when the store is out of reach. */
const STATIC_DOCUMENTS: ReadonlySet<string> = new Set([
  '/.well-known/openid-configuration',
  '/.well-known/oauth-authorization-server',
  ROUTES.jwks,
]);

/** Milliseconds that they wait for the store. */
const PATIENCE_MS = 200;

export interface EngineOptions {
  log: Logger;
  audit: Audit;
  throttle: Throttle;
  signingKeys: SigningKeys;
  /** Lets the forms of a page end at an app's URI, as those of `form_post` and of signing out do. */
  allowFormTarget: (ctx: Koa.Context, uri: string) => void;
  permissions: { names(): Promise<string[]>; version(): Promise<number> };
  /** Whether somebody can show who they are without a partner: by a password, or elsewhere. */
  hasOwnProof: (account: Account) => Promise<boolean>;
  /** Hears of everybody who comes with a session. */
  noteVisit: Sessions['noteVisit'];
  endSession: Sessions['end'];
  /** Hears of every use that an app makes of what it was given. */
  noteAppUse: AppsAccess['noteUse'];
  settings: Omit<ProviderOptions, 'keys' | 'permissions'>;
}

export function createEngine(options: EngineOptions): Engine {
  const { audit, throttle, signingKeys, permissions, settings, allowFormTarget, log } = options;
  const beforeResume = createResume({ audit, endSession: options.endSession, wordOfPartner: AMR_SSO });
  let current: { version: string; provider: Provider; handle: Koa.Middleware } | undefined;

  async function version(): Promise<string> {
    const [generation, scopes] = await Promise.all([signingKeys.generation(), permissions.version()]);
    return `${generation} ${scopes}`;
  }

  async function refresh() {
    const now = await version();
    if (current?.version === now) return current;
    // Read after the version: should something change in between, the next request makes the engine anew.
    const [{ keys }, names] = await Promise.all([signingKeys.load(), permissions.names()]);
    const provider = createProvider({ ...settings, keys, permissions: names });
    collectEvents(provider);
    current = { version: now, provider, handle: compose(provider.middleware as Koa.Middleware[]) };
    return current;
  }

  /** The one of now, or the last one when the store does not answer soon. */
  async function latest() {
    if (!current) return refresh();
    const known = current;
    return Promise.race([refresh().catch(() => known), sleep(PATIENCE_MS, known, { ref: false })]);
  }

  /** @throws {AppError} `too_many_requests` beyond the limit. */
  async function countRefusedClient(ctx: Koa.Context): Promise<void> {
    await throttle.consume(REFUSED_CLIENTS, { source: ctx.ip });
    await audit.record({
      type: 'client_refused',
      address: ctx.ip,
      clientId: (ctx as unknown as KoaContextWithOIDC).oidc.client?.clientId,
    });
  }

  async function questionSignOut(ctx: Koa.Context, provider: Provider): Promise<void> {
    const doubt = await questionUnverified(ctx, provider);
    ctx.state.isUnverified = doubt !== undefined;
    if (doubt !== undefined) log.info({ problem: doubt }, 'a sign-out that cannot be verified becomes a question');
  }

  /** Where no page says it: what an app was refused, and the address that it sent, for whoever has to put it right. */
  function noteRefusal({ oidc, status, state }: KoaContextWithOIDC): void {
    if (status < 400 || status >= 500 || !AUTHENTICATED_ROUTES.has(oidc?.route ?? '')) return;
    const {
      error,
      error_description: said,
      error_detail: detail = said,
    } = (state.failure ?? {}) as Partial<EngineError>;
    const { redirect_uri: uri } = oidc.params ?? {};
    const sent = typeof uri === 'string' ? { redirectUri: cleanLine(uri, 300) } : {};
    log.info({ route: oidc.route, client: oidc.client?.clientId, code: error, detail, ...sent }, 'request refused');
  }

  async function notePerson(ctx: KoaContextWithOIDC): Promise<void> {
    const { uid, accountId, destroyed } = (ctx.oidc?.session ?? {}) as Partial<Session> & { destroyed?: boolean };
    if (uid === undefined || accountId === undefined || destroyed) return;
    await options.noteVisit({ uid, accountId, ...sourceOf(ctx) });
  }

  async function noteApp({ oidc, status }: KoaContextWithOIDC): Promise<void> {
    const { AccessToken, RefreshToken, AuthorizationCode } = oidc?.entities ?? {};
    const { accountId, clientId } = AccessToken ?? RefreshToken ?? AuthorizationCode ?? {};
    if (status === 200 && accountId && clientId) await options.noteAppUse(accountId, clientId);
  }

  return {
    async provider() {
      return (await refresh()).provider;
    },

    async handle(ctx, next) {
      const context = ctx as unknown as KoaContextWithOIDC;
      const isStatic = STATIC_DOCUMENTS.has(ctx.path) || ctx.method === 'OPTIONS';
      const { handle, provider } = isStatic ? await latest() : await refresh();
      if (ctx.path.startsWith(`${ROUTES.authorization}/`)) await beforeResume(ctx, provider);
      if (ctx.path === ROUTES.end_session) await questionSignOut(ctx, provider);
      await handle(ctx, next);
      if (isOwnRequest(context)) throwFailure(ctx);
      if (isSignOutOfNobody(context)) await settings.pages.nobodySignedIn(context, signOutForm(context));
      hideFromNullOrigin(ctx);
      keepNewerCookie(ctx, context);
      if (hasSignedOut(context)) forgetBrowser(ctx, settings.issuer);
      const target = formTargetOf(context);
      if (target !== undefined) allowFormTarget(ctx, target);
      describeOtherToken(context);
      await notePerson(context);
      await noteApp(context);
      await recordEvents(context, audit);
      noteRefusal(context);
      if (isClientRefused(context)) await countRefusedClient(ctx);
      if (isToWait(ctx) && !ctx.response.get('Retry-After')) ctx.set('Retry-After', String(secondsToWait(ctx)));
    },

    async profileLocale(ctx) {
      const provider = current?.provider;
      const id = provider && ctx.cookies.get(provider.cookieName('session'), { signed: false });
      const session = id ? await provider.Session.find(id) : undefined;
      const { accountId, uid, epoch } = (session ?? {}) as Partial<Session & Vouched>;
      if (accountId === undefined || uid === undefined) return undefined;
      return (await settings.findProven(accountId, { uid, epoch }))?.locale;
    },

    async browserSession(ctx) {
      const { provider } = await refresh();
      const session = await provider.Session.get(ctx as unknown as KoaContextWithOIDC);
      const { accountId, loginTs = 0, uid, amr, epoch, by } = session as Session & Vouched;
      // Only requests of apps may still be on their way with an id that has been replaced.
      if (wasReplaced(session)) return undefined;
      const account = accountId === undefined ? undefined : await settings.findProven(accountId, { uid, epoch });
      if (!account) return undefined;
      ctx.state.profileLocale = account.locale;
      await options.noteVisit({ uid, accountId: account.id, ...sourceOf(ctx) });
      const isWordOfPartner = amr?.includes(AMR_SSO) === true;
      const hasNoProof = isWordOfPartner && !(await options.hasOwnProof(account));
      return { account, uid, signedInAt: isWordOfPartner ? 0 : loginTs, hasNoProof, by };
    },
  };
}

/** An app is told of our trouble at its own address; our own pages would only be told what we know. */
function isOwnRequest({ oidc, status }: KoaContextWithOIDC): boolean {
  return oidc?.client?.clientId === CONSOLE_CLIENT_ID && status < 400;
}

/** @throws what was no fault of the request. */
function throwFailure(ctx: Koa.Context): void {
  const failure = ctx.state.failure as (Error & { expose?: boolean }) | undefined;
  if (!failure || (failure.expose && !(failure.cause instanceof AppError))) return;
  for (const name of ['Location', 'Set-Cookie']) ctx.remove(name);
  throw failure;
}

/** `error_detail` is not for the app. */
type EngineError = Record<'error' | 'error_description' | 'error_detail', string | undefined>;

const isToWait = ({ status }: Koa.Context) => status === 429 || status === 503;

/** What the refusal of ours says that is inside the engine's error. */
function secondsToWait({ state }: Koa.Context): number {
  const { cause } = (state.failure ?? {}) as Error;
  return cause instanceof AppError ? (cause.retryAfter ?? 2) : 2;
}

function sourceOf(ctx: Pick<Koa.Context, 'ip' | 'get'>): { address: string; userAgent: string | undefined } {
  return { address: ctx.ip, userAgent: ctx.get('User-Agent') || undefined };
}

/** A request that came with an id of the session that was replaced meanwhile: the browser has the new one, and keeps it. */
function keepNewerCookie(ctx: Koa.Context, { oidc }: KoaContextWithOIDC): void {
  if (!oidc?.session || !wasReplaced(oidc.session)) return;
  const name = oidc.provider.cookieName('session');
  const lines = [ctx.response.get('Set-Cookie')].flat().filter(Boolean);
  const others = lines.filter((line) => !line.startsWith(`${name}=`) && !line.startsWith(`${name}.sig=`));
  ctx.remove('Set-Cookie');
  if (others.length > 0) ctx.set('Set-Cookie', others);
}

function hasSignedOut({ oidc }: KoaContextWithOIDC): boolean {
  return (oidc?.session as { destroyed?: boolean } | undefined)?.destroyed === true;
}

/** A sandboxed frame or a local file is no app's page; the engine would let it read what carries no app's name. */
function hideFromNullOrigin(ctx: Koa.Context): void {
  if (ctx.get('Origin') === 'null' && !STATIC_DOCUMENTS.has(ctx.path)) ctx.remove('Access-Control-Allow-Origin');
}

/** The engine's own page for them sends itself, and says nothing. */
function isSignOutOfNobody({ oidc, status }: KoaContextWithOIDC): boolean {
  return oidc?.route === 'end_session' && status === 200 && oidc.session?.accountId === undefined;
}

/** The app's URI that a page of the engine leads to, once the engine has found it registered. */
function formTargetOf({ oidc, status }: KoaContextWithOIDC): string | undefined {
  if (oidc?.redirectUriCheckPerformed) return String(oidc.params?.redirect_uri);
  const uri = oidc?.route === 'end_session' && status === 200 ? oidc.params?.post_logout_redirect_uri : undefined;
  return typeof uri === 'string' ? uri : undefined;
}

/** Where apps prove who they are, a 401 says that one did not (RFC 6749 §5.2), as JSON or as a page. */
const AUTHENTICATED_ROUTES: ReadonlySet<string> = new Set([
  'token',
  'introspection',
  'revocation',
  'pushed_authorization_request',
]);

function isClientRefused({ status, oidc }: KoaContextWithOIDC): boolean {
  return status === 401 && AUTHENTICATED_ROUTES.has(oidc?.route ?? '');
}

/** Introspection of what the engine did not issue: it is no bearer token of an app's. */
function describeOtherToken(ctx: KoaContextWithOIDC): void {
  if (ctx.oidc?.route !== 'introspection') return;
  const { token_id: id, token_kind: kind, client_id: _, jti: __, ...answer } = (ctx.body ?? {}) as Introspection;
  if (kind === undefined) return;
  const { isNamed, tokenType } = CREDENTIAL_KINDS[kind].api;
  ctx.body = { ...answer, ...(isNamed ? { token_id: id } : {}), token_type: tokenType };
}

type Introspection = Record<string, unknown> & { token_kind?: ApiKind };
