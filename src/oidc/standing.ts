/**
 * Whether a record of the engine still stands: on an account and an app that may act, and on proofs that nothing has ended since.
 * The one place in which that is decided, for the engine and for whoever reads its records without it.
 */
import type { AdapterPayload } from 'oidc-provider';
import { type Account, counts, countsSession, type ProofKind } from '../accounts/account.ts';
import type { Client } from '../clients/client.ts';
import type { Word } from '../clients/sso-policy.ts';
import { type IdentityProvider, isForSignIn } from '../identity-providers/identity-provider.ts';
import type { ProvenLogin, Vouched } from './epoch.ts';

export interface Refusals {
  /** When the person did it, while it lasts. */
  refusedAt?: number | undefined;
  refusals: number;
}

export interface StandingOptions {
  /** Undefined for one that may not act; so for an app. */
  findAccount: (accountId: string) => Promise<Account | undefined>;
  findClient: (clientId: string) => Promise<Pick<Client, 'epoch' | 'sso'> | undefined>;
  /** How often a person has taken the right to sign them in away from an app; undefined for one that never did. */
  findPartner: (accountId: string, clientId: string) => Promise<Refusals | undefined>;
  findIdentityProvider: (id: string) => Promise<IdentityProvider | undefined>;
}

export type Stands = (record: AdapterPayload) => Promise<boolean>;

/** What carries the epoch that its person proved who they are under; codes and tokens stand on a grant, and end with it. */
const PROOF_OF: Readonly<Record<string, ProofKind>> = { Grant: 'grant' };

/** What carries the epoch in which its app was given it. */
const GIVEN_TO_CLIENT = new Set(['ClientCredentials', 'Grant']);

export function createStanding(options: StandingOptions): Stands {
  const { findAccount, findClient, findPartner, findIdentityProvider } = options;

  async function isAccountLive(accountId: string, kind: ProofKind | undefined, epoch: number | undefined) {
    const account = await findAccount(accountId);
    return account !== undefined && (kind === undefined || counts(account, kind, epoch));
  }

  async function isSessionLive(accountId: string, session: { uid: string; epoch: number | undefined }) {
    const account = await findAccount(accountId);
    return account !== undefined && countsSession(account, session);
  }

  async function isClientLive(clientId: string, epoch: number | undefined): Promise<boolean> {
    const client = await findClient(clientId);
    return client !== undefined && (epoch === undefined || client.epoch === epoch);
  }

  /** An app's word counts for whom it may sign in, and as long as neither of them has taken that back. */
  async function isWordGood(accountId: string, { clientId, epoch, refusals = 0 }: Word): Promise<boolean> {
    const [account, client, partner] = await Promise.all([
      findAccount(accountId),
      findClient(clientId),
      findPartner(accountId, clientId),
    ]);
    const isWithin = client?.sso?.organizationIds.includes(account?.organizationId ?? '') === true;
    const isLetIn = partner?.refusedAt === undefined && (partner?.refusals ?? 0) === refusals;
    return isWithin && isLetIn && client?.epoch === epoch;
  }

  async function isProviderGood({ id, epoch }: NonNullable<ProvenLogin['provider']>): Promise<boolean> {
    const provider = await findIdentityProvider(id);
    return provider !== undefined && isForSignIn(provider) && provider.epoch === epoch;
  }

  return async function stands(record) {
    const { kind = '', accountId, clientId, clientEpoch, result, lastSubmission } = record;
    const { epoch, by } = record as Vouched;
    const logins = [result, lastSubmission].map((outcome) => (outcome as { login?: ProvenLogin } | undefined)?.login);
    const checks = [
      accountId === undefined ||
        (kind === 'Session'
          ? isSessionLive(accountId, { uid: String(record.uid), epoch })
          : isAccountLive(accountId, PROOF_OF[kind], epoch)),
      clientId === undefined ||
        isClientLive(clientId, GIVEN_TO_CLIENT.has(kind) ? Number(clientEpoch ?? 0) : undefined),
      ...logins.map((login) => !login || isAccountLive(login.accountId, 'sign-in', login.epoch)),
      ...[{ accountId, by }, ...logins].map((proof) => !proof?.by || isWordGood(String(proof.accountId), proof.by)),
      // Only of what has not begun a session yet.
      !logins[0]?.provider || isProviderGood(logins[0].provider),
    ];
    return (await Promise.all(checks)).every(Boolean);
  };
}
