import { parse } from 'node:querystring';
import { text } from 'node:stream/consumers';
import Router from '@koa/router';
import type Koa from 'koa';
import type { Client } from '../clients/client.ts';
import type { Clients } from '../clients/clients.ts';
import type { JudgeSecret } from '../clients/secret-judge.ts';
import { type ApiKind, CREDENTIAL_KINDS } from '../credentials/kinds.ts';
import type { Verified, Verifier } from '../credentials/verify.ts';
import { AppError } from '../errors.ts';
import { basicCredentials } from '../http/authorization.ts';
import type { EngineTokens } from './access-tokens.ts';
import { ROUTES } from './protocol.ts';

/** No question is longer, in bytes. */
const LONGEST_BODY = 8 * 1024;

export interface IntrospectionRoutesOptions {
  issuer: string;
  clients: Pick<Clients, 'findActive'>;
  verifier: Verifier;
  judgeSecret: JudgeSecret;
  findRefreshToken: EngineTokens['findRefreshToken'];
}

/**
 * Introspection (RFC 7662), answered in front of the engine and as it would: for an app that proves itself by HTTP Basic and sends a
 * form of known length, as client libraries do. All else, failed proofs included, is the engine's.
 */
export function introspectionRoutes({
  issuer,
  clients,
  verifier,
  judgeSecret,
  findRefreshToken,
}: IntrospectionRoutesOptions): Router {
  const router = new Router();

  router.post(ROUTES.introspection, async function introspect(ctx, next) {
    const client = isUsual(ctx) ? await authenticated(ctx) : undefined;
    if (!client) return next();
    const token = tokenIn(await text(ctx.req), client);
    const found = await find(token);
    ctx.set('Cache-Control', 'no-store');
    ctx.body = found && maySee(client, found) ? answerOf(found, issuer) : { active: false };
  });

  async function find(token: string): Promise<Introspected | undefined> {
    const verified = await verifier.introspect(token);
    if (verified) return { ...verified, tokenType: CREDENTIAL_KINDS[verified.kind].api.tokenType };
    return findRefreshToken(token);
  }

  async function authenticated(ctx: Koa.Context): Promise<Client | undefined> {
    const [id, secret] = basicCredentials(ctx.req);
    const client = id === undefined ? undefined : await clients.findActive(id);
    if (!client || secret === undefined) return undefined;
    const digests = client.secrets.map(({ digest }) => digest);
    if (await judgeSecret({ clientId: client.id, digests, presented: secret, source: ctx.ip })) return client;
    // The engine has the words for it, and need not judge again.
    ctx.state.wrongSecret = true;
    return undefined;
  }

  return router;
}

/** A short form of known length, as every client library sends it. */
function isUsual(ctx: Koa.Context): boolean {
  const { length = Number.POSITIVE_INFINITY } = ctx.request;
  return length <= LONGEST_BODY && ctx.is('application/x-www-form-urlencoded') !== false;
}

/**
 * The one token asked about.
 * @throws {AppError} `invalid_request` when it is missing, when anything is repeated, or when the form names another app.
 */
function tokenIn(body: string, client: Client): string {
  const form = parse(body);
  const repeated = Object.keys(form).find((name) => Array.isArray(form[name]));
  if (repeated !== undefined)
    throw new AppError('invalid_request', `${repeated} must not be repeated`, { field: repeated });
  const { token, client_id: clientId, client_secret: secret, client_assertion: assertion } = form;
  if (typeof token !== 'string' || token === '')
    throw new AppError('invalid_request', 'token is missing', { field: 'token' });
  if (clientId !== undefined && clientId !== client.id) {
    throw new AppError('invalid_request', 'client_id mismatch', { field: 'client_id' });
  }
  if (secret !== undefined || assertion !== undefined) {
    throw new AppError('invalid_request', 'client authentication must only be provided using one mechanism');
  }
  return token;
}

/** Tokens issued to itself; an API sees those of all. */
function maySee(client: Client, token: Introspected): boolean {
  return client.introspection || token.client?.id === client.id;
}

/** Whatever kind of token it is; a refresh token has no type (RFC 7662 §2.2). */
type Introspected = Omit<Verified, 'kind' | 'id'> & { id?: string; kind?: ApiKind; tokenType?: string };

/** The members in the order the engine writes them. */
function answerOf(
  { kind, id, account, client, sid, scope, issuedAt, expiresAt, tokenType }: Introspected,
  issuer: string,
) {
  return {
    active: true,
    sub: account?.id,
    client_id: client?.id,
    exp: expiresAt,
    iat: issuedAt,
    sid,
    iss: issuer,
    scope: scope.join(' ') || undefined,
    token_id: kind !== undefined && CREDENTIAL_KINDS[kind].api.isNamed ? id : undefined,
    token_type: tokenType,
  };
}
