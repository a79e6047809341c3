import { LRUCache } from 'lru-cache';
import type Provider from 'oidc-provider';
import type { IssueAccessToken } from '../credentials/exchange.ts';
import { TOKEN_EXCHANGE } from './token-exchange.ts';

/** Seconds. Several tokens share a grant, which outlives them all. */
const GRANT_LIFETIME = 24 * 60 * 60;

/**
 * Makes opaque access tokens of the engine without a request to it. They stand on a grant like any other, so that they are listed and
 * revoked with it. A grant that was revoked is never used again: its tokens would come back to life.
 */
export function createIssueAccessToken({
  provider: currentProvider,
  now,
}: {
  provider: () => Promise<Provider>;
  now: () => number;
}): IssueAccessToken {
  const grants = new LRUCache<string, { id: string; until: number }>({ max: 10_000 });

  async function grantFor(provider: Provider, request: Parameters<IssueAccessToken>[0]): Promise<string> {
    const { client, account, scope, lifetime } = request;
    const key = JSON.stringify([account.id, client.id, scope]);
    const known = grants.get(key);
    const isThere = known && known.until > now() + lifetime && (await provider.Grant.find(known.id));
    if (isThere) return known.id;
    const grant = new provider.Grant({
      accountId: account.id,
      clientId: client.id,
      expiresIn: GRANT_LIFETIME,
    } as ConstructorParameters<Provider['Grant']>[0]);
    grant.addOIDCScope(scope.join(' '));
    const id = await grant.save();
    grants.set(key, { id, until: now() + GRANT_LIFETIME });
    return id;
  }

  return async function issueAccessToken(request) {
    const { client, account, scope, lifetime } = request;
    const provider = await currentProvider();
    const engineClient = await provider.Client.find(client.id);
    if (!engineClient) throw new Error('an app that was there is gone');
    const token = new provider.AccessToken({
      accountId: account.id,
      client: engineClient,
      grantId: await grantFor(provider, request),
      gty: TOKEN_EXCHANGE,
      scope: scope.join(' '),
      expiresIn: lifetime,
    } as ConstructorParameters<Provider['AccessToken']>[0]);
    return { accessToken: await token.save(), expiresIn: lifetime };
  };
}
