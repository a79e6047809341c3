/**
 * Who calls the API: by a credential in the `Authorization` header, or by the session of our own pages. A header that will not do
 * is never made up for by a session.
 */
import type Koa from 'koa';
import type { Account } from '../accounts/account.ts';
import { CREDENTIAL_KINDS } from '../credentials/kinds.ts';
import type { Verified, Verifier } from '../credentials/verify.ts';
import { AppError } from '../errors.ts';

/** A browser signed in to our own pages. */
export interface BrowserSession {
  account: Account;
  /** When the person last proved who they are. */
  signedInAt: number;
  /** Came by a partner's word, and has nothing to prove with who they are. */
  hasNoProof: boolean;
}

export interface CallersOptions {
  verifier: Verifier;
  tokenOf: (request: Koa.Context['req']) => string | undefined;
  findSession: (ctx: Koa.Context) => Promise<BrowserSession | undefined>;
}

export interface TokenManager {
  account: Account;
  session?: BrowserSession;
  /** Acts in a sign-in by a partner's word, which makes nothing that could outlive it. */
  isByWord: boolean;
}

export interface Callers {
  /** @throws {AppError} `invalid_token`, `expired_token` */
  verified(ctx: Koa.Context): Promise<Verified>;
  /** Who may manage personal tokens. @throws {AppError} as `verified` does, or `insufficient_scope`. */
  tokenManager(ctx: Koa.Context): Promise<TokenManager>;
}

/** The permission to manage one's own personal tokens. */
const TOKENS = 'tokens';

export function createCallers({ verifier, tokenOf, findSession }: CallersOptions): Callers {
  const verified = (ctx: Koa.Context) =>
    verifier.verify(tokenOf(ctx.req), { address: ctx.ip, userAgent: ctx.get('User-Agent') });

  return {
    verified,

    async tokenManager(ctx) {
      if (ctx.get('Authorization') === '') {
        const session = await findSession(ctx);
        if (session) return { account: session.account, session, isByWord: session.hasNoProof };
      }
      const { kind, account, scope, isByWord = false } = await verified(ctx);
      if (!CREDENTIAL_KINDS[kind].api.mayManageTokens || !account || !scope.includes(TOKENS)) {
        throw new AppError(
          'insufficient_scope',
          'tokens are managed with a sign-in or an access token of scope tokens',
        );
      }
      return { account, isByWord };
    },
  };
}
