/**
 * What the engine does that people and administrators must be able to look up later. The engine tells by events that nobody
 * waits for, so they are collected on the request and written before it is answered.
 */
import type Provider from 'oidc-provider';
import type { KoaContextWithOIDC } from 'oidc-provider';
import type { Audit, AuditEventType } from '../audit.ts';
import { TokenReplayed } from './adapter.ts';

type Collected = Parameters<Audit['record']>[0];

const collected = new WeakMap<object, Collected[]>();

/** Collects the engine's events of every request. */
export function collectEvents(provider: Provider): void {
  provider.on('grant.error', (ctx, error) => {
    if (error instanceof TokenReplayed) note(ctx, 'token_reuse_detected', error.accountId);
  });
  provider.on('end_session.success', (ctx) => note(ctx, 'sign_out'));
  for (const event of FAILURES) {
    // The events are many, their types one.
    provider.on(event as 'server_error', (ctx, error) => {
      ctx.state.failure = error;
    });
  }
}

/** What the engine says when it answers with an error, as JSON or by sending the browser back to the app. */
const FAILURES = [
  'server_error',
  'authorization.error',
  'grant.error',
  'introspection.error',
  'pushed_authorization_request.error',
  'revocation.error',
  'userinfo.error',
];

/** Writes what was collected; a failure is the request's. */
export async function recordEvents(ctx: KoaContextWithOIDC, audit: Audit): Promise<void> {
  if (ctx.oidc?.route === 'revocation' && ctx.status === 200 && revokedToken(ctx)) note(ctx, 'token_revoked');
  for (const event of collected.get(ctx.req) ?? []) await audit.record(event);
}

function note(ctx: KoaContextWithOIDC, type: AuditEventType, accountId?: string): void {
  const { entities, session, client } = ctx.oidc;
  const token = entities.RefreshToken ?? entities.AccessToken;
  const event: Collected = {
    type,
    accountId: accountId ?? token?.accountId ?? session?.accountId,
    clientId: client?.clientId,
    address: ctx.ip,
    userAgent: ctx.get('User-Agent') || undefined,
  };
  collected.set(ctx.req, [...(collected.get(ctx.req) ?? []), event]);
}

function revokedToken({ oidc }: KoaContextWithOIDC): boolean {
  const { AccessToken, RefreshToken, ClientCredentials } = oidc.entities;
  const token = AccessToken ?? RefreshToken ?? ClientCredentials;
  return token !== undefined && token.clientId === oidc.client?.clientId;
}
