import type { Account } from '../accounts/account.ts';
import type { Client } from '../clients/client.ts';
import { AppError } from '../errors.ts';
import { digestOf } from '../secrets/secret-token.ts';
import { type Check, invalidToken } from './verify.ts';

/** An access token of the engine, with everything it depends on: still there, still allowed. */
export interface LiveAccessToken {
  account?: Account;
  client: Client;
  /** Names the browser session to its app (OpenID Connect Back-Channel Logout §2.1). */
  sid?: string;
  /** Given in a sign-in by a partner's word. */
  isByWord?: boolean;
  scope: string[];
  issuedAt: number;
  expiresAt: number;
}

/** Finds an opaque access token. `expired` for one that was real until lately. */
export type FindAccessToken = (value: string) => Promise<LiveAccessToken | 'expired' | undefined>;

export interface AccessTokenCheckOptions {
  /** Asks the engine, which issued it. */
  findAccessToken: FindAccessToken;
  /** Hears of every use that an app makes of what it was given. */
  noteAppUse: (accountId: string, clientId: string) => Promise<void>;
}

export function createAccessTokenCheck({ findAccessToken, noteAppUse }: AccessTokenCheckOptions): Check {
  return async function checkAccessToken(token) {
    const found = await findAccessToken(token);
    if (found === 'expired') throw new AppError('expired_token', 'the token has expired');
    if (!found) throw invalidToken();
    if (found.account) await noteAppUse(found.account.id, found.client.id);
    return { id: digestOf(token).slice(0, 22), ...found };
  };
}
