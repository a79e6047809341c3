/**
 * The protocol engine as the rest of the product sees it: one middleware, the provider of this moment, and the few
 * things done to it from outside. Owns when the engine is made anew: its keys and scopes are fixed when it is constructed,
 * which costs a millisecond, so a change of either swaps the instance behind this handler.
 */
import type Koa from 'koa';
import compose from 'koa-compose';
import type Provider from 'oidc-provider';
import type { KoaContextWithOIDC } from 'oidc-provider';
import type { Account } from '../accounts/account.ts';
import type { Audit } from '../audit.ts';
import type { Rule, Throttle } from '../http/rate-limit.ts';
import { acceptHintWithClientId } from './id-token-audience.ts';
import { createProvider, type ProviderOptions, ROUTES } from './provider.ts';
import type { SigningKeys } from './signing-keys.ts';
import { watch, writeTrail } from './trail.ts';

export interface Engine {
  /** Answers the protocol endpoints; passes everything else on. */
  handle: Koa.Middleware;
  /** The engine with the keys and scopes of now. */
  provider(): Promise<Provider>;
  /** The account signed in to this browser, if any. */
  signedInAccount(ctx: Koa.Context): Promise<Account | undefined>;
}

/** Wrong proofs of being an app from one source, for any app. Secrets cannot be guessed; this stops the noise. */
const REFUSED_CLIENTS: Rule = { name: 'client-authentication', limit: 100, window: 60 };

/** What these answer is made of the keys and settings alone: they go on when the store is out of reach. */
const STATIC_DOCUMENTS: ReadonlySet<string> = new Set([
  '/.well-known/openid-configuration',
  '/.well-known/oauth-authorization-server',
  ROUTES.jwks,
]);

export interface EngineOptions {
  audit: Audit;
  throttle: Throttle;
  signingKeys: SigningKeys;
  /** Lets the forms of a page end at an app's URI, as those of `form_post` and of signing out do. */
  allowFormTarget: (ctx: Koa.Context, uri: string) => void;
  permissions: { names(): Promise<string[]>; version(): Promise<number> };
  settings: Omit<ProviderOptions, 'keys' | 'permissions'>;
}

export function createEngine(options: EngineOptions): Engine {
  const { audit, throttle, signingKeys, permissions, settings, allowFormTarget } = options;
  let current: { version: string; provider: Provider; handle: Koa.Middleware } | undefined;

  async function version(): Promise<string> {
    const [generation, scopes] = await Promise.all([signingKeys.generation(), permissions.version()]);
    return `${generation} ${scopes}`;
  }

  async function refresh({ mayBeStale = false } = {}) {
    const now = await version().catch((error) => {
      if (!mayBeStale || !current) throw error;
      return current.version;
    });
    if (current?.version === now) return current;
    // Read after the version: should something change in between, the next request makes the engine anew.
    const [{ keys }, names] = await Promise.all([signingKeys.load(), permissions.names()]);
    const provider = createProvider({ ...settings, keys, permissions: names });
    watch(provider);
    current = { version: now, provider, handle: compose(provider.middleware as Koa.Middleware[]) };
    return current;
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

  return {
    async provider() {
      return (await refresh()).provider;
    },

    async handle(ctx, next) {
      const context = ctx as unknown as KoaContextWithOIDC;
      // A sandboxed frame or a local file is no app; the engine would let it read answers.
      if (ctx.get('Origin') === 'null') delete ctx.req.headers.origin;
      if (ctx.path === ROUTES.end_session) acceptHintWithClientId(context);
      const { handle } = await refresh({ mayBeStale: STATIC_DOCUMENTS.has(ctx.path) });
      await handle(ctx, next);
      const target = formTargetOf(context);
      if (target !== undefined) allowFormTarget(ctx, target);
      await writeTrail(context, audit);
      if (isClientRefused(ctx)) await countRefusedClient(ctx);
      if (ctx.status === 503) ctx.set('Retry-After', '2');
    },

    async signedInAccount(ctx) {
      const { provider } = await refresh();
      const session = await provider.Session.get(ctx as unknown as KoaContextWithOIDC);
      return session.accountId === undefined ? undefined : settings.findAccount(session.accountId);
    },
  };
}

/** The app's URI that a page of the engine leads to, once the engine has found it registered. */
function formTargetOf({ oidc, status }: KoaContextWithOIDC): string | undefined {
  if (oidc?.redirectUriCheckPerformed) return String(oidc.params?.redirect_uri);
  const uri = oidc?.route === 'end_session' && status === 200 ? oidc.params?.post_logout_redirect_uri : undefined;
  return typeof uri === 'string' ? uri : undefined;
}

function isClientRefused(ctx: Koa.Context): boolean {
  return ctx.status === 401 && (ctx.body as { error?: string } | undefined)?.error === 'invalid_client';
}
