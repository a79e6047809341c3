/** The code flows at all providers: one each, made anew when the provider is changed, and how long a request waits for it. */
import { LRUCache } from 'lru-cache';
import type { Outbound } from '../outbound/outbound.ts';
import { createProviderClient } from './circuit-breaker.ts';
import type { IdentityProvider } from './identity-provider.ts';
import type { IdentityProviders } from './identity-providers.ts';
import { KINDS } from './kinds/kinds.ts';
import type { CodeFlow, SignedIn, SignInRequest, Unguessable } from './oauth-client.ts';
import { ProviderUnavailable } from './token-verifier.ts';

/** Seconds that a person waits for us when they come back, however many questions there are. */
const PATIENCE = 6;

export interface CodeFlows {
  /** Where the person goes. @throws as `CodeFlow` does. */
  authorizationUrl(identityProvider: IdentityProvider, request: Omit<SignInRequest, 'redirectUri'>): Promise<URL>;
  /** Who came back with this query. @throws as `CodeFlow` does. */
  redeem(identityProvider: IdentityProvider, query: URLSearchParams, expected: Unguessable): Promise<SignedIn>;
}

export interface CodeFlowsOptions {
  issuer: string;
  request: Outbound;
  secretOf: IdentityProviders['secretOf'];
}

/** The redirect URI that we have at a provider; one of its own for each, so that none can pass for another (RFC 9700 §4.4). */
export function callbackPath(identityProviderId: string): string {
  return `/interaction/callback/${identityProviderId}`;
}

export function createCodeFlows({ issuer, request, secretOf }: CodeFlowsOptions): CodeFlows {
  const flows = new LRUCache<string, Promise<CodeFlow>>({ max: 100 });
  const redirectUri = ({ id }: IdentityProvider) => `${issuer}${callbackPath(id)}`;

  function flowOf(identityProvider: IdentityProvider): Promise<CodeFlow> {
    const key = JSON.stringify(identityProvider);
    const known = flows.get(key);
    if (known) return known;
    const ask = createProviderClient({ request });
    const { createCodeFlow } = KINDS[identityProvider.kind];
    const flow = createCodeFlow({ identityProvider, ask, secret: () => secretOf(identityProvider) });
    flows.set(key, flow);
    return flow;
  }

  return {
    async authorizationUrl(identityProvider, wanted) {
      const flow = await flowOf(identityProvider);
      return flow.authorizationUrl({ ...wanted, redirectUri: redirectUri(identityProvider) });
    },

    async redeem(identityProvider, query, expected) {
      const signal = AbortSignal.timeout(PATIENCE * 1000);
      const tooLate = new Promise<never>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new ProviderUnavailable('took too long')));
      });
      const callback = new URL(`${redirectUri(identityProvider)}?${query}`);
      const flow = await flowOf(identityProvider);
      return Promise.race([flow.redeem(callback, expected), tooLate]);
    },
  };
}
