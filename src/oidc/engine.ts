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
import { acceptHintWithClientId } from './id-token-audience.ts';
import { createProvider, type ProviderOptions, ROUTES } from './provider.ts';
import type { SigningKeys } from './signing-keys.ts';

export interface Engine {
  /** Answers the protocol endpoints; passes everything else on. */
  handle: Koa.Middleware;
  /** The engine with the keys and scopes of now. */
  provider(): Promise<Provider>;
  /** The account signed in to this browser, if any. */
  signedInAccount(ctx: Koa.Context): Promise<Account | undefined>;
}

export interface EngineOptions {
  signingKeys: SigningKeys;
  permissions: { names(): Promise<string[]>; version(): Promise<number> };
  settings: Omit<ProviderOptions, 'keys' | 'permissions'>;
}

export function createEngine({ signingKeys, permissions, settings }: EngineOptions): Engine {
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
    current = { version: now, provider, handle: compose(provider.middleware as Koa.Middleware[]) };
    return current;
  }

  return {
    async provider() {
      return (await refresh()).provider;
    },

    async handle(ctx, next) {
      if (ctx.path === ROUTES.end_session) acceptHintWithClientId(ctx as unknown as KoaContextWithOIDC);
      const { handle } = await refresh();
      await handle(ctx, next);
      if (ctx.status === 503) ctx.set('Retry-After', '2');
    },

    async signedInAccount(ctx) {
      const { provider } = await refresh();
      const session = await provider.Session.get(ctx as unknown as KoaContextWithOIDC);
      return session.accountId === undefined ? undefined : settings.findAccount(session.accountId);
    },
  };
}
