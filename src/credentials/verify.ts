/**
 * The one check of every credential that comes in an `Authorization` header: who, what, until when. Owns the rule that
 * what a credential may do is worked out at each use. How each kind is checked comes in, complete.
 */
import type { Account } from '../accounts/account.ts';
import type { Origin } from '../audit.ts';
import type { Client } from '../clients/client.ts';
import { AppError } from '../errors.ts';
import { type ApiKind, isApiKind, kindOf } from './kinds.ts';

/** A credential that may be used now. */
export interface Verified {
  kind: ApiKind;
  /** Names the credential without being it. */
  id: string;
  /** Whose it is; absent when an app acts for itself. */
  account?: Account;
  /** The app it was issued to. */
  client?: Client;
  sid?: string;
  /** Given in a sign-in by a partner's word. */
  isByWord?: boolean;
  /** What it may do now. */
  scope: string[];
  issuedAt: number;
  /** Absent: never. */
  expiresAt?: number;
}

/** What a token of one kind is now. @throws {AppError} `invalid_token`, `expired_token`. */
export type Check = (token: string, origin: Origin) => Promise<Omit<Verified, 'kind'>>;

export interface Verifier {
  /**
   * @param token What came after the scheme, or undefined when nothing usable did.
   * @throws {AppError} `invalid_token`, `expired_token`.
   */
  verify(token: string | undefined, origin?: Origin): Promise<Verified>;
  /** The same for who asks about somebody else's token: undefined for one that will not do. */
  introspect(token: string): Promise<Verified | undefined>;
}

export function createVerifier(checks: Record<ApiKind, Check>): Verifier {
  async function verify(token: string | undefined, origin: Origin = {}): Promise<Verified> {
    // A wrong checksum ends here, before anything is looked up.
    const kind = token === undefined ? undefined : kindOf(token);
    if (token === undefined || kind === undefined || !isApiKind(kind)) throw invalidToken();
    return { kind, ...(await checks[kind](token, origin)) };
  }

  return {
    verify,

    async introspect(token) {
      return verify(token).catch((error) => {
        if (error instanceof AppError && error.status === 401) return undefined;
        throw error;
      });
    },
  };
}

export function invalidToken(): AppError {
  return new AppError('invalid_token', 'the token is missing, malformed, unknown or revoked');
}
