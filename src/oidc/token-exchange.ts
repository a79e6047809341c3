/**
 * Token exchange (RFC 8693) at the token endpoint: the standard way of swapping a token of an identity provider for one of
 * ours. Owns the wire format only; what counts is decided by the exchange.
 */
import type Provider from 'oidc-provider';
import type { KoaContextWithOIDC } from 'oidc-provider';
import { errors } from 'oidc-provider';
import type { Exchange, Exchanged, ExchangeRefused } from '../exchange/exchange.ts';
import { outage } from './adapter.ts';

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const SUBJECT_TOKEN_TYPES = new Set([
  ACCESS_TOKEN,
  'urn:ietf:params:oauth:token-type:id_token',
  'urn:ietf:params:oauth:token-type:jwt',
]);

/** Whatever else RFC 8693 §2.1 has is known, so that it is refused rather than passed over. */
const PARAMETERS = [
  'subject_token',
  'subject_token_type',
  'subject_issuer',
  'requested_token_type',
  'actor_token',
  'actor_token_type',
  'audience',
  'resource',
  'scope',
];

export function registerTokenExchange(provider: Provider, exchange: Exchange['forClient']): void {
  provider.registerGrantType(
    TOKEN_EXCHANGE,
    async function exchangeToken(ctx: KoaContextWithOIDC) {
      const outcome = await outage(exchange({ ...requestOf(ctx), origin: { address: ctx.ip } }));
      if (outcome.outcome !== 'exchanged') throw refusal(outcome);
      ctx.body = answerOf(outcome);
    },
    PARAMETERS,
    [],
  );
}

function requestOf({ oidc }: KoaContextWithOIDC) {
  const { params = {}, client } = oidc;
  const textOf = (name: string) => (params[name] === undefined ? undefined : String(params[name]));
  const required = (name: string) => {
    const value = textOf(name);
    if (value) return value;
    throw new errors.InvalidRequest(`${name} is missing`);
  };
  const providerToken = required('subject_token');
  if (!SUBJECT_TOKEN_TYPES.has(required('subject_token_type')))
    throw new errors.InvalidRequest('subject_token_type must be that of an access token, an ID token or a JWT');
  if ((textOf('requested_token_type') ?? ACCESS_TOKEN) !== ACCESS_TOKEN)
    throw new errors.InvalidRequest('requested_token_type must be that of an access token');
  if (textOf('actor_token') !== undefined) throw new errors.InvalidRequest('actor_token is not supported');
  if (textOf('audience') !== undefined || textOf('resource') !== undefined) throw new errors.InvalidTarget();
  const scope = textOf('scope')?.split(' ').filter(Boolean);
  return {
    clientId: String(client?.clientId),
    identityProviderId: required('subject_issuer'),
    providerToken,
    scope: scope && [...new Set(scope)],
  };
}

/** RFC 8693 §2.2.1 */
function answerOf({ accessToken, expiresIn, scope }: Exchanged) {
  return {
    access_token: accessToken,
    issued_token_type: ACCESS_TOKEN,
    token_type: 'Bearer',
    expires_in: expiresIn,
    scope: scope.join(' ') || undefined,
  };
}

/** A subject token that will not do, for whatever reason, makes the request invalid (RFC 8693 §2.2.2). */
const REASONS = {
  token_invalid: 'the subject token is invalid',
  audience_mismatch: 'the subject token was issued to another app',
  token_expired: 'the subject token has expired',
  no_account: 'the person of the subject token has no account here',
  account_not_approved: 'the account of this person is not active',
} as const;

function refusal({ outcome }: ExchangeRefused): Error {
  if (outcome in REASONS) return new errors.InvalidRequest(REASONS[outcome as keyof typeof REASONS]);
  if (outcome === 'scope_refused') return new errors.InvalidScope('the app or the person may not have this', '');
  if (outcome !== 'provider_unavailable')
    return new errors.UnauthorizedClient('the app has no app token for this subject_issuer');
  const unavailable = new errors.CustomOIDCProviderError(
    'temporarily_unavailable',
    'the identity provider does not answer',
  );
  return Object.assign(unavailable, { status: 503, statusCode: 503, expose: true });
}
