import type { KoaContextWithOIDC } from 'oidc-provider';
import Provider from 'oidc-provider';

/** The request that the engine is answering, wherever in its code this is asked. Its types do not know of it. */
export function currentRequest(): KoaContextWithOIDC | undefined {
  return (Provider as unknown as { ctx: KoaContextWithOIDC | undefined }).ctx;
}
