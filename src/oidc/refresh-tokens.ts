/**
 * The engine makes a new refresh token at every use of one, and ends everything when one is used again, as two tabs do, and apps that
 * never got an answer. Here its successor is worked out from it, so that whoever uses it again in time gets the same.
 */
import type { RefreshToken } from 'oidc-provider';
import Provider from 'oidc-provider';
import { outage, TokenReplayed } from './adapter.ts';
import { alsoKeep } from './merging.ts';

/** A refresh token as the engine reads it here. */
export type UsedRefreshToken = RefreshToken & {
  /** When it was first used. The engine's own word for it, `consumed`, would make it end everything of the session. */
  usedAt?: number;
  successor?: string;
};

/** @param use Uses a refresh token; answers its successor, or undefined when it must not be used. */
export function shareSuccessors(provider: Provider, use: (token: string) => Promise<string | undefined>): void {
  const { RefreshToken: Model } = provider;
  alsoKeep(Model, ['family', 'usedAt']);
  const { prototype } = Model as unknown as {
    prototype: { consume(): Promise<void>; generateTokenId(): string; isValid: boolean };
  };
  const { generateTokenId } = prototype;

  prototype.consume = async function (this: UsedRefreshToken) {
    const successor = await outage(use(this.jti));
    if (successor === undefined) throw new TokenReplayed('refresh token was already used');
    this.successor = successor;
  };

  prototype.generateTokenId = function () {
    const { RotatedRefreshToken: rotated } = Provider.ctx?.oidc.entities ?? {};
    return (rotated as UsedRefreshToken | undefined)?.successor ?? generateTokenId.call(this);
  };

  Object.defineProperty(prototype, 'isValid', {
    get(this: UsedRefreshToken) {
      return this.usedAt === undefined && !this.isExpired;
    },
  });
}
