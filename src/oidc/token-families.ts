/**
 * Families of tokens: what was issued from one code, and what was refreshed from that. Whoever shows a code or a refresh token that
 * was used may have stolen it, so the family ends (RFC 6749 §10.5, RFC 9700 §4.14.2), and nothing beside it. Its end is one record,
 * looked at whenever one of its tokens is used: no token has to be found, and none that is just being issued escapes.
 */
import { hash } from 'node:crypto';
import type { AdapterPayload, KoaContextWithOIDC } from 'oidc-provider';
import type { Json, Storage } from '../storage/storage.ts';
import { eraseGrant } from './erasing.ts';

/** Seconds; longer than any token of a family lives. */
const REMEMBERED = 91 * 24 * 60 * 60;
/** Seconds within which a refresh token may be used again: by another tab, or by an app that never got the answer. */
const REUSE = 10;

type Token = Pick<AdapterPayload, 'grantId'> & { family?: string };

export interface TokenFamilies {
  isEnded(family: string | undefined): Promise<boolean>;
  /** Safe to repeat. */
  end(token: Token): Promise<void>;
  /**
   * Uses a refresh token, by the key it is stored under. However often it is used within ten seconds, its successor is the same.
   * @param successors What may follow it: worked out from it with each of our keys, so that it need not be stored.
   * @returns The successor; undefined for a token that must not be used, whose family has then ended.
   */
  useRefreshToken(key: string, successors: readonly string[]): Promise<string | undefined>;
}

const keyOf = (family: string) => `ended-family:${family}`;
const digest = (value: string) => hash('sha256', value, 'base64url');

/** The family of what is issued from a code. */
export const familyOfCode = (code: string) => digest(code);

/** The family of what is being issued in a request to the token endpoint; undefined when it comes from no code. */
export function familyOfRequest({ oidc }: KoaContextWithOIDC): string | undefined {
  const { AuthorizationCode: code, RotatedRefreshToken: rotated, RefreshToken: refreshed } = oidc.entities;
  if (code) return familyOfCode(code.jti);
  return ((rotated ?? refreshed) as Token | undefined)?.family;
}

export function createTokenFamilies({ storage, now }: { storage: Storage; now: () => number }): TokenFamilies {
  async function end({ family, grantId }: Token): Promise<void> {
    if (family !== undefined) await storage.put(keyOf(family), now(), { ttl: REMEMBERED });
    // Tokens of an earlier version know only what they stand on.
    else if (grantId !== undefined) await eraseGrant(storage, grantId);
  }

  return {
    end,
    isEnded: async (family) => family !== undefined && (await storage.get(keyOf(family))) !== undefined,

    async useRefreshToken(key, successors) {
      const first = { consumed: now(), successor: digest(String(successors[0])) };
      let used: (Token & typeof first) | undefined;
      await storage.update(key, (current) => {
        const token = current as unknown as (Token & Partial<typeof first>) | undefined;
        const isFirst = token !== undefined && token.consumed === undefined;
        used = token && { ...token, ...(isFirst ? first : (token as typeof first)) };
        return isFirst ? (used as unknown as Json) : undefined;
      });
      if (!used) return undefined;
      const successor = successors.find((value) => digest(value) === used?.successor);
      if (successor !== undefined && Math.abs(now() - used.consumed) <= REUSE) return successor;
      await end(used);
      return undefined;
    },
  };
}
