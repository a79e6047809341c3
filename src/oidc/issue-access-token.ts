import { LRUCache } from 'lru-cache';
import type Provider from 'oidc-provider';
import type { IssueAccessToken } from '../credentials/exchange.ts';
import type { Storage } from '../storage/storage.ts';
import { recordKey } from './adapter.ts';
import { TOKEN_EXCHANGE } from './token-exchange.ts';

/** Seconds. Several tokens share a grant, which outlives them all. */
const GRANT_LIFETIME = 24 * 60 * 60;

/**
 * Makes opaque access tokens of the engine without a request to it. They stand on a grant like any other, so that they are listed and
 * revoked with it. A grant that was revoked is never used again: its tokens would come back to life.
 */
export function createIssueAccessToken({
  storage,
  now,
  provider: currentProvider,
}: {
  storage: Storage;
  now: () => number;
  provider: () => Promise<Provider>;
}): IssueAccessToken {
  const grants = new LRUCache<string, { id: string; until: number }>({ max: 10_000 });

  async function knownGrant(key: string, lifetime: number): Promise<string | undefined> {
    const known = grants.get(key);
    if (!known || known.until <= now() + lifetime) return undefined;
    return (await storage.get(recordKey('Grant', known.id))) === undefined ? undefined : known.id;
  }

  async function newGrant(key: string, provider: Provider, { client, account, scope }: Request): Promise<string> {
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
    const key = JSON.stringify([account.id, client.id, scope]);
    const [provider, known] = await Promise.all([currentProvider(), knownGrant(key, lifetime)]);
    const token = new provider.AccessToken({
      accountId: account.id,
      clientId: client.id,
      grantId: known ?? (await newGrant(key, provider, request)),
      gty: TOKEN_EXCHANGE,
      scope: scope.join(' '),
      expiresIn: lifetime,
    } as unknown as ConstructorParameters<Provider['AccessToken']>[0]);
    return { accessToken: await token.save(), expiresIn: lifetime };
  };
}

type Request = Parameters<IssueAccessToken>[0];
