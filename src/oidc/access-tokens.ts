/**
 * Opaque access tokens as APIs see them: the engine's records, read without the engine, which would load more than is needed.
 * A token works while its grant, its account, its app and, unless it may outlive it, its session are there.
 */
import type { AdapterPayload } from 'oidc-provider';
import type { Account } from '../accounts/account.ts';
import type { Client } from '../clients/client.ts';
import type { FindAccessToken, LiveAccessToken } from '../credentials/access-token-check.ts';
import type { Verified } from '../credentials/verify.ts';
import type { Storage } from '../storage/storage.ts';
import { scopeWithin } from './grants.ts';
import { CONSOLE_CLIENT_ID } from './protocol.ts';
import { recordKey } from './records.ts';
import type { SessionRecords } from './session-records.ts';
import { createStanding, type StandingOptions } from './standing.ts';
import type { TokenFamilies } from './token-families.ts';

export interface AccessTokensOptions extends StandingOptions {
  storage: Storage;
  sessionRecords: SessionRecords;
  families: Pick<TokenFamilies, 'isEnded'>;
  now: () => number;
  findAccount: (id: string) => Promise<Account | undefined>;
  findClient: (id: string) => Promise<Client | undefined>;
}

export interface EngineTokens {
  findAccessToken: FindAccessToken;
  /** A refresh token that may be exchanged now. */
  findRefreshToken(value: string): Promise<LiveAccessToken | undefined>;
}

export function createEngineTokens(options: AccessTokensOptions): EngineTokens {
  const { storage, sessionRecords, families, now, findAccount, findClient } = options;
  const read = async (key: string) => (await storage.get(key)) as AdapterPayload | undefined;

  async function grantOf({ grantId, accountId, clientId }: AdapterPayload): Promise<AdapterPayload | undefined> {
    const grant = grantId === undefined ? undefined : await read(recordKey('Grant', grantId));
    return grant?.accountId === accountId && grant?.clientId === clientId ? grant : undefined;
  }

  /** Must still be the one the token came from: same person, same grant for this app. */
  async function sessionOf({
    sessionUid,
    accountId,
    grantId,
    clientId = '',
  }: AdapterPayload): Promise<AdapterPayload | undefined> {
    const session = sessionUid === undefined ? undefined : await sessionRecords.findByUid(sessionUid);
    const isSame = session?.accountId === accountId && session?.authorizations?.[clientId]?.grantId === grantId;
    return isSame ? session : undefined;
  }

  /** The token under the first of these models that has it, with all it depends on. */
  async function findLive(models: readonly string[], value: string): Promise<LiveAccessToken | 'expired' | undefined> {
    const found = await Promise.all(models.map((model) => read(recordKey(model, value))));
    const token = found.find((payload) => payload !== undefined);
    if (!token?.clientId || token.consumed !== undefined) return undefined;
    const { clientId, accountId, scope = '', iat = 0, exp = 0, sid } = token;
    const [client, account, grant, session, ended] = await Promise.all([
      findClient(clientId),
      accountId === undefined ? undefined : findAccount(accountId),
      grantOf(token),
      token.expiresWithSession ? sessionOf(token) : undefined,
      families.isEnded(token.family as string | undefined),
    ]);
    const actsForItself = accountId === undefined;
    if (!client || !(actsForItself || (account && grant)) || ended) return undefined;
    if (token.expiresWithSession && !session) return undefined;
    // All of one person and one app, which have been looked up already.
    const stands = createStanding({
      ...options,
      findAccount: async () => account,
      findClient: async (id) => (id === clientId ? client : findClient(id)),
    });
    const standing = await Promise.all([token, grant, session].map((record) => !record || stands(record)));
    if (!standing.every(Boolean)) return undefined;
    if (exp <= now()) return 'expired';
    const usable = scopeWithin(scope.split(' '), { client, account, actsForItself });
    return {
      client,
      ...(account ? { account } : {}),
      ...(typeof sid === 'string' ? { sid } : {}),
      ...(grant?.by ? { isByWord: true } : {}),
      scope: usable.filter(Boolean),
      issuedAt: iat,
      expiresAt: exp,
    };
  }

  return {
    findAccessToken: (value) => findLive(['AccessToken', 'ClientCredentials'], value),

    async findRefreshToken(value) {
      const found = await findLive(['RefreshToken'], value);
      return found === 'expired' ? undefined : found;
    },
  };
}

/**
 * A credential that the engine did not issue, as it introspects it (RFC 7662 §2.2). It was issued to no app, and the engine wants one: ours.
 */
export function asEngineToken({ kind, id, account, scope, issuedAt, expiresAt }: Verified): AdapterPayload {
  return {
    kind: 'AccessToken',
    jti: id,
    clientId: CONSOLE_CLIENT_ID,
    accountId: String(account?.id),
    scope: scope.join(' '),
    iat: issuedAt,
    ...(expiresAt === undefined ? {} : { exp: expiresAt }),
    extra: { token_id: id, token_kind: kind },
  };
}
