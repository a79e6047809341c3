/**
 * What a request may be granted, and the engine's grants made from what a person has allowed. Owns the rule that is checked again at every use of a token:
 * scope = what was asked ∩ what the account holds now ∩ what the app may ask for.
 */
import { randomUUID } from 'node:crypto';
import type { Grant, KoaContextWithOIDC } from 'oidc-provider';
import { errors } from 'oidc-provider';
import { type Account, permissionsOf } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Client } from '../clients/client.ts';
import type { Clients } from '../clients/clients.ts';
import { OPENID_SCOPE_SET } from './claims.ts';
import type { Consent, Consents } from './consents.ts';
import { clientEpochOf, vouchedIn } from './epoch.ts';
import { isWritten } from './merging.ts';
import type { ConsentPolicy, Requested } from './prompts.ts';
import { CONSOLE_CLIENT_ID, LIFETIME } from './protocol.ts';
import type { SessionRecords } from './session-records.ts';

export interface Grants extends ConsentPolicy {
  /** `loadExistingGrant` of the engine: the grant of this session and app, widened silently by what was allowed before. */
  loadExisting(ctx: KoaContextWithOIDC): Promise<Grant | undefined>;
  /** Narrows a space-separated scope to what may be used now. */
  effectiveScope(token: { scope: string; accountId?: string; clientId: string }): Promise<string>;
}

export interface GrantsOptions {
  accounts: Pick<Accounts, 'get'>;
  clients: Pick<Clients, 'findActive'>;
  consents: Consents;
  sessionRecords: Pick<SessionRecords, 'claim'>;
}

/** Claims about the sign-in itself; nobody is asked about them. */
const SIGN_IN_CLAIMS = new Set(['sub', 'sid', 'auth_time', 'acr', 'amr', 'iss']);

export function createGrants({ accounts, clients, consents, sessionRecords }: GrantsOptions): Grants {
  async function mayHave(scopes: Iterable<string>, { clientId, accountId }: { clientId: string; accountId?: string }) {
    const [client, account] = await Promise.all([
      clients.findActive(clientId),
      accountId === undefined ? undefined : accounts.get(accountId),
    ]);
    if (client) return scopeWithin(scopes, { client, account, actsForItself: accountId === undefined });
    // Our own pages are no registered app, and ask who somebody is, nothing else.
    return clientId === CONSOLE_CLIENT_ID ? [...scopes].filter((scope) => OPENID_SCOPE_SET.has(scope)) : [];
  }

  async function requested(ctx: KoaContextWithOIDC): Promise<Requested> {
    const { client, account } = entities(ctx);
    return {
      scopes: await mayHave(ctx.oidc.requestParamOIDCScopes, {
        clientId: client.clientId,
        accountId: account.accountId,
      }),
      claims: [...ctx.oidc.requestParamClaims].filter((claim) => !SIGN_IN_CLAIMS.has(claim)),
    };
  }

  async function isNeeded({ oidc }: KoaContextWithOIDC): Promise<boolean> {
    const { clientId = '' } = oidc.client ?? {};
    return clientId !== CONSOLE_CLIENT_ID && (await clients.findActive(clientId))?.trusted !== true;
  }

  /** What an app has by its own word, as far as it may still sign this person in and give it. */
  async function byWord({ accountId, clientId, scopesByWord }: Consent): Promise<string[]> {
    const [client, account] = await Promise.all([clients.findActive(clientId), accounts.get(accountId)]);
    const { organizationIds = [], permissions = [] } = client?.sso ?? {};
    if (!account?.organizationId || account.administrator || !organizationIds.includes(account.organizationId))
      return [];
    return scopesByWord.filter((scope) => OPENID_SCOPE_SET.has(scope) || permissions.includes(scope));
  }

  /** Where an answer is needed, the remembered one counts. */
  async function allowed(ctx: KoaContextWithOIDC, asked: Requested): Promise<Requested> {
    if (!(await isNeeded(ctx))) return asked;
    const { client, account } = entities(ctx);
    const consent = await consents.get(account.accountId, client.clientId);
    if (!consent) return { scopes: [], claims: [] };
    const scopes = new Set([...consent.scopes, ...(await byWord(consent))]);
    return {
      scopes: asked.scopes.filter((scope) => scopes.has(scope)),
      claims: asked.claims.filter((claim) => consent.claims.includes(claim)),
    };
  }

  /**
   * Makes a new grant the one of its app in this session. False when another request has made one meanwhile, which counts.
   * @throws when the session has ended.
   */
  async function isClaimed({ oidc }: KoaContextWithOIDC, grant: Grant, dead: string | undefined): Promise<boolean> {
    const { session } = oidc;
    const { clientId = '', accountId = '' } = grant;
    if (!session) throw new Error('a grant belongs to a session');
    // One that begins now may be other tabs' too.
    if (!isWritten(session)) await session.save(LIFETIME.sessionIdle);
    const wanted = { sid: session.sidFor(clientId) ?? randomUUID(), grantId: grant.jti, dead };
    const agreed = await sessionRecords.claim({ uid: session.uid, accountId }, clientId, wanted);
    if (agreed?.grantId !== grant.jti) await grant.destroy();
    if (!agreed) throw new errors.LoginRequired('the session has ended');
    session.sidFor(clientId, agreed.sid);
    session.grantIdFor(clientId, agreed.grantId);
    return agreed.grantId === grant.jti;
  }

  async function loadExisting(ctx: KoaContextWithOIDC): Promise<Grant | undefined> {
    const { client, account } = entities(ctx);
    const { provider, session } = ctx.oidc;
    const grantId = session?.grantIdFor(client.clientId);
    const known = grantId === undefined ? undefined : await provider.Grant.find(grantId);
    const existing = known?.accountId === account.accountId ? known : undefined;

    const given = await allowed(ctx, missingFrom(existing, await requested(ctx)));
    if (isNothing(given)) return existing;
    const grant = existing ?? newGrant(ctx);
    try {
      await widen(grant, given);
    } catch (error) {
      if (error instanceof errors.InvalidGrant) return loadExisting(ctx);
      throw error;
    }
    if (!existing && !(await isClaimed(ctx, grant, grantId))) return loadExisting(ctx);
    // What was taken back while it was being granted is not granted.
    const still = await allowed(ctx, given);
    if (still.scopes.length + still.claims.length === given.scopes.length + given.claims.length) return grant;
    await grant.destroy();
    return undefined;
  }

  return {
    loadExisting,
    requested,
    isNeeded,

    async missing(ctx) {
      return ctx.oidc.account ? missingFrom(ctx.oidc.grant, await requested(ctx)) : { scopes: [], claims: [] };
    },

    async effectiveScope({ scope, ...token }) {
      return (await mayHave(scope.split(' '), token)).join(' ');
    },
  };
}

/** What of a scope may be used now. An app acting for itself holds what it may ask for, and is no person to sign in. */
export function scopeWithin(
  scopes: Iterable<string>,
  { client, account, actsForItself }: { client: Client; account: Account | undefined; actsForItself: boolean },
): string[] {
  const ceiling = new Set(client.permissions);
  if (actsForItself) return [...scopes].filter((scope) => ceiling.has(scope));
  const held = new Set(account && permissionsOf(account));
  return [...scopes].filter((scope) => OPENID_SCOPE_SET.has(scope) || (ceiling.has(scope) && held.has(scope)));
}

/** Of the epochs under which this request has found session and app, however long ago. */
function newGrant(ctx: KoaContextWithOIDC): Grant {
  const { client, account } = entities(ctx);
  const belongsTo = { accountId: account.accountId, clientId: client.clientId };
  return new ctx.oidc.provider.Grant({ ...belongsTo, ...vouchedIn(ctx), clientEpoch: clientEpochOf(ctx) } as object);
}

function isNothing({ scopes, claims }: Requested): boolean {
  return scopes.length + claims.length === 0;
}

function widen(grant: Grant, { scopes, claims }: Requested): Promise<string> {
  if (scopes.length > 0) grant.addOIDCScope(scopes.join(' '));
  if (claims.length > 0) grant.addOIDCClaims(claims);
  return grant.save();
}

function missingFrom(grant: Grant | undefined, asked: Requested): Requested {
  const scopes = new Set(grant?.getOIDCScope().split(' '));
  const claims = new Set(grant?.getOIDCClaims());
  return {
    scopes: asked.scopes.filter((scope) => !scopes.has(scope)),
    claims: asked.claims.filter((claim) => !claims.has(claim)),
  };
}

function entities({ oidc }: KoaContextWithOIDC) {
  if (!oidc.client || !oidc.account) throw new Error('a grant belongs to an app and an account');
  return { client: oidc.client, account: oidc.account };
}
