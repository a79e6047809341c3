/**
 * The exchange of a token that a person has from an identity provider for an access token of ours. Owns the order in which it
 * can fail, from the app's proof to the account. Knows neither the wire formats that it is asked in nor how a token of ours is made.
 */
import { type Account, permissionsOf } from '../accounts/account.ts';
import type { Audit, Origin } from '../audit.ts';
import type { Client } from '../clients/client.ts';
import type { Word } from '../clients/sso-policy.ts';
import type { AppTokens } from '../credentials/app-tokens.ts';
import { audienceOf, type IdentityProvider } from '../identity-providers/identity-provider.ts';
import type { IdentityProviders } from '../identity-providers/identity-providers.ts';
import type { ProviderTokens } from '../identity-providers/provider-tokens.ts';
import type { ResolveAccount } from '../identity-providers/resolve-account.ts';
import { ProviderUnavailable, type TokenCheck } from '../identity-providers/token-verifier.ts';

/** Seconds an access token lives unless its app says otherwise. */
const LIFETIME = 60 * 60;

export type ExchangeOutcome = Exchanged | ExchangeRefused;

export interface Exchanged {
  outcome: 'exchanged';
  /** An ordinary access token of ours, for the app to act as the account. */
  accessToken: string;
  expiresIn: number;
  scope: string[];
}

export interface ExchangeRefused {
  outcome:
    | 'app_token_invalid'
    | 'app_token_revoked'
    | 'token_invalid'
    | 'audience_mismatch'
    | 'token_expired'
    | 'no_account'
    | 'account_not_approved'
    | 'provider_unavailable'
    /** Only for an app that proves itself by other means: it has no token for this identity provider, or there is none. */
    | 'unknown_provider'
    /** Only for an app that names a scope. */
    | 'scope_refused';
  /** The identity provider, as soon as it is known which. */
  identityProviderId?: string;
  /** Seconds after which asking again makes sense. */
  retryAfter?: number;
}

/** Makes an access token of ours. */
export type IssueAccessToken = (request: {
  client: Client;
  account: Account;
  scope: string[];
  /** Seconds. */
  lifetime: number;
  /** The app's own, when nothing else says who the person is. */
  word?: Word;
}) => Promise<{ accessToken: string; expiresIn: number }>;

export interface Exchange {
  /** For an app that proves itself by an app token. Undefined tokens are missing or malformed ones. */
  byAppToken(request: {
    appToken: string | undefined;
    /** Only asked for once the app has proved itself. */
    readProviderToken: () => Promise<string | undefined>;
    origin?: Origin;
  }): Promise<ExchangeOutcome>;
  /** For an app that has proved itself by other means, and has an app token for that identity provider. */
  forClient(request: {
    clientId: string;
    identityProviderId: string;
    providerToken: string;
    /** Absent: all that is possible. */
    scope?: string[] | undefined;
    origin?: Origin;
  }): Promise<ExchangeOutcome>;
}

export interface ExchangeOptions {
  appTokens: AppTokens;
  clients: { findActive(id: string): Promise<Client | undefined> };
  identityProviders: Pick<IdentityProviders, 'findActive'>;
  providerTokens: ProviderTokens;
  resolveAccount: ResolveAccount;
  issue: IssueAccessToken;
  audit: Audit;
}

/** An app that has proved itself, and what it sent. */
interface Request {
  client: Client;
  identityProvider: IdentityProvider;
  audience: string[];
  token: string | undefined;
  scope?: string[] | undefined;
  origin: Origin;
}

export function createExchange(options: ExchangeOptions): Exchange {
  const { appTokens, clients, identityProviders, providerTokens, resolveAccount, issue, audit } = options;

  async function issueFor(request: Request, account: Account): Promise<ExchangeOutcome> {
    const { client, identityProvider } = request;
    const scope = scopeFor(client, account, request.scope);
    if (!scope) return { outcome: 'scope_refused', identityProviderId: identityProvider.id };
    const lifetime = client.exchangedTokenLifetime ?? LIFETIME;
    return { outcome: 'exchanged', scope, ...(await issue({ client, account, scope, lifetime })) };
  }

  async function exchange(request: Request): Promise<ExchangeOutcome> {
    const { client, identityProvider, audience, token, origin } = request;
    const identityProviderId = identityProvider.id;
    if (token === undefined) return { outcome: 'token_invalid', identityProviderId };
    const { check, remembered } = await providerTokens.check(identityProvider, { token, audience });
    if (check.outcome !== 'proven') return { outcome: REFUSAL[check.outcome], identityProviderId };
    const { subject, profile, tellMore } = check;
    const identity = { identityProvider, subject, profile, tellMore: tellMore && (() => tellMore(token)) };
    const account = await resolveAccount(identity, origin);
    if (!account) return { outcome: 'no_account', identityProviderId };
    if (account.status !== 'active') return { outcome: 'account_not_approved', identityProviderId };
    // What is proven again within a minute is the same sign-in.
    if (!remembered) await noteSignIn({ account, client, identityProviderId, origin });
    return issueFor(request, account);
  }

  async function noteSignIn(signIn: {
    account: Account;
    client: Client;
    identityProviderId: string;
    origin: Origin;
  }): Promise<void> {
    const { account, client, identityProviderId, origin } = signIn;
    const detail = { identity_provider: identityProviderId };
    await audit.record({ ...origin, type: 'sign_in', accountId: account.id, clientId: client.id, detail });
  }

  /** A provider that does not answer says nothing about the token. */
  async function attempt(request: Request): Promise<ExchangeOutcome> {
    return exchange(request).catch((error) => {
      if (!(error instanceof ProviderUnavailable)) throw error;
      const { retryAfter } = error;
      return { outcome: 'provider_unavailable', identityProviderId: request.identityProvider.id, retryAfter };
    });
  }

  return {
    async byAppToken({ appToken, readProviderToken, origin = {} }) {
      const live = await appTokens.authenticate(appToken);
      if (live === undefined) return { outcome: 'app_token_invalid' };
      if (live === 'revoked') return { outcome: 'app_token_revoked' };
      const { record, client, identityProvider } = live;
      const token = await readProviderToken();
      await appTokens.noteUse(record);
      const audience = audienceOf(identityProvider, record.providerClientIds);
      return attempt({ client, identityProvider, audience, token, origin });
    },

    async forClient({ clientId, identityProviderId, providerToken: token, scope, origin = {} }) {
      const [client, identityProvider] = await Promise.all([
        clients.findActive(clientId),
        identityProviders.findActive(identityProviderId),
      ]);
      const audience = identityProvider && (await appTokens.audienceOf(clientId, identityProvider));
      if (!client || !identityProvider || !audience) return { outcome: 'unknown_provider' };
      return attempt({ client, identityProvider, audience, token, scope, origin });
    },
  };
}

const REFUSAL = {
  invalid: 'token_invalid',
  audience_mismatch: 'audience_mismatch',
  expired: 'token_expired',
} as const satisfies Record<Exclude<TokenCheck['outcome'], 'proven'>, ExchangeRefused['outcome']>;

/** What the app may ask for and the account holds; undefined when something else was asked for. */
function scopeFor(client: Client, account: Account, asked: string[] | undefined): string[] | undefined {
  const held = new Set(permissionsOf(account));
  const possible = client.permissions.filter((name) => held.has(name));
  if (asked === undefined) return possible;
  return asked.every((name) => possible.includes(name)) ? asked : undefined;
}
