import Router from '@koa/router';
import type Koa from 'koa';
import { type Account, displayName } from '../accounts/account.ts';
import type { PersonalTokens } from '../credentials/personal-tokens.ts';
import type { Verified } from '../credentials/verify.ts';
import { AppError } from '../errors.ts';
import { refuseCredential } from '../http/credential-errors.ts';
import { json } from '../http/json.ts';
import { sameOrigin } from '../http/same-origin.ts';
import { parseInput } from '../input.ts';
import type { Callers, TokenManager } from './caller.ts';
import { CreateToken, RotateToken, toTokenRecord } from './token-schemas.ts';

/** Making a token wants a sign-in at most this old, in seconds. */
const RECENT_SIGN_IN = 600;

export interface ApiRoutesOptions {
  issuer: string;
  now: () => number;
  callers: Callers;
  personalTokens: PersonalTokens;
  findOrganization: (id: string | undefined) => Promise<{ id: string; name: string } | undefined>;
}

export function apiRoutes({ issuer, now, callers, personalTokens, findOrganization }: ApiRoutesOptions): Router {
  const router = new Router({ prefix: '/api' });
  const guard = sameOrigin({ issuer });

  router.use(async function answerRefusals(ctx, next) {
    ctx.set('Cache-Control', 'no-store');
    await next().catch((error) => refuseCredential(ctx, { error, issuer }));
  });

  router.get('/me', async function showCaller(ctx) {
    const { kind, id, account, client, scope } = await callers.verified(ctx);
    const organization = await findOrganization(account?.organizationId ?? client?.organizationId);
    ctx.body = {
      sub: account?.id ?? client?.id,
      email: account?.email || undefined,
      name: account ? displayName(account) : client?.name,
      organization,
      scope: scope.join(' '),
      credential: { kind, id, client_id: client?.id },
    };
  });

  router.get('/tokens', async function listTokens(ctx) {
    const { account } = await callers.tokenManager(ctx);
    ctx.body = (await personalTokens.list(account.id)).map(toTokenRecord);
  });

  router.post('/tokens', async function createToken(ctx) {
    const account = await recentManager(ctx);
    const { expires_in: expiresIn, ...wanted } = parseInput(CreateToken, await bodyOf(ctx));
    const { token, record } = await personalTokens.create(account, { ...wanted, expiresIn }, originOf(ctx));
    ctx.status = 201;
    ctx.body = { ...toTokenRecord(record), token };
  });

  router.get('/tokens/self', async function showSelf(ctx) {
    const { id, account } = await personalToken(ctx);
    const record = (await personalTokens.list(account.id)).find((token) => token.id === id);
    ctx.body = record && toTokenRecord(record);
  });

  router.delete('/tokens/self', async function revokeSelf(ctx) {
    const { id, account } = await personalToken(ctx);
    await personalTokens.revoke(account.id, id, originOf(ctx));
    ctx.status = 204;
  });

  router.post('/tokens/:id/rotate', async function rotateToken(ctx) {
    const account = await recentManager(ctx);
    const { overlap } = parseInput(RotateToken, await bodyOf(ctx));
    const { token, record } = await personalTokens.rotate(account, String(ctx.params.id), {
      overlap,
      origin: originOf(ctx),
    });
    ctx.status = 201;
    ctx.body = { ...toTokenRecord(record), token };
  });

  router.delete('/tokens/:id', async function revokeToken(ctx) {
    const { account } = await manager(ctx);
    await personalTokens.revoke(account.id, String(ctx.params.id), originOf(ctx));
    ctx.status = 204;
  });

  /** A session travels by itself, so what it changes must come from our own pages. */
  async function manager(ctx: Koa.Context): Promise<TokenManager> {
    const found = await callers.tokenManager(ctx);
    if (found.session) await guard(ctx, async () => {});
    return found;
  }

  async function recentManager(ctx: Koa.Context): Promise<Account> {
    const { account, session, isByWord } = await manager(ctx);
    if (isByWord) {
      throw new AppError(
        'login_required',
        "this sign-in is an app's word: making a token wants one by a password or an identity provider",
      );
    }
    if (session && now() - session.signedInAt > RECENT_SIGN_IN) {
      throw new AppError(
        'login_required',
        'sign in again first: making a token wants a sign-in of the last 10 minutes',
      );
    }
    return account;
  }

  async function personalToken(ctx: Koa.Context): Promise<Verified & { account: Account }> {
    const { account, ...verified } = await callers.verified(ctx);
    if (verified.kind !== 'personal_token' || !account) {
      throw new AppError('insufficient_scope', 'this is for personal tokens only');
    }
    return { ...verified, account };
  }

  return router;
}

const readJson = json();

async function bodyOf(ctx: Koa.Context): Promise<unknown> {
  await readJson(ctx, async () => {});
  return ctx.request.body;
}

function originOf(ctx: Koa.Context) {
  return { address: ctx.ip, userAgent: ctx.get('User-Agent') || undefined };
}
