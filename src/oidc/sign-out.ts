/**
 * Signing out at the wish of an app (RP-Initiated Logout 1.0), as far as the engine leaves it open: a wish that cannot be verified is
 * a question to the person and leads nowhere afterwards, and one of an app that we trust needs no question.
 */
import type Koa from 'koa';
import type Provider from 'oidc-provider';
import type { Client, KoaContextWithOIDC } from 'oidc-provider';
import { ignoreNotFound } from '../errors.ts';
import { acceptHintWithClientId, hintedClientId } from './id-token-audience.ts';
import type { Sessions } from './sessions.ts';

/** Why a wish is no more than a question, in technical words; for the log. */
type Doubt = string;

/**
 * Takes out of the request what cannot be verified, so that the engine asks in place of refusing. What is wrong with one parameter
 * makes all of them worthless (§4: no redirection after an error).
 */
export async function questionUnverified(ctx: Koa.Context, provider: Provider): Promise<Doubt | undefined> {
  const doubt = await doubtOf(ctx, provider);
  if (doubt === undefined) {
    acceptHintWithClientId(ctx as unknown as KoaContextWithOIDC);
    return undefined;
  }
  const { ui_locales: locales } = ctx.query;
  ctx.query = typeof locales === 'string' ? { ui_locales: locales } : {};
  return doubt;
}

async function doubtOf(ctx: Koa.Context, provider: Provider): Promise<Doubt | undefined> {
  const repeated = Object.entries(ctx.query).find(([, value]) => Array.isArray(value));
  if (repeated) return `${repeated[0]} was sent more than once`;
  const { id_token_hint: hint, client_id: id, post_logout_redirect_uri: uri } = ctx.query as Record<string, string>;
  const hinted = hint === undefined ? undefined : hintedClientId(hint);
  if (hint !== undefined && hinted === undefined) return 'id_token_hint is no ID token for one app';
  if (hinted !== undefined && id !== undefined && id !== hinted) return 'id_token_hint was issued to another client_id';
  const clientId = hinted ?? id;
  if (clientId === undefined) return undefined;
  const client = await provider.Client.find(clientId);
  if (!client) return `there is no app ${clientId}`;
  if (hint !== undefined && !(await isOurs(hint, client, provider)))
    return 'id_token_hint has another issuer, or was not signed by a key of now';
  if (uri !== undefined && !client.postLogoutRedirectUriAllowed(uri))
    return `post_logout_redirect_uri ${uri} is not registered for the app ${clientId}`;
  return undefined;
}

async function isOurs(hint: string, client: Client, provider: Provider): Promise<boolean> {
  return provider.IdToken.validate(hint, client).then(
    () => true,
    () => false,
  );
}

export interface UnaskedSignOutOptions {
  /** Whether people need not be asked on behalf of an app. */
  isTrusted: (clientId: string) => Promise<boolean>;
  endSession: Sessions['end'];
}

/** Signs out who is signed in, when a trusted app proves by an ID token that it means this person in this session. */
export function createUnaskedSignOut({ isTrusted, endSession }: UnaskedSignOutOptions) {
  return async function signOutUnasked(ctx: KoaContextWithOIDC): Promise<boolean> {
    const { session, client, entities, provider, params } = ctx.oidc;
    const hint = entities.IdTokenHint?.payload as { sub?: string; sid?: string } | undefined;
    if (!session?.accountId || !client || !hint || hint.sub !== session.accountId) return false;
    const { sid } = session.authorizations?.[client.clientId] ?? {};
    if (sid === undefined || (hint.sid !== undefined && hint.sid !== sid)) return false;
    if (!(await isTrusted(client.clientId))) return false;

    await endSession(session.accountId, session.uid).catch(ignoreNotFound);
    await session.destroy();
    ctx.cookies.set(provider.cookieName('session'), null);
    provider.emit('end_session.success', ctx);
    ctx.status = 303;
    ctx.redirect(returnTo(params ?? {}) ?? ctx.oidc.urlFor('end_session_success'));
    return true;
  };
}

function returnTo({ post_logout_redirect_uri: uri, state }: Record<string, unknown>): string | undefined {
  if (typeof uri !== 'string') return undefined;
  const url = new URL(uri);
  if (typeof state === 'string') url.searchParams.set('state', state);
  return url.href;
}
