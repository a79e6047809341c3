import type { UpstreamProfile } from './upstream-profile.ts';

/**
 * What the check of a provider token says. A failure is told from another one only as far as the provider's own word goes: a token whose signature
 * is wrong says nothing, so nothing else is wrong with it.
 */
export type TokenCheck =
  | VerifiedToken
  | {
      outcome: /** Malformed, unknown, withdrawn, or another issuer's word. */
        | 'invalid'
        /** Good, but issued to an app that was not asked about. */
        | 'audience_mismatch'
        /** Good until lately. */
        | 'expired';
    };

/** A good token: who it is about. */
export interface VerifiedToken {
  outcome: 'proven';
  /** Names the person at the provider, for ever. */
  subject: string;
  /** When the token's word ends; absent when the provider does not say. */
  expiresAt?: number | undefined;
  profile: UpstreamProfile;
  /** What the provider tells about the person beyond that, to anyone who has the token. @throws {ProviderUnavailable} */
  tellMore?: (token: string) => Promise<UpstreamProfile>;
}

/** What is to be checked. */
export interface TokenCheckRequest {
  token: string;
  /** The ids at the provider that the token must have been issued to one of. */
  audience: readonly string[];
}

/** Checks tokens of one provider. @throws {ProviderUnavailable} */
export type TokenVerifier = (request: TokenCheckRequest) => Promise<TokenCheck>;

/** The provider gave no answer that could be used. Says nothing about the token. */
export class ProviderUnavailable extends Error {
  /** Seconds after which asking again makes sense. */
  readonly retryAfter: number;
  /** What was sent, which a caller may have made up, may be why. */
  readonly mayBeByInput: boolean;

  constructor(message: string, details: { retryAfter?: number; cause?: unknown; mayBeByInput?: boolean } = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'ProviderUnavailable';
    this.retryAfter = details.retryAfter ?? 2;
    this.mayBeByInput = details.mayBeByInput ?? false;
  }
}

/** That the provider gave no answer, wherever in an error it is wrapped. */
export function unavailableIn(error: unknown): ProviderUnavailable | undefined {
  if (error instanceof ProviderUnavailable) return error;
  return error instanceof Error ? unavailableIn(error.cause) : undefined;
}
