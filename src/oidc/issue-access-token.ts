import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Adapter } from 'oidc-provider';
import { elapsed } from '../clock.ts';
import type { IssueAccessToken } from '../exchange/exchange.ts';
import type { Storage } from '../storage/storage.ts';
import { recordKey } from './records.ts';
import { TOKEN_EXCHANGE } from './token-exchange.ts';

/** Seconds. Several tokens share a grant, which outlives them all. */
const GRANT_LIFETIME = 24 * 60 * 60;

/**
 * Makes opaque access tokens of the engine without the engine: the same records, written through its adapter. They stand on a grant
 * like any other, so that they are listed and revoked with it. A grant that was revoked is never used again: its tokens would come
 * back to life.
 */
export function createIssueAccessToken({
  storage,
  now,
  adapter,
}: {
  storage: Storage;
  now: () => number;
  adapter: (model: string) => Adapter;
}): IssueAccessToken {
  const [grants, tokens] = [adapter('Grant'), adapter('AccessToken')];
  const made = new LRUCache<string, { id: string; until: number }>({ max: 10_000 });

  async function newGrant({ client, account, scope, word }: Request): Promise<string> {
    const [id, iat] = [randomValue(), now()];
    const openid = { scope: scope.join(' ') };
    const belongsTo = { accountId: account.id, epoch: account.epoch, clientId: client.id, clientEpoch: client.epoch };
    await grants.upsert(
      id,
      { ...belongsTo, ...(word ? { by: word } : {}), openid, iat, exp: iat + GRANT_LIFETIME, jti: id, kind: 'Grant' },
      GRANT_LIFETIME,
    );
    return id;
  }

  async function newToken(grantId: string, { client, account, scope, lifetime }: Request): Promise<string> {
    const [value, iat] = [randomValue(), now()];
    const belongsTo = { accountId: account.id, clientId: client.id, grantId, gty: TOKEN_EXCHANGE };
    const payload = { ...belongsTo, scope: scope.join(' '), iat, exp: iat + lifetime, jti: value, kind: 'AccessToken' };
    await tokens.upsert(value, payload, lifetime);
    return value;
  }

  return async function issueAccessToken(request) {
    const { client, account, scope, lifetime, word } = request;
    const key = JSON.stringify([account.id, account.epoch, client.id, client.epoch, scope, word?.refusals]);
    const known = made.get(key);
    if (known && known.until > elapsed() + lifetime) {
      const [accessToken, grant] = await Promise.all([
        newToken(known.id, request),
        storage.get(recordKey('Grant', known.id), { shared: true }),
      ]);
      // Without its grant the token is as dead as it, and nobody has seen it.
      if (grant !== undefined) return { accessToken, expiresIn: lifetime };
    }
    const until = elapsed() + GRANT_LIFETIME;
    const id = await newGrant(request);
    made.set(key, { id, until });
    return { accessToken: await newToken(id, request), expiresIn: lifetime };
  };
}

type Request = Parameters<IssueAccessToken>[0];

/** 256 bits. */
function randomValue(): string {
  return randomBytes(32).toString('base64url');
}
