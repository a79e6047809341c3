/**
 * The one check of every credential that comes in an `Authorization` header: who, what, until when. Owns the rule that
 * what a credential may do is worked out at each use. What the protocol engine issued it asks for by a function.
 */
import { type Account, counts, permissionsOf } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Origin } from '../audit.ts';
import type { Client } from '../clients/client.ts';
import { AppError } from '../errors.ts';
import { digestOf, prefixOf } from '../secrets/secret-token.ts';
import type { PersonalToken } from './personal-token.ts';
import type { PersonalTokens } from './personal-tokens.ts';

export type CredentialKind = 'personal_token' | 'access_token';

/** A credential that may be used now. */
export interface Verified {
  kind: CredentialKind;
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

export interface Verifier {
  /**
   * @param token What came after the scheme, or undefined when nothing usable did.
   * @throws {AppError} `invalid_token`, `expired_token`.
   */
  verify(token: string | undefined, origin?: Origin): Promise<Verified>;
  /** The same for who asks about somebody else's token: undefined for one that will not do. */
  introspect(token: string): Promise<Verified | undefined>;
}

export interface VerifierOptions {
  personalTokens: PersonalTokens;
  accounts: Pick<Accounts, 'findActive'>;
  findAccessToken: FindAccessToken;
  /** Hears of every use that an app makes of what it was given. */
  noteAppUse: (accountId: string, clientId: string) => Promise<void>;
}

export function createVerifier({ personalTokens, accounts, findAccessToken, noteAppUse }: VerifierOptions): Verifier {
  async function verifyPersonalToken(token: string, origin: Origin): Promise<Verified> {
    const record = await personalTokens.authenticate(token, origin);
    const account = await accounts.findActive(record.accountId);
    if (!account || !counts(account, 'token', record.epoch)) throw invalid();
    if (origin.address !== undefined) await personalTokens.noteUse(record, origin.address);
    return { kind: 'personal_token', id: record.id, account, scope: heldScope(record, account), ...lifetimeOf(record) };
  }

  async function verifyAccessToken(token: string): Promise<Verified> {
    const found = await findAccessToken(token);
    if (found === 'expired') throw new AppError('expired_token', 'the token has expired');
    if (!found) throw invalid();
    if (found.account) await noteAppUse(found.account.id, found.client.id);
    return { kind: 'access_token', id: digestOf(token).slice(0, 22), ...found };
  }

  async function verify(token: string | undefined, origin: Origin = {}): Promise<Verified> {
    if (token === undefined) throw invalid();
    if (!OUR_FORM.test(token)) return verifyAccessToken(token);
    // A wrong checksum ends here, before anything is looked up.
    if (prefixOf(token) !== 'lk_pat_') throw invalid();
    return verifyPersonalToken(token, origin);
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

/** What starts like this is one of our tokens, or a failed attempt at one. */
const OUR_FORM = /^lk_(pat|app|sso)_/;

function heldScope({ scope }: PersonalToken, account: Account): string[] {
  const held = new Set(permissionsOf(account));
  return scope.filter((name) => held.has(name));
}

function lifetimeOf({ createdAt, expiresAt }: PersonalToken) {
  return { issuedAt: createdAt, ...(expiresAt === undefined ? {} : { expiresAt }) };
}

function invalid(): AppError {
  return new AppError('invalid_token', 'the token is missing, malformed, unknown or revoked');
}
