/**
 * Personal tokens: making, listing, exchanging, revoking and recognising them. Owns their records and the rule that what was
 * exchanged away and comes back was stolen. Knows nothing of requests, pages or mails.
 */
import { randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { type Account, BUILT_IN_PERMISSION, counts, permissionsOf } from '../accounts/account.ts';
import type { Audit, Origin } from '../audit.ts';
import { elapsed } from '../clock.ts';
import { AppError, noSuch } from '../errors.ts';
import { parseInput } from '../input.ts';
import { createSecretToken, digestOf } from '../secrets/secret-token.ts';
import { collection } from '../storage/collection.ts';
import { createPlaces, type Place } from '../storage/places.ts';
import type { Storage } from '../storage/storage.ts';
import { CREDENTIAL_KINDS, kindOf } from './kinds.ts';
import { type ListedToken, PersonalToken, TokenUse } from './personal-token.ts';

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const DEFAULT_LIFETIME = 90 * DAY;
const LONGEST_LIFETIME = 366 * DAY;
const LONGEST_OVERLAP = DAY;
/** A token that is over is still known this long: its user sees it, and its use is told from a made-up one's. */
const REMEMBERED = 30 * DAY;
/** Seconds before its end at which a token's owner is told, last one first. */
const REMINDERS = [DAY, 7 * DAY];
const EXPIRING = 'personal-tokens:expiring';
/** The last use is written at most this often. */
const USE_INTERVAL = MINUTE;
/** More than anybody needs at once, and few enough to list. */
const MOST_TOKENS = 200;

export const NewPersonalToken = z.object({
  description: PersonalToken.shape.description,
  /** Space-separated permissions; absent: all that the account holds now. */
  scope: z.string().max(4000).optional(),
  /** Seconds; absent: 90 days; null: never, where that is allowed. */
  expiresIn: z.int().positive().max(LONGEST_LIFETIME, 'must be at most 366 days').nullable().optional(),
});
export type NewPersonalToken = z.input<typeof NewPersonalToken>;

/** The only time a token itself is known. */
export interface MadePersonalToken {
  token: string;
  record: PersonalToken;
}

export interface PersonalTokens {
  /**
   * @param account As it was when who wants the token proved who they are.
   * @throws {AppError} `invalid_request` or `invalid_scope` naming the field; `conflict` when there are too many; `login_required` when
   * that proof has ended meanwhile.
   */
  create(account: Account, input: NewPersonalToken, origin?: Origin): Promise<MadePersonalToken>;
  /** Newest first: those that work, and those that expired lately. */
  list(accountId: string): Promise<ListedToken[]>;
  /** How many of an account's work, and how many an act that ended them all has ended for good. */
  count(account: Account): Promise<{ working: number; ended: number }>;
  /** @throws {AppError} `not_found` when it is not this account's. Repeating it is fine. */
  revoke(accountId: string, id: string, origin?: Origin): Promise<void>;
  /** Safe to repeat. */
  revokeAll(accountId: string, origin?: Origin): Promise<void>;
  /** Revokes a token that somebody has found, and tells its owner. False when there is no such token, or it was dead already. */
  revokeLeaked(token: string, origin?: Origin): Promise<boolean>;
  /**
   * A new token like it; the old one works for `overlap` seconds more.
   * @throws {AppError} `not_found`, `invalid_request`, and as `create` does.
   */
  rotate(account: Account, id: string, rotation: { overlap: number; origin?: Origin }): Promise<MadePersonalToken>;
  /**
   * The record of a token that works now, by the token itself.
   * @throws {AppError} `expired_token` or `invalid_token`. Using one after its exchange revokes all it was exchanged for.
   */
  authenticate(token: string, origin?: Origin): Promise<PersonalToken>;
  /** Notes when and from where it was used, at most once a minute. */
  noteUse(record: PersonalToken, address: string): Promise<void>;
  /** Tells owners of tokens that end within 7 days, and again within one. Ends early, without harm, with the signal. */
  remindDue(signal: AbortSignal): Promise<void>;
}

export interface PersonalTokensOptions {
  storage: Storage;
  now: () => number;
  audit: Audit;
  findAccount: (id: string) => Promise<Account | undefined>;
  /** Whether tokens may be made that never expire. */
  mayBeEternal: boolean;
  /** Tells the owner. Absent: nobody is told, as where there is no server to send from. */
  notify?: (event: TokenEvent) => Promise<void>;
}

/** What the owner of a token has to know. */
export type TokenEvent =
  | { kind: 'token_created' | 'token_reused' | 'token_leaked'; token: PersonalToken; at: number; origin: Origin }
  | { kind: 'token_expires'; token: PersonalToken; at: number; expiresAt: number; lastUsedAt: number | undefined };

/** What a person's tokens are listed under. */
export const personalTokenGroup = (accountId: string) => `personal-tokens:account:${accountId}`;

export function createPersonalTokens(options: PersonalTokensOptions): PersonalTokens {
  const { storage, now, audit, findAccount, mayBeEternal, notify = async () => undefined } = options;
  const tokens = collection(storage, { kind: 'personal-token', version: 1, schema: PersonalToken });
  const uses = collection(storage, { kind: 'personal-token-use', version: 1, schema: TokenUse });
  const noted = new LRUCache<string, number>({ max: 10_000 });
  const digests = collection(storage, { kind: 'personal-token-digest', version: 1, schema: z.string() });
  const familyGroup = (familyId: string) => `personal-tokens:family:${familyId}`;

  const takePlace = createPlaces({ storage, now });

  const allOf = (accountId: string) => Array.fromAsync(tokens.all(personalTokenGroup(accountId)));
  const unrevoked = async (accountId: string) => (await allOf(accountId)).filter(isUnrevoked);

  /** @throws {AppError} `conflict` when there are too many. */
  async function placeFor({ id, accountId }: PersonalToken, most: number): Promise<Place> {
    const all = await allOf(accountId);
    const account = await findAccount(accountId);
    const there = { count: account ? standing(account, all).length : 0, ids: new Set(all.map((token) => token.id)) };
    const place = await takePlace({ name: personalTokenGroup(accountId), id, most, there });
    if (!place) throw new AppError('conflict', 'there are too many tokens; revoke some first');
    return place;
  }

  /** Those that no act has ended which ends them all. */
  function standing({ tokensSince }: Account, all: readonly PersonalToken[]): PersonalToken[] {
    return all.filter((token) => isUnrevoked(token) && token.epoch >= tokensSince);
  }

  /** Ends a token; its record stays for a while. */
  async function end(digest: string): Promise<PersonalToken | undefined> {
    return tokens.update(digest, (token) => ({ ...token, revokedAt: token.revokedAt ?? now() }), { ttl: REMEMBERED });
  }

  async function endFamily({ familyId, accountId, id }: PersonalToken, origin: Origin): Promise<void> {
    for await (const member of tokens.all(familyGroup(familyId))) await end(member.digest);
    await audit.record({ ...origin, type: 'token_reuse_detected', accountId, detail: { token: id } });
  }

  async function revoke(token: PersonalToken, origin: Origin): Promise<void> {
    if (token.revokedAt !== undefined) return;
    await end(token.digest);
    await audit.record({ ...origin, type: 'token_revoked', accountId: token.accountId, detail: { token: token.id } });
  }

  /** A token is told to nobody whose sign-in ended while it was made: not all that ends a sign-in ends tokens. */
  async function write(record: PersonalToken): Promise<void> {
    await store(record);
    const account = await findAccount(record.accountId);
    if (account && counts(account, 'sign-in', record.epoch)) return;
    await end(record.digest);
    throw new AppError('login_required', 'this sign-in has ended meanwhile: sign in again');
  }

  async function store(record: PersonalToken): Promise<void> {
    const groups = [personalTokenGroup(record.accountId), familyGroup(record.familyId)];
    const { expiresAt } = record;
    const options = expiresAt === undefined ? {} : { ttl: expiresAt - now() + REMEMBERED };
    await digests.insert(record.id, record.digest, options);
    await tokens.insert(record.digest, record, {
      ...options,
      groups: expiresAt === undefined ? groups : [...groups, EXPIRING],
    });
  }

  /** An exchange that failed: what cannot be undone now is at worst a token whose secret nobody has. */
  async function undoExchange(made: PersonalToken, replaced: PersonalToken | undefined): Promise<void> {
    const restore = ({ replacedUntil: _, ...token }: PersonalToken) => token;
    const old = replaced && tokens.update(replaced.digest, restore);
    await Promise.allSettled([old, tokens.delete(made.digest), digests.delete(made.id)]);
  }

  async function getOwn(accountId: string, id: string): Promise<PersonalToken> {
    const digest = z.uuid().safeParse(id).success ? await digests.get(id) : undefined;
    const token = digest === undefined ? undefined : await tokens.get(digest);
    if (token?.accountId !== accountId) throw noSuch('token', id);
    return token;
  }

  return {
    async list(accountId) {
      const account = await findAccount(accountId);
      const found = account ? standing(account, await allOf(accountId)) : [];
      const listed = found.map(async (token) => {
        const lastUse = await uses.get(token.digest);
        return lastUse ? { ...token, lastUse } : token;
      });
      return (await Promise.all(listed)).sort((a, b) => b.createdAt - a.createdAt);
    },

    async create(account, input, origin = {}) {
      const { description, scope, expiresIn = DEFAULT_LIFETIME } = parseInput(NewPersonalToken, input);
      if (expiresIn === null && !mayBeEternal) throw invalid('expires_in', 'tokens have to expire here');
      const made = make({
        accountId: account.id,
        epoch: account.epoch,
        description,
        scope: scopeWithin(account, scope),
        now: now(),
        expiresIn,
      });
      const place = await placeFor(made.record, MOST_TOKENS);
      await place.fill(async () => {
        // Before the token rather than after it: a token that nobody was told of must not exist.
        const detail = { token: made.record.id };
        await audit.record({ ...origin, type: 'token_created', accountId: account.id, detail });
        await notify({ kind: 'token_created', token: made.record, at: now(), origin });
        await write(made.record);
      });
      return made;
    },

    async count(account) {
      const current = (await allOf(account.id)).filter((token) => isCurrent(token, now()));
      const working = standing(account, current).length;
      return { working, ended: current.length - working };
    },

    async revoke(accountId, id, origin = {}) {
      await revoke(await getOwn(accountId, id), origin);
    },

    async revokeAll(accountId, origin = {}) {
      for (const token of await unrevoked(accountId)) await revoke(token, origin);
    },

    async revokeLeaked(token, origin = {}) {
      const record = kindOf(token) === 'personal_token' ? await tokens.get(digestOf(token)) : undefined;
      if (!record || record.revokedAt !== undefined) return false;
      await revoke(record, origin);
      await notify({ kind: 'token_leaked', token: record, at: now(), origin });
      return true;
    },

    async rotate({ id: accountId, epoch }, id, { overlap, origin = {} }) {
      if (!Number.isInteger(overlap) || overlap < 0 || overlap > LONGEST_OVERLAP)
        throw invalid('overlap', 'must be 0 to 86400 seconds');
      const old = await getOwn(accountId, id);
      if (!isCurrent(old, now())) throw exchangedAlready();
      const until = now() + overlap;
      const lifetime = old.expiresAt === undefined ? null : old.expiresAt - old.createdAt;
      const made = make({ ...old, epoch, now: now(), expiresIn: lifetime, familyId: old.familyId });
      // What was exchanged away is still listed for a while, and makes none of the others impossible.
      const place = await placeFor(made.record, 2 * MOST_TOKENS);
      await place.fill(async () => {
        // The new one first: whatever fails before the old one ends leaves that as it was, and of the new one nobody has the secret.
        await write(made.record);
        let replaced: PersonalToken | undefined;
        try {
          // Of two exchanges at once one counts.
          replaced = await tokens.update(old.digest, (token) =>
            isCurrent(token, now()) ? { ...token, replacedUntil: until } : undefined,
          );
          if (!replaced) throw exchangedAlready();
          const detail = { token: made.record.id, replaces: id };
          await audit.record({ ...origin, type: 'token_created', accountId, detail });
          await notify({ kind: 'token_created', token: made.record, at: now(), origin });
        } catch (error) {
          await undoExchange(made.record, replaced);
          throw error;
        }
      });
      return made;
    },

    async authenticate(token, origin = {}) {
      const record = await tokens.get(digestOf(token));
      if (!record || record.revokedAt !== undefined)
        throw new AppError('invalid_token', 'the token is unknown or was revoked');
      if (record.replacedUntil !== undefined && record.replacedUntil <= now()) {
        await endFamily(record, origin);
        await notify({ kind: 'token_reused', token: record, at: now(), origin });
        throw new AppError('invalid_token', 'the token was exchanged for another one');
      }
      if (record.expiresAt !== undefined && record.expiresAt <= now())
        throw new AppError('expired_token', 'the token has expired');
      return record;
    },

    async noteUse({ digest, expiresAt }, address) {
      if (elapsed() - (noted.get(digest) ?? Number.NEGATIVE_INFINITY) < USE_INTERVAL) return;
      noted.set(digest, elapsed());
      const use = { at: now(), from: address };
      const options = expiresAt === undefined ? {} : { ttl: Math.max(1, expiresAt - now() + REMEMBERED) };
      const write = async () => {
        if (await uses.insert(digest, use, options)) return;
        await uses.update(digest, ({ at }) => (Math.abs(now() - at) < USE_INTERVAL ? undefined : use));
      };
      // A store that cannot be written to is no reason to refuse what can be read.
      await write().catch(() => undefined);
    },

    async remindDue(signal) {
      for await (const token of tokens.all(EXPIRING)) {
        if (signal.aborted) return;
        if (token.expiresAt === undefined || !isReminderDue(token, now())) continue;
        const lastUsedAt = (await uses.get(token.digest))?.at;
        await notify({ kind: 'token_expires', token, at: now(), expiresAt: token.expiresAt, lastUsedAt });
        await tokens.update(token.digest, (current) => ({ ...current, remindedAt: now() }));
      }
    },
  };
}

const isUnrevoked = ({ revokedAt }: PersonalToken) => revokedAt === undefined;

/** What may be asked for is what the account holds, but never the right to make tokens. */
function scopeWithin(account: Account, scope: string | undefined): string[] {
  const held = permissionsOf(account).filter((name) => name !== BUILT_IN_PERMISSION);
  if (scope === undefined) return held;
  const wanted = [...new Set(scope.split(' ').filter((name) => name !== ''))];
  const refused = wanted.find((name) => !held.includes(name));
  if (refused === undefined) return wanted;
  throw new AppError('invalid_scope', `scope: ${JSON.stringify(refused)} is not a permission you can give a token`, {
    field: 'scope',
  });
}

interface Ingredients extends Pick<PersonalToken, 'accountId' | 'epoch' | 'description' | 'scope'> {
  now: number;
  expiresIn: number | null;
  familyId?: string;
}

function make({ accountId, epoch, description, scope, now, expiresIn, familyId }: Ingredients): MadePersonalToken {
  const token = createSecretToken(CREDENTIAL_KINDS.personal_token.prefix);
  const id = randomUUID();
  const record = {
    id,
    accountId,
    epoch,
    description,
    scope,
    digest: digestOf(token),
    hint: `${token.slice(0, 11)}…${token.slice(-4)}`,
    createdAt: now,
    familyId: familyId ?? id,
    ...(expiresIn === null ? {} : { expiresAt: now + expiresIn }),
  };
  return { token, record };
}

function exchangedAlready(): AppError {
  return new AppError('conflict', 'this token has expired, was revoked or was exchanged already');
}

function isCurrent({ revokedAt, replacedUntil, expiresAt }: PersonalToken, now: number): boolean {
  return revokedAt === undefined && replacedUntil === undefined && (expiresAt === undefined || expiresAt > now);
}

/** Nobody is reminded of what they have just made, nor twice of the same end. */
function isReminderDue(token: PersonalToken, now: number): boolean {
  const { createdAt, expiresAt = 0, remindedAt } = token;
  const ahead = REMINDERS.find((seconds) => expiresAt - now <= seconds);
  if (!isCurrent(token, now) || ahead === undefined || expiresAt - createdAt <= ahead) return false;
  return remindedAt === undefined || expiresAt - remindedAt > ahead;
}

function invalid(field: string, problem: string): AppError {
  return new AppError('invalid_request', `${field}: ${problem}`, { field });
}
