/**
 * The epochs of accounts and apps as the engine carries them: from the proof of who somebody is into the session that begins with it,
 * and from there into the session's grants; with the app by whose word somebody signed in, if it was one. Where a record is read,
 * `standing.ts` asks whether that still counts.
 */
import { randomBytes } from 'node:crypto';
import type { InteractionResults, KoaContextWithOIDC, Session } from 'oidc-provider';
import Provider from 'oidc-provider';
import type { Word } from '../clients/sso-policy.ts';
import { browserNamedIn, uidOfBeginning } from './beginning.ts';
import { alsoKeep } from './merging.ts';

/** Who has proven what, as an interaction keeps it until the engine goes on. */
export type ProvenLogin = NonNullable<InteractionResults['login']> & { accountId: string } & Vouched & {
    /** Where they have proven it, if not here. The session that begins with it does not end with the provider. */
    provider?: { id: string; epoch: number };
  };

/** What somebody's sign-in stands on. */
export interface Vouched {
  /** The account's, when its person proved who they are. */
  epoch?: number | undefined;
  /** The app by whose word they were signed in, under its epoch. */
  by?: Word | undefined;
}

type SessionOfEpoch = Session & Vouched & { uid: string; loaded?: object | undefined };

export function carryEpoch(provider: Provider): void {
  alsoKeep(provider.Session, ['epoch', 'by']);
  alsoKeep(provider.Grant, ['epoch', 'by', 'clientEpoch']);
  alsoKeep(provider.ClientCredentials, ['clientEpoch']);
  const { prototype } = provider.Session as unknown as {
    prototype: { loginAccount(details: object): void };
  };
  const { loginAccount } = prototype;
  prototype.loginAccount = function (this: SessionOfEpoch, details) {
    const isFirst = this.accountId === undefined;
    loginAccount.call(this, details);
    const { login } = (Provider.ctx?.oidc.entities.Interaction?.result ?? {}) as { login?: ProvenLogin };
    this.epoch = login?.epoch ?? 0;
    this.by = login?.by;
    if (isFirst) begin(this, provider.issuer);
  };
}

/** A session that nobody was signed in to is left behind, whoever made it: the one that begins may be other tabs' already. */
function begin(session: SessionOfEpoch, issuer: string): void {
  const browser = Provider.ctx && browserNamedIn(Provider.ctx, issuer);
  const { accountId = '', epoch = 0, by } = session;
  session.uid = browser
    ? uidOfBeginning(browser, { accountId, epoch, clientId: by?.clientId })
    : randomBytes(32).toString('base64url');
  session.loaded = undefined;
}

/** What the sign-in of a request's session stands on. */
export function vouchedIn({ oidc }: KoaContextWithOIDC): Vouched {
  const { epoch, by } = (oidc.session ?? {}) as Partial<SessionOfEpoch>;
  return { epoch, by };
}

/** The epoch of a request's app, as it was when the app was looked up. */
export function clientEpochOf({ oidc }: KoaContextWithOIDC): number | undefined {
  return (oidc.client as { epoch?: number } | undefined)?.epoch;
}
