import type { AdapterPayload } from 'oidc-provider';
import type { Client } from '../clients/client.ts';
import { isNativeRedirectUri } from '../clients/redirect-uri.ts';
import { OPENID_SCOPES } from './claims.ts';
import { TOKEN_EXCHANGE } from './token-exchange.ts';

/** An app as the engine wants it (OIDC Dynamic Client Registration §2). */
export function toMetadata(client: Client): AdapterPayload {
  const browser = client.redirectUris.length > 0;
  return {
    client_id: client.id,
    client_name: client.name,
    epoch: client.epoch,
    application_type: client.public && client.redirectUris.some(isNativeRedirectUri) ? 'native' : 'web',
    token_endpoint_auth_method: authMethod(client),
    // Digests; the engine's comparison is replaced by one of digests.
    ...(client.secrets.length > 0 ? { client_secret: client.secrets.map(({ digest }) => digest).join(' ') } : {}),
    ...(client.jwks ? { jwks: client.jwks } : {}),
    redirect_uris: client.redirectUris,
    post_logout_redirect_uris: client.postLogoutRedirectUris,
    response_types: [...(browser ? ['code', 'none'] : []), ...(client.implicit ? ['id_token', 'id_token token'] : [])],
    grant_types: [
      ...(browser ? ['authorization_code', 'refresh_token'] : []),
      ...(client.implicit ? ['implicit'] : []),
      ...(client.clientCredentials ? ['client_credentials'] : []),
      // Whether it has an app token is asked when it comes with somebody's token.
      ...(client.public ? [] : [TOKEN_EXCHANGE]),
    ],
    scope: [...OPENID_SCOPES, ...client.permissions].join(' '),
    id_token_signed_response_alg: client.idTokenSigningAlg,
    ...(client.backchannelLogoutUri
      ? { backchannel_logout_uri: client.backchannelLogoutUri, backchannel_logout_session_required: true }
      : {}),
    ...(client.logoUri ? { logo_uri: client.logoUri } : {}),
    ...(client.clientUri ? { client_uri: client.clientUri } : {}),
    ...(client.policyUri ? { policy_uri: client.policyUri } : {}),
    ...(client.tosUri ? { tos_uri: client.tosUri } : {}),
  } as AdapterPayload;
}

function authMethod(client: Client): string {
  if (client.public) return 'none';
  return client.jwks ? 'private_key_jwt' : 'client_secret_basic';
}
