/**
 * Accounts and what is done with them. Owns their records and the one-account-per-e-mail rule. Knows neither sessions nor
 * grants nor organizations: ending and looking up those is handed in. What ends anything raises the account's epoch with the
 * same write, and is effective by it, since everybody asks for the record at each use; ending sessions only cleans up behind it.
 */
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { Audit, AuditEventType, Origin } from '../audit.ts';
import { Email, spelledEmail } from '../email.ts';
import { AppError, noSuch } from '../errors.ts';
import { parseInput } from '../input.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { Account, type AccountStatus, BUILT_IN_PERMISSION, counts, isYielding, Profile } from './account.ts';
import { createEmailClaims } from './email-claims.ts';
import { createLastAdministrator } from './last-administrator.ts';
import type { Passwords } from './password.ts';
import { checkPassword } from './password-policy.ts';

const ADMINISTRATORS = 'administrators';

/** In UTF-16 units, in any spelling. */
const LONGEST_EMAIL = 500;

/** Giving what everybody holds is no mistake, and gives nothing. */
const GivenPermissions = Account.shape.permissions.transform((names) =>
  names.filter((name) => name !== BUILT_IN_PERMISSION),
);

/** What is said of a new account; everything but the e-mail has a default. */
export const NewAccount = Profile.extend({
  email: Email,
  password: z.string().optional(),
  emailVerified: z.boolean().default(false),
  emailSaidBy: Account.shape.emailSaidBy,
  status: Account.shape.status.exclude(['disabled']).default('active'),
  administrator: z.boolean().default(false),
  organizationId: Account.shape.organizationId,
  permissions: GivenPermissions.default([]),
});
export type NewAccount = z.input<typeof NewAccount>;

/** A claim or organization that is present but undefined is removed; whatever is absent stays. */
const AccountChanges = Profile.extend({
  emailVerified: z.boolean().optional(),
  administrator: z.boolean().optional(),
  organizationId: Account.shape.organizationId,
  permissions: GivenPermissions.optional(),
  given: Account.shape.given,
});
export type AccountChanges = z.input<typeof AccountChanges>;
type ChangeOf = (account: Account) => AccountChanges | undefined;

/** Parsed when there is no account, which must not be quicker than when there is one. */
const NOBODY: Account = {
  id: '00000000-0000-0000-0000-000000000000',
  email: 'nobody@latchkey.invalid',
  givenName: 'Nobody',
  familyName: 'Nobody',
  emailVerified: false,
  status: 'disabled',
  administrator: false,
  permissions: [],
  epoch: 0,
  grantsSince: 0,
  tokensSince: 0,
  createdAt: 0,
  updatedAt: 0,
};

/** What ends: sign-ins, with them all grants, and with those all personal tokens. */
export type Reach = 'sign-ins' | 'grants' | 'tokens';

/** On whose behalf something ends. */
export interface Ending {
  /** The uid of the session that goes on. */
  keepSession?: string | undefined;
  /** The epoch under which who asks for it has proven who they are: refused when that has ended meanwhile. */
  provenUnder?: number | undefined;
}

export interface Accounts {
  /**
   * An e-mail that another account has by an app's word alone is taken from it, unless this is such a word too.
   * @param id For who has to know it before; one that no account has had.
   * @throws {AppError} `conflict` when the e-mail is taken; `invalid_request` naming the field, for instance a password
   * that the policy refuses, or an organization or permission that does not exist.
   */
  create(input: NewAccount, origin?: Origin, id?: string): Promise<Account>;
  /** The account whatever its status. */
  get(id: string): Promise<Account | undefined>;
  /** The account when it may act now. */
  findActive(id: string): Promise<Account | undefined>;
  /** The account with this e-mail, whatever its status; takes as long when there is none. */
  findByEmail(email: string): Promise<Account | undefined>;
  /** The person of this organization whose e-mail went to who proved it. */
  findByEmailGivenUp(email: string, organizationId: string): Promise<Account | undefined>;
  /** @throws {AppError} `not_found` */
  getOrFail(idOrEmail: string): Promise<Account>;
  /**
   * @param changes Or a pure function that works them out from the account as it is; undefined for none.
   * @throws {AppError} `not_found`, as `create` does, or what the function throws.
   */
  update(id: string, changes: AccountChanges | ChangeOf, origin?: Origin): Promise<Account>;
  /**
   * Also ends all sessions, but for the one that is kept, and all grants.
   * @throws {AppError} `not_found`, `login_required`, or `invalid_request` when the policy refuses it.
   */
  setPassword(id: string, password: string, origin?: Origin & Ending): Promise<void>;
  /**
   * Ends what was proven before: sessions and sign-ins on their way and, as far as it reaches, grants and personal tokens.
   * @throws {AppError} `not_found`, `login_required`
   */
  endProven(id: string, reach: Reach, ending?: Ending): Promise<void>;
  /** @throws {AppError} `not_found`; `conflict` for the last active administrator. */
  disable(id: string, origin?: Origin): Promise<Account>;
  /** A disabled account becomes active, with nothing left of earlier sessions, grants and tokens. */
  enable(id: string, origin?: Origin): Promise<Account>;
  /** A pending account becomes active. @throws {AppError} `conflict` when it is disabled. */
  approve(id: string, origin?: Origin): Promise<Account>;
  /** Deletes the account and frees its e-mail. @throws {AppError} as `disable` does. */
  remove(id: string, origin?: Origin): Promise<void>;
  /** Whether there is an administrator, of whatever status. */
  hasAdministrator(): Promise<boolean>;
  /** Those who may administer now. */
  activeAdministrators(): Promise<Account[]>;
  /** In the order of their ids; an organization's members, or all. */
  list(page?: {
    organizationId?: string;
    limit?: number;
    after?: string;
  }): Promise<{ accounts: Account[]; next?: string }>;
}

export interface AccountsOptions {
  storage: Storage;
  now: () => number;
  audit: Audit;
  passwords: Passwords;
  /**
   * Erases the sessions of an account, and its grants unless they stay; called again after a crash. One session may go on under the
   * epoch that is `kept`.
   */
  endSessions(
    accountId: string,
    options?: { kept?: { uid: string; epoch: number }; grantsStay?: boolean },
  ): Promise<void>;
  /** Hears that an account has become an administrator's. */
  administratorMade?(): Promise<void>;
  /** Erases what others keep of an account that is deleted; called again after a crash. */
  forget?(accountId: string): Promise<void>;
  /** Undefined when there is no such organization. */
  organizationName(id: string): Promise<string | undefined>;
  permissionNames(): Promise<readonly string[]>;
}

export function createAccounts(options: AccountsOptions): Accounts {
  const { storage, now, audit, passwords, endSessions } = options;
  const accounts = collection(storage, { kind: 'account', version: 1, schema: Account });
  const emails = createEmailClaims({ storage, now, isHeld });
  const lastAdministrator = createLastAdministrator({
    storage,
    now,
    list: async () => (await activeAdministrators()).map(({ id }) => id),
  });

  async function isHeld(email: string, accountId: string): Promise<boolean> {
    return (await accounts.get(accountId))?.email === email;
  }

  async function findByEmail(input: string): Promise<Account | undefined> {
    const email = input.length > LONGEST_EMAIL ? '' : spelledEmail(input);
    if (!/^[\x21-\x7e]+$/.test(email)) return undefined;
    const account = await accounts.get((await emails.holderOf(email)) ?? 'nobody');
    if (!account) Account.parse(NOBODY);
    return account?.email === email ? account : undefined;
  }

  async function findByEmailGivenUp(email: string, organizationId: string): Promise<Account | undefined> {
    const { records } = await accounts.list(groupOfGivenUp(email, organizationId));
    return records.find((account) => account.organizationId === organizationId && account.emailGivenUp === email);
  }

  /**
   * An e-mail for an account that is about to be written. One write decides: the account that has it by an app's word gives it up,
   * unless somebody has said meanwhile that it is theirs. Killed between that and the claim, the e-mail is free.
   * @returns The id of the account that gave it up.
   */
  async function claimEmail(
    { id, email, emailSaidBy }: Pick<Account, 'id' | 'email' | 'emailSaidBy'>,
    origin: Origin,
  ): Promise<string | undefined> {
    const yields = emailSaidBy !== undefined;
    try {
      await emails.claim(email, id, { yields });
      return undefined;
    } catch (error) {
      const giver = yields ? undefined : await giveUp(email, origin);
      if (giver === undefined) throw error;
      return (await claimEmail({ id, email }, origin)) ?? giver;
    }
  }

  /** Whether it is by now somebody in the organization who gave the e-mail up that an app names again. */
  async function isKnownByWord({ email, emailSaidBy, organizationId }: Account): Promise<boolean> {
    if (emailSaidBy === undefined || organizationId === undefined) return false;
    return (await findByEmailGivenUp(email, organizationId)) !== undefined;
  }

  async function giveUp(email: string, origin: Origin): Promise<string | undefined> {
    const holder = await findByEmail(email);
    if (!holder || !isYielding(holder)) return undefined;
    const isGiven = await withoutEmail(holder, origin);
    return isGiven ? holder.id : giveUp(email, origin);
  }

  /** Undefined when the account has changed since it was seen. */
  async function withoutEmail(seen: Account, origin: Origin): Promise<Account | undefined> {
    const { id, email } = seen;
    await record('email_given_up', id, origin, { email });
    const changed = (account: Account) => ({ ...account, email: '', emailGivenUp: email, updatedAt: now() });
    const isSeen = (account: Account) =>
      account.email === email && isYielding(account) && isDeepStrictEqual(groupsOf(account), groupsOf(seen));
    return accounts.update(id, (account) => (isSeen(account) ? changed(account) : undefined), {
      groups: groupsOf(changed(seen)),
    });
  }

  async function activeAdministrators(): Promise<Account[]> {
    const all = await Array.fromAsync(accounts.all(ADMINISTRATORS));
    return all.filter(isActiveAdministrator);
  }

  /** Before an account is disabled, deleted or no administrator's any more. @throws {AppError} `conflict` */
  async function standDown(id: string): Promise<void> {
    if (isActiveAdministrator(await getOrFail(id))) await lastAdministrator.leave(id);
  }

  async function standUp(account: Account): Promise<void> {
    if (isActiveAdministrator(account)) await lastAdministrator.join(account.id);
  }

  async function getOrFail(id: string): Promise<Account> {
    const account = await accounts.get(id);
    if (!account) throw noSuch('account', id);
    return account;
  }

  /** The organization's name, or undefined without one. */
  async function checkOrganization(id: string | undefined): Promise<string | undefined> {
    if (id === undefined) return undefined;
    const name = await options.organizationName(id);
    if (name === undefined)
      throw new AppError('invalid_request', `there is no organization ${JSON.stringify(id)}`, {
        field: 'organization',
      });
    return name;
  }

  async function checkPermissions(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const known = await options.permissionNames();
    const unknown = names.find((name) => !known.includes(name));
    if (unknown === undefined) return;
    throw new AppError('invalid_request', `there is no permission ${JSON.stringify(unknown)}`, { field: 'permission' });
  }

  async function hashChosen(password: string, email: string, organization: string | undefined): Promise<string> {
    checkPassword(password, { email, words: organization === undefined ? [] : [organization] });
    return passwords.hash(password);
  }

  /** The one way in which anything ends. @throws {AppError} `not_found`, `login_required` */
  async function end(
    id: string,
    { reach, change = (account) => account }: { reach: Reach; change?: (account: Account) => Account },
    { keepSession, provenUnder }: Ending = {},
  ): Promise<Account> {
    const changed = await accounts.update(id, (account) => {
      assertProven(account, provenUnder);
      return { ...ended(change(account), reach, keepSession), updatedAt: now() };
    });
    if (!changed) throw noSuch('account', id);
    await endSessions(id, {
      ...(keepSession === undefined ? {} : { kept: { uid: keepSession, epoch: changed.epoch } }),
      grantsStay: reach === 'sign-ins',
    });
    return changed;
  }

  /** The groups that go with a change depend on what it is made to, so it is made only to what they were worked out from. */
  async function change(id: string, changeOf: ChangeOf): Promise<Account> {
    const seen = await getOrFail(id);
    const changed = (account: Account) => changedBy(account, parseInput(AccountChanges, changeOf(account) ?? {}));
    const groups = groupsOf(changed(seen));
    const isSeen = (account: Account) => isDeepStrictEqual(groupsOf(account), groupsOf(seen));
    const written = await accounts.update(
      id,
      (account) => (isSeen(account) ? { ...changed(account), updatedAt: now() } : undefined),
      { groups },
    );
    return written ?? change(id, changeOf);
  }

  const record = (type: AuditEventType, accountId: string, origin: Origin, detail?: Record<string, string>) =>
    audit.record({ ...origin, type, accountId, detail });

  return {
    get: (id) => accounts.get(id),
    findByEmail,
    findByEmailGivenUp,

    async findActive(id) {
      const account = await accounts.get(id);
      return account?.status === 'active' ? account : undefined;
    },

    async getOrFail(idOrEmail) {
      const account = await (idOrEmail.includes('@') ? findByEmail(idOrEmail) : accounts.get(idOrEmail));
      if (!account) throw noSuch('account', idOrEmail);
      return account;
    },

    async create(input, origin = {}, id = randomUUID()) {
      const { password, ...wanted } = parseInput(NewAccount, input);
      const organization = await checkOrganization(wanted.organizationId);
      await checkPermissions(wanted.permissions);
      const passwordHash = password === undefined ? undefined : await hashChosen(password, wanted.email, organization);
      const account: Account = {
        ...wanted,
        id,
        passwordHash,
        epoch: 0,
        grantsSince: 0,
        tokensSince: 0,
        createdAt: now(),
        updatedAt: now(),
      };

      const giver = await claimEmail(account, origin);
      if (await isKnownByWord(account)) {
        await emails.release(account.email, account.id);
        throw emailTaken();
      }
      // Before the account rather than after it: an account without its event must not exist.
      await record('account_created', account.id, origin, giver === undefined ? undefined : { email_from: giver });
      await accounts.insert(account.id, account, { groups: groupsOf(account) });
      if (await emails.confirm(account.email, account.id)) {
        if (account.administrator) await options.administratorMade?.();
        await standUp(account);
        return account;
      }
      // Whoever proved it meanwhile has it, and may have taken it from the account already.
      if (isYielding(account) && !(await emails.yields(account.email)))
        return (await withoutEmail(account, origin)) ?? getOrFail(id);
      await accounts.delete(account.id);
      throw emailTaken();
    },

    async update(id, input, origin = {}) {
      const changeOf = typeof input === 'function' ? input : () => input;
      const seen = await getOrFail(id);
      const wanted = changeOf(seen);
      if (!wanted) return seen;
      const changes = parseInput(AccountChanges, wanted);
      if (changes.emailVerified && seen.email === '') throw hasNoEmail();
      await checkOrganization(changes.organizationId);
      await checkPermissions(changes.permissions ?? []);
      if (changes.administrator === false) await standDown(id);
      // Before it, as with all that ends something: a change of power without its event must not exist.
      await record('account_changed', id, origin, { changed: Object.keys(changes).join(' ') });
      const account = await change(id, changeOf);
      if (account.administrator && !seen.administrator) {
        await options.administratorMade?.();
        await standUp(account);
        await endSessions(id);
      }
      return account;
    },

    async setPassword(id, password, { keepSession, provenUnder, ...origin } = {}) {
      const seen = await getOrFail(id);
      assertProven(seen, provenUnder);
      const organization =
        seen.organizationId === undefined ? undefined : await options.organizationName(seen.organizationId);
      const passwordHash = await hashChosen(password, seen.email, organization);
      await record('password_changed', id, origin);
      const change = (account: Account) => ({ ...account, passwordHash });
      await end(id, { reach: 'grants', change }, { keepSession, provenUnder });
    },

    async endProven(id, reach, ending) {
      await end(id, { reach }, ending);
    },

    async disable(id, origin = {}) {
      await standDown(id);
      await record('account_disabled', id, origin);
      return end(id, { reach: 'tokens', change: disabled });
    },

    async enable(id, origin = {}) {
      const { status } = await getOrFail(id);
      if (status === 'pending') throw isInStatus(status);
      // What a crash during disabling left behind must not come back to life. An active account keeps its sessions.
      if (status === 'disabled') await endSessions(id);
      await record('account_enabled', id, origin);
      const changed = await accounts.update(id, (account) =>
        account.status === 'disabled' ? { ...ended(account, 'tokens'), status: 'active', updatedAt: now() } : undefined,
      );
      const account = changed ?? (await getOrFail(id));
      await standUp(account);
      return account;
    },

    async approve(id, origin = {}) {
      const { status } = await getOrFail(id);
      if (status === 'disabled') throw isInStatus(status);
      await record('account_approved', id, origin);
      const changed = await accounts.update(id, (account) =>
        account.status === 'pending' ? { ...account, status: 'active', updatedAt: now() } : undefined,
      );
      const account = changed ?? (await getOrFail(id));
      await standUp(account);
      return account;
    },

    async remove(id, origin = {}) {
      await standDown(id);
      const { email } = await getOrFail(id);
      await record('account_deleted', id, origin);
      await end(id, { reach: 'tokens', change: disabled });
      await options.forget?.(id);
      await accounts.delete(id);
      if (email !== '') await emails.release(email, id);
    },

    async hasAdministrator() {
      for await (const { administrator } of accounts.all(ADMINISTRATORS)) {
        if (administrator) return true;
      }
      return false;
    },

    activeAdministrators,

    async list({ organizationId, ...page } = {}) {
      const { records, next } = await accounts.list(groupOf(organizationId), page);
      const found = records.filter(
        (account) => organizationId === undefined || account.organizationId === organizationId,
      );
      return next === undefined ? { accounts: found } : { accounts: found, next };
    },
  };
}

function isActiveAdministrator({ administrator, status }: Account): boolean {
  return administrator && status === 'active';
}

function groupOf(organizationId: string | undefined): string {
  return organizationId === undefined ? 'accounts' : `organization:${organizationId}`;
}

function groupOfGivenUp(email: string, organizationId: string): string {
  return `given-up:${organizationId}:${email}`;
}

function groupsOf({ organizationId, administrator, emailGivenUp }: Account): string[] {
  const groups = [groupOf(undefined)];
  if (organizationId !== undefined) groups.push(groupOf(organizationId));
  if (organizationId !== undefined && emailGivenUp !== undefined)
    groups.push(groupOfGivenUp(emailGivenUp, organizationId));
  if (administrator) groups.push(ADMINISTRATORS);
  return groups;
}

function changedBy(account: Account, changes: z.output<typeof AccountChanges>): Account {
  const {
    emailVerified: isVerified = account.emailVerified,
    administrator = account.administrator,
    permissions = account.permissions,
    given = account.given,
    ...removable
  } = changes;
  const kept = within(permissions, given);
  // Somebody else may have proven the e-mail a moment ago.
  const emailVerified = isVerified && account.email !== '';
  const email = { emailVerified, emailSaidBy: emailVerified ? undefined : account.emailSaidBy };
  const changed = { ...account, ...removable, ...email, administrator, permissions, ...kept };
  // Whoever is given this power proves anew who they are. Whoever loses it is looked at at each request, and stays signed in.
  return administrator && !account.administrator ? ended(changed, 'grants') : changed;
}

/** What was taken from the account is no app's gift any more. */
function within(permissions: readonly string[], given: Account['given']): Pick<Account, 'given'> {
  if (given === undefined) return {};
  const left = Object.entries(given).map(([clientId, names]) => [
    clientId,
    names.filter((name) => permissions.includes(name)),
  ]);
  return { given: Object.fromEntries(left) };
}

/** The account with everything ended that was proven before. */
function ended(account: Account, reach: Reach, keptSession?: string): Account {
  const epoch = account.epoch + 1;
  return {
    ...account,
    epoch,
    keptSession,
    ...(reach === 'sign-ins' ? {} : { grantsSince: epoch }),
    ...(reach === 'tokens' ? { tokensSince: epoch } : {}),
  };
}

function disabled(account: Account): Account {
  return { ...account, status: 'disabled' };
}

/** What was proven under an epoch that has ended must not end what was proven since. */
function assertProven(account: Account, provenUnder: number | undefined): void {
  if (provenUnder === undefined || counts(account, 'sign-in', provenUnder)) return;
  throw new AppError('login_required', 'this sign-in has ended meanwhile: sign in again');
}

function emailTaken(): AppError {
  return new AppError('conflict', 'there is an account with this e-mail already', { field: 'email' });
}

function hasNoEmail(): AppError {
  return new AppError('conflict', 'the account has no e-mail: somebody else proved it to be theirs', {
    field: 'email_verified',
  });
}

function isInStatus(status: AccountStatus): AppError {
  return new AppError('conflict', `the account is ${status}`, { field: 'status' });
}
