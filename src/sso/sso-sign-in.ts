/**
 * Signing a person in by an app's word. Owns the rules: whose word counts, for whom, and what it may give. They are checked
 * when a partner asks and again when its user arrives. Knows neither wire formats nor browsers.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { type Account, counts, isYielding, permissionsOf, profileFromElsewhere } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Audit, Origin } from '../audit.ts';
import type { Client } from '../clients/client.ts';
import type { Clients } from '../clients/clients.ts';
import type { JudgeSecret } from '../clients/secret-judge.ts';
import type { SsoPolicy, Word } from '../clients/sso-policy.ts';
import { AppError } from '../errors.ts';
import type { SsoConnections } from './sso-connections.ts';
import type { SsoTokens } from './sso-tokens.ts';

/** An app that may sign people in. */
export type PartnerClient = Client & { sso: SsoPolicy };

/** How an app proves that it is one, for one of its organizations. */
export interface Credentials {
  clientId: string | undefined;
  secret: string | undefined;
  organizationId: string | undefined;
}

/** What an app says of its user. */
export interface Person {
  email: string;
  givenName?: string | undefined;
  familyName?: string | undefined;
  /** What the person may do. Absent: whatever it may already. */
  permissions?: string[] | undefined;
}

interface Changes
  extends Omit<Person, 'email' | 'permissions'>,
    Partial<Pick<Account, 'permissions' | 'given' | 'emailVerified'>> {}

/** What an app says of its user, as it says it. */
export interface Told extends Omit<Person, 'givenName' | 'familyName'> {
  givenName?: unknown;
  familyName?: unknown;
}

/** Somebody whom an app may sign in now. */
export interface SignIn {
  client: PartnerClient;
  account: Account;
}

/** What it stands on. */
export interface ProvenSignIn extends SignIn {
  word: Word;
}

export interface SsoSignIn {
  /** @throws {AppError} `invalid_client`, which does not say what of it was wrong. */
  authenticate(credentials: Credentials, source: string): Promise<PartnerClient>;
  /**
   * The person's account, made or brought up to date.
   * @throws {AppError} `access_denied` for somebody whom this app may not sign in; `invalid_scope`; `invalid_request` naming the field.
   */
  introduce(client: PartnerClient, organizationId: string, told: Told, origin: Origin): Promise<Account>;
  /** The account that an app may sign in, when there is one. */
  find(client: PartnerClient, organizationId: string, email: string): Promise<Account | undefined>;
  /**
   * The app's word for somebody, as it is now.
   * @throws {AppError} `access_denied` when it may not sign them in.
   */
  vouch(client: PartnerClient, organizationId: string, account: Account): Promise<Word>;
  /** Remembers that the app acted for the person, where the person and administrators see it. */
  note(signIn: SignIn, origin: Origin, detail?: Record<string, string>): Promise<void>;
  /** What the app may do as the person, of what is asked or all. */
  scopeFor(client: PartnerClient, account: Account, asked?: string[]): string[];
  /**
   * Who would be signed in with a token. Uses nothing up.
   * @throws {AppError} as `redeem` does.
   */
  look(token: string, clientId?: string): Promise<ProvenSignIn>;
  /**
   * Uses the token up. Of many parallel callers one gets an answer.
   * @param clientId The only app whose token will do.
   * @throws {AppError} `sso_token_used` for one that is not good; `access_denied` when the person may not be signed in any more.
   */
  redeem(token: string, origin: Origin, clientId?: string): Promise<ProvenSignIn>;
}

/** The digest of no secret, as long as any. */
const NO_DIGEST = 'A'.repeat(43);

/** Milliseconds between two looks for an account that another request makes, and how often. */
const INTERVAL_MS = 50;
const LOOKS = 20;

export interface SsoSignInOptions {
  accounts: Accounts;
  clients: Pick<Clients, 'findActive'>;
  organizationName: (id: string) => Promise<string | undefined>;
  tokens: SsoTokens;
  ssoConnections: SsoConnections;
  audit: Audit;
  judgeSecret: JudgeSecret;
}

export function createSsoSignIn(options: SsoSignInOptions): SsoSignIn {
  const { accounts, clients, organizationName, tokens, ssoConnections, audit, judgeSecret } = options;

  async function partnerOf(clientId: string, organizationId: string): Promise<PartnerClient | undefined> {
    const [client, organization] = await Promise.all([clients.findActive(clientId), organizationName(organizationId)]);
    return client && organization !== undefined && mayActFor(client, organizationId) ? client : undefined;
  }

  /** @throws {AppError} `access_denied` */
  async function vouch(client: PartnerClient, organizationId: string, account: Account): Promise<Word> {
    refuseOthers(account, client.sso, organizationId);
    const partner = await ssoConnections.get(account.id, client.id);
    if (partner?.refusedAt !== undefined) throw denied('this person does not let your app sign them in');
    return { clientId: client.id, epoch: client.epoch, refusals: partner?.refusals ?? 0 };
  }

  /** Without permissions yet: what is given is remembered first. Undefined when somebody else's request was quicker. */
  async function create(
    client: PartnerClient,
    organizationId: string,
    person: Person,
    origin: Origin,
  ): Promise<Account | undefined> {
    if (!client.sso.createsPeople)
      throw denied('there is no account with this e-mail, and your app may not make accounts');
    const { email, givenName, familyName } = person;
    const proof = client.sso.vouchesForEmail ? { emailVerified: true } : { emailSaidBy: client.id };
    return accounts.create({ email, ...proof, givenName, familyName, organizationId }, origin).catch((error) => {
      if (error instanceof AppError && error.code === 'conflict') return undefined;
      throw error;
    });
  }

  /**
   * Whom an app means. Who gave the e-mail up to its owner is still whom it names by it, and the owner is not; that another organization
   * has it by an app's word is nothing to an app that may vouch for it.
   */
  async function personOf({ sso }: PartnerClient, organizationId: string, email: string): Promise<Account | undefined> {
    const [known, holder] = await Promise.all([
      accounts.findByEmailGivenUp(email, organizationId),
      accounts.findByEmail(email),
    ]);
    if (known || !holder) return known;
    const isOver = sso.vouchesForEmail && isYielding(holder) && holder.organizationId !== organizationId;
    return isOver ? undefined : holder;
  }

  /** An e-mail is claimed before its account is written. */
  async function madeMeanwhile(client: PartnerClient, organizationId: string, email: string): Promise<Account> {
    for (let look = 0; look < LOOKS; look++) {
      const account = await personOf(client, organizationId, email);
      if (account) return account;
      await sleep(INTERVAL_MS);
    }
    throw new AppError('conflict', 'an account with this e-mail is being made; try again', { field: 'email' });
  }

  /** Saying nothing of permissions changes none. */
  async function refresh(
    client: PartnerClient,
    organizationId: string,
    account: Account,
    person: Person,
    origin: Origin,
  ): Promise<Account> {
    const { permissions: wanted, ...names } = person;
    const keptBefore = wanted && (await ssoConnections.get(account.id, client.id))?.given;
    return accounts.update(
      account.id,
      (current) => {
        refuseOthers(current, client.sso, organizationId);
        const gift = wanted && giving(current, client.id, { wanted, keptBefore });
        const emailVerified = current.emailVerified || (client.sso.vouchesForEmail === true && current.email !== '');
        return changesTo(current, { ...names, ...gift, emailVerified });
      },
      origin,
    );
  }

  async function look(token: string, onlyFor?: string): Promise<ProvenSignIn> {
    const record = await tokens.find(token);
    if (!record) throw used();
    const { accountId, clientId, organizationId, epoch, clientEpoch } = record;
    if (onlyFor !== undefined && onlyFor !== clientId) throw used();
    const [client, account] = await Promise.all([partnerOf(clientId, organizationId), accounts.get(accountId)]);
    if (!client || !account) throw used();
    const word = await vouch(client, organizationId, account);
    if (!counts(account, 'sign-in', epoch) || client.epoch !== clientEpoch) throw used();
    return { client, account, word };
  }

  async function note({ client, account }: SignIn, origin: Origin, detail?: Record<string, string>): Promise<void> {
    await ssoConnections.noteSignIn(account.id, client.id, origin.address);
    await audit.record({ ...origin, type: 'partner_sign_in', accountId: account.id, clientId: client.id, detail });
  }

  return {
    vouch,
    note,

    async authenticate({ clientId = '', secret = '', organizationId = '' }, source) {
      const [client, organization] = await Promise.all([
        clients.findActive(clientId),
        organizationName(organizationId),
      ]);
      // Counted and compared even when there is nothing to compare with: how long it takes says nothing.
      const { id, secrets } = client ?? { id: 'nobody', secrets: [{ digest: NO_DIGEST }] };
      const digests = secrets.map(({ digest }) => digest);
      const isProven = await judgeSecret({ clientId: id, digests, presented: secret, source });
      if (client && isProven && organization !== undefined && mayActFor(client, organizationId)) return client;
      throw new AppError(
        'invalid_client',
        'client_id, client_secret and organization_id must be those of an app that may sign people of that organization in',
      );
    },

    async introduce(client, organizationId, { givenName, familyName, ...told }, origin) {
      const { profile: names, altered } = profileFromElsewhere({ givenName, familyName });
      const person = { ...told, ...names };
      const { sso } = client;
      assertWithin(ceilingOf(client), person.permissions ?? []);
      assertDomain(sso, person.email);
      const by = { ...origin, clientId: client.id };
      const known = await personOf(client, organizationId, person.email);
      const made = known ?? (await create(client, organizationId, person, by));
      const account = made ?? (await madeMeanwhile(client, organizationId, person.email));
      await vouch(client, organizationId, account);
      const updated = await refresh(client, organizationId, account, person, by);
      if (altered.length > 0 && (!known || changesTo(known, names)))
        await audit.record({
          ...by,
          type: 'details_altered',
          accountId: account.id,
          detail: { altered: altered.join(' ') },
        });
      return updated;
    },

    async find(client, organizationId, email) {
      const account = await personOf(client, organizationId, email);
      return account?.organizationId === organizationId && client.sso.organizationIds.includes(organizationId)
        ? account
        : undefined;
    },

    scopeFor(client, account, asked) {
      const held = permissionsOf(account);
      return (asked ?? ceilingOf(client)).filter((name) => held.includes(name));
    },

    look,

    async redeem(token, origin, clientId) {
      const found = await look(token, clientId);
      if (!(await tokens.take(token))) throw used();
      await note(found, origin);
      return found;
    },
  };
}

/** The most an app may give: what it was allowed to, as far as it may still ask for it. */
function ceilingOf({ sso, permissions }: PartnerClient): string[] {
  return sso.permissions.filter((name) => permissions.includes(name));
}

function mayActFor(client: Client, organizationId: string): client is PartnerClient {
  return client.sso?.organizationIds.includes(organizationId) === true;
}

/** @throws {AppError} `invalid_scope` */
function assertWithin(ceiling: readonly string[], permissions: readonly string[]): void {
  const beyond = permissions.find((name) => !ceiling.includes(name));
  if (beyond !== undefined) {
    throw new AppError('invalid_scope', `your app may not give the permission ${JSON.stringify(beyond)}`, {
      field: 'permissions',
    });
  }
}

/** @throws {AppError} `access_denied` */
function assertDomain({ emailDomains }: SsoPolicy, email: string): void {
  if (emailDomains && !emailDomains.includes(email.slice(email.lastIndexOf('@') + 1)))
    throw denied('your app may not sign people with an e-mail of this domain in');
}

/** Whom no app signs in. @throws {AppError} `access_denied` */
function refuseOthers(account: Account, sso: SsoPolicy, organizationId: string): void {
  if (account.organizationId !== organizationId)
    throw denied('this e-mail belongs to a person outside the organization');
  if (account.administrator) throw denied('administrators sign in themselves');
  if (account.status === 'pending') throw denied('the account waits for the approval of an administrator');
  if (account.status !== 'active') throw denied('the account is disabled');
  assertDomain(sso, account.email || (account.emailGivenUp ?? ''));
}

/**
 * An app takes back what it gave itself, and nothing that others gave: each app's gifts stand in the account, beside what it holds.
 * @param keptBefore What this app gave as long as that was kept apart from the account.
 */
function giving(
  { permissions, given = {} }: Account,
  clientId: string,
  { wanted, keptBefore = [] }: { wanted: readonly string[]; keptBefore: readonly string[] | undefined },
): Pick<Account, 'permissions' | 'given'> {
  const { [clientId]: earlier = keptBefore, ...ofOthers } = given;
  const byOthers = Object.values(ofOthers).flat();
  const byNoApp = permissions.filter((name) => !earlier.includes(name) && !byOthers.includes(name));
  const now = wanted.filter((name) => !byNoApp.includes(name));
  return {
    permissions: [...new Set([...byNoApp, ...byOthers, ...now])],
    given: { ...ofOthers, [clientId]: now },
  };
}

function changesTo(
  account: Account,
  { givenName, familyName, emailVerified = account.emailVerified, ...gift }: Changes,
) {
  const { permissions = account.permissions, given = account.given } = gift;
  const names = { givenName: givenName ?? account.givenName, familyName: familyName ?? account.familyName };
  const isSame = names.givenName === account.givenName && names.familyName === account.familyName;
  const isGiven = isDeepStrictEqual(given, account.given) && sameNames(permissions, account.permissions);
  const isUnchanged = isSame && isGiven && emailVerified === account.emailVerified;
  return isUnchanged ? undefined : { ...names, permissions, given, emailVerified };
}

function sameNames(some: readonly string[], others: readonly string[]): boolean {
  return new Set(some).symmetricDifference(new Set(others)).size === 0;
}

function denied(message: string): AppError {
  return new AppError('access_denied', message);
}

function used(): AppError {
  return new AppError('sso_token_used', 'this sign-in was used already, has expired, or belongs to another app');
}
