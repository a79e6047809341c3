/**
 * The audit trail: what happened to whose account, by whom, through which app, from where and when. Append-only.
 * Never holds a secret, nor text a stranger typed in place of an account. Knows nothing of what the events mean.
 *
 * A failing write rejects, and with it the operation that wanted to be recorded: nobody signs in and nothing is
 * administered unseen.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { z } from 'zod';
import { AppError } from './errors.ts';
import { collection } from './storage/collection.ts';
import type { ListOptions, Storage } from './storage/storage.ts';
import type { Rule, TallyRule, Throttle } from './throttle.ts';

const DAY = 24 * 60 * 60;
const KEPT = 400 * DAY;

/** What strangers can make happen as often as they like: it is kept for a shorter time, and so much of it. */
const OF_STRANGERS: ReadonlySet<string> = new Set(['sign_in_refused', 'sign_in_throttled', 'client_refused']);
const KEPT_OF_STRANGERS = 30 * DAY;
const FROM_ONE_SOURCE: Rule = { name: 'audit-source', limit: 100, window: DAY };
/** Of each of the counters, which are several so that no write waits for one: 10,000 a day. */
const COUNTERS = 16;
const FROM_ALL: Rule = { name: 'audit-total', limit: 10_000 / COUNTERS, window: DAY };

/** Of one type, by one person, app or both. What administrators do, and the shell, is always kept. */
const BY_ONE: TallyRule = { name: 'audit-by-one', limit: 20_000, window: DAY, step: 100 };

const AuditEventType = z.enum([
  'sign_in',
  'sign_in_refused',
  'sign_in_throttled',
  'partner_sign_in',
  'partner_refused',
  'partner_allowed',
  'sign_out',
  'session_ended',
  'sessions_ended',
  'everything_revoked',
  'client_refused',
  'consent_granted',
  'consent_denied',
  'grant_revoked',
  'token_created',
  'token_revoked',
  'token_reuse_detected',
  'account_created',
  'account_changed',
  'details_altered',
  'email_given_up',
  'account_disabled',
  'account_enabled',
  'account_approved',
  'account_deleted',
  'account_linked',
  'account_unlinked',
  'password_changed',
  'organization_created',
  'organization_changed',
  'organization_deleted',
  'permission_created',
  'permission_changed',
  'permission_deleted',
  'app_created',
  'app_changed',
  'app_deleted',
  'identity_provider_created',
  'key_rotated',
  'setup_completed',
  'setup_reopened',
  'mail_dropped',
  'administration',
]);
export type AuditEventType = z.infer<typeof AuditEventType>;

/** Who acts and from where, as far as it is known. */
const Origin = z.object({
  /** The account that acts on another one, such as an administrator's. Absent: the account itself, or the shell. */
  actorId: z.string().optional(),
  clientId: z.string().optional(),
  address: z.string().optional(),
  userAgent: z.string().optional(),
});
export type Origin = z.infer<typeof Origin>;

export const AuditEvent = Origin.extend({
  /** Sorts by time. */
  id: z.string(),
  at: z.int().nonnegative(),
  type: AuditEventType,
  /** The account it happened to. */
  accountId: z.string().optional(),
  detail: z.record(z.string(), z.string()).optional(),
});
export type AuditEvent = z.infer<typeof AuditEvent>;

/** What a caller says of an event. Texts are cut to size and freed of control characters here. */
export type NewAuditEvent = Omit<AuditEvent, 'id' | 'at'>;

export interface AuditFilter {
  accountId?: string | undefined;
  clientId?: string | undefined;
  limit?: number | undefined;
  /** The `next` of an earlier page. */
  after?: string | undefined;
}

export interface Audit {
  /**
   * What strangers, or people and apps for themselves, do beyond the bounds is not kept.
   * @throws {AppError} `temporarily_unavailable` when the event could not be kept.
   */
  record(event: NewAuditEvent): Promise<void>;
  /** Newest first. With both an account and an app, a page may hold fewer events than asked for and still have a next. */
  list(filter?: AuditFilter): Promise<{ events: AuditEvent[]; next?: string }>;
}

export interface AuditOptions {
  storage: Storage;
  now: () => number;
  throttle: Throttle;
}

export function createAudit({ storage, now, throttle }: AuditOptions): Audit {
  const events = collection(storage, { kind: 'audit', version: 1, schema: AuditEvent });

  /** Guesses at accounts that do not exist leave the room of those that do. */
  async function admitStranger({ accountId, address = '' }: NewAuditEvent): Promise<void> {
    const about = accountId === undefined ? 'nobody' : 'somebody';
    await throttle.consume(FROM_ONE_SOURCE, { source: address, key: about });
    await throttle.consume(FROM_ALL, { key: `${about} ${randomInt(COUNTERS)}` });
  }

  async function admit(event: NewAuditEvent): Promise<void> {
    const { type, accountId, clientId, actorId, address } = event;
    if (OF_STRANGERS.has(type)) return admitStranger(event);
    if (actorId !== undefined || address === undefined) return;
    await throttle.tally(BY_ONE, JSON.stringify([type, accountId, clientId]));
  }

  async function hasRoom(event: NewAuditEvent): Promise<boolean> {
    try {
      await admit(event);
      return true;
    } catch (error) {
      if (error instanceof AppError && error.code === 'too_many_requests') return false;
      throw error;
    }
  }

  return {
    async record(event) {
      if (!(await hasRoom(event))) return;
      const isOfStrangers = OF_STRANGERS.has(event.type);
      const at = now();
      const kept: AuditEvent = { ...bounded(event), id: newId(at), at };
      const written = await events.insert(kept.id, kept, {
        ttl: isOfStrangers ? KEPT_OF_STRANGERS : KEPT,
        groups: groupsOf(kept),
      });
      if (!written) throw new Error('an audit event has the id of another one');
    },

    async list({ accountId, clientId, limit, after } = {}) {
      const page = await events.list(groupOf(accountId, clientId), listOptions(limit, after));
      const found = page.records.filter((event) => clientId === undefined || event.clientId === clientId);
      return page.next === undefined ? { events: found } : { events: found, next: page.next };
    },
  };
}

/**
 * Sorts by second, then by the machine's monotonic clock, which all its processes share and no restart sets back; chance
 * keeps apart what several machines do at once.
 */
function newId(at: number): string {
  const second = String(at).padStart(11, '0');
  const order = String(process.hrtime.bigint()).padStart(19, '0');
  return `${second}-${order}-${randomBytes(6).toString('hex')}`;
}

function groupOf(accountId: string | undefined, clientId: string | undefined): string {
  if (accountId !== undefined) return `audit:account:${accountId}`;
  return clientId === undefined ? 'audit' : `audit:client:${clientId}`;
}

/**
 * An administrator's deeds are found under both accounts: the one that acted and the one it happened to. What happened to no
 * account has a group as well, so that a guess at an unknown one is written as slowly as a guess at a known one.
 */
function groupsOf({ accountId = 'none', actorId, clientId }: AuditEvent): string[] {
  const accounts = new Set([accountId, actorId].filter((id) => id !== undefined));
  const groups = ['audit', ...[...accounts].map((id) => groupOf(id, undefined))];
  return clientId === undefined ? groups : [...groups, groupOf(undefined, clientId)];
}

function listOptions(limit: number | undefined, after: string | undefined): ListOptions {
  return { descending: true, ...(limit !== undefined && { limit }), ...(after !== undefined && { after }) };
}

function bounded({ address, userAgent, detail, ...event }: NewAuditEvent): NewAuditEvent {
  return {
    ...event,
    address: address === undefined ? undefined : printable(address, 64),
    userAgent: userAgent === undefined ? undefined : printable(userAgent, 256),
    detail: detail === undefined ? undefined : boundedDetail(detail),
  };
}

function boundedDetail(detail: Record<string, string>): Record<string, string> {
  const entries = Object.entries(detail).slice(0, 20);
  return Object.fromEntries(entries.map(([name, value]) => [printable(name, 64), printable(value, 256)]));
}

/** One line of at most `length` UTF-16 units: no control, separator or direction-changing character survives. */
function printable(text: string, length: number): string {
  const line = text.slice(0, length).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ');
  return line.toWellFormed();
}
