import { decodeJwt } from 'jose';
import type { KoaContextWithOIDC } from 'oidc-provider';

/**
 * The engine takes `offline_access` out of every request that does not have `prompt=consent`. OpenID Connect Core §11 asks for the
 * person's consent, not for the page: it may have been given before, be given now, or not be needed. So it is put back, and decided
 * upon like every other scope.
 */
export function keepOfflineAccess({ oidc, query }: KoaContextWithOIDC): void {
  const { params, client, body, entities } = oidc;
  const pushed = entities.PushedAuthorizationRequest?.request;
  const sent = pushed === undefined ? (body ?? query).scope : decodeJwt(pushed).scope;
  const scopes = typeof sent === 'string' ? sent.split(' ') : [];
  const isForCode = String(params?.response_type).split(' ').includes('code');
  if (!params || !isForCode || !scopes.includes('offline_access') || !client?.grantTypeAllowed('refresh_token')) return;
  params.scope = [...new Set(scopes)].join(' ');
}
