/**
 * Whether a record of the engine still stands: on an account and an app that may act, and on proofs that nothing has ended since.
 * The one place in which that is decided, for the engine and for whoever reads its records without it.
 */
import type { AdapterPayload } from 'oidc-provider';
import { type Account, counts, countsSession, type ProofKind } from '../accounts/account.ts';
import type { ProvenLogin, Vouched } from './epoch.ts';

export interface StandingOptions {
  /** Undefined for one that may not act; so for an app. */
  findAccount: (accountId: string) => Promise<Account | undefined>;
  findClient: (clientId: string) => Promise<{ epoch: number } | undefined>;
}

export type Stands = (record: AdapterPayload) => Promise<boolean>;

/** What carries the epoch that its person proved who they are under; codes and tokens stand on a grant, and end with it. */
const PROOF_OF: Readonly<Record<string, ProofKind>> = { Grant: 'grant' };

/** What carries the epoch in which its app was given it. */
const GIVEN_TO_CLIENT = new Set(['ClientCredentials', 'Grant']);

export function createStanding({ findAccount, findClient }: StandingOptions): Stands {
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
      ...[by, ...logins.map((login) => login?.by)].map((word) => !word || isClientLive(word.clientId, word.epoch)),
    ];
    return (await Promise.all(checks)).every(Boolean);
  };
}
