import type Provider from 'oidc-provider';
import type { KoaContextWithOIDC } from 'oidc-provider';

/** The request that the engine is answering, wherever in its code this is asked. Its types do not know of it. */
export function currentRequest(provider: Provider): KoaContextWithOIDC | undefined {
  return (provider.constructor as unknown as { ctx: KoaContextWithOIDC | undefined }).ctx;
}
