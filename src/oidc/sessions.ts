/**
 * Sessions of people in their browsers, seen from outside the engine, which owns the records themselves: who has which, on
 * what device, and how they end. Knows nothing of cookies.
 */
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { AppError, unlessGone } from '../errors.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import {
  accountGroup,
  clientGroup,
  entriesOf,
  eraseGroup,
  eraseOfAccount,
  eraseSession,
  grantGroup,
  isTombstone,
  recordKey,
  sessionUidKey,
} from './adapter.ts';
import type { LogoutNotices } from './logout-notices.ts';

/** Seconds; a visit is written down at most this often. */
const VISIT_INTERVAL = 60;
/** Seconds; longer than any session lives. */
const KEPT = 31 * 24 * 60 * 60;

/** Where and when a session was made and last seen: beside the engine's own record, which is only about who and how. */
const BrowserSession = z.object({
  uid: z.string(),
  accountId: z.string(),
  address: z.string(),
  userAgent: z.string().optional(),
  createdAt: z.int(),
  lastActiveAt: z.int(),
  /** The app by whose word the session began. */
  signedInBy: z.string().optional(),
});
export type BrowserSession = z.infer<typeof BrowserSession>;

/** What of the engine's record matters here. */
const EngineSession = z.object({
  accountId: z.string().optional(),
  authorizations: z
    .record(
      z.string(),
      z.object({
        sid: z.string().optional(),
        grantId: z.string().optional(),
        persistsLogout: z.boolean().optional(),
      }),
    )
    .default({}),
});
type EngineSession = z.infer<typeof EngineSession>;

export interface Sessions {
  /**
   * Ends every session of an account and whatever came from one: grants, codes, tokens. The apps that were signed in to are
   * told at the next round of back-channel logout. Safe to repeat.
   * @param options.except The uid of a session that stays, without what came from it.
   */
  endAll(accountId: string, options?: { except?: string | undefined }): Promise<void>;
  /**
   * Ends one session and what came from it, except what was given to stay after signing out.
   * @throws {AppError} `not_found` when the account has no such session.
   */
  end(accountId: string, uid: string): Promise<void>;
  /** Ends every grant of an app, and with them its codes and tokens, and every session that began by its word. Safe to repeat. */
  endAllOfClient(clientId: string): Promise<void>;
  /** Those of an account that are there now, last active first. */
  list(accountId: string): Promise<BrowserSession[]>;
  /** Writes down by which app's word a session began, once it has been visited. */
  noteSignedInBy(uid: string, by: { accountId: string; clientId: string }): Promise<void>;
  /** Writes down that somebody was here with their session, at most once a minute. */
  noteVisit(visit: Omit<BrowserSession, 'createdAt' | 'lastActiveAt' | 'signedInBy'>): Promise<void>;
}

export interface SessionsOptions {
  storage: Storage;
  now: () => number;
  notices: LogoutNotices;
}

export function createSessions({ storage, now, notices }: SessionsOptions): Sessions {
  const visits = collection(storage, { kind: 'browser-session', version: 1, schema: BrowserSession });
  const visitsGroup = (accountId: string) => `browser-sessions:account:${accountId}`;
  const visitGroups = (accountId: string) => [accountGroup(accountId), visitsGroup(accountId)];
  const begunGroup = (clientId: string) => `browser-sessions:client:${clientId}`;
  const noted = new LRUCache<string, number>({ max: 10_000 });

  async function find(accountId: string, uid: string): Promise<{ key: string; session: EngineSession } | undefined> {
    const key = await storage.get(sessionUidKey(uid));
    const stored = typeof key === 'string' ? await storage.get(key) : undefined;
    if (typeof key !== 'string' || stored === undefined || isTombstone(stored)) return undefined;
    const session = EngineSession.parse(stored);
    return session.accountId === accountId ? { key, session } : undefined;
  }

  async function noteLogouts(accountId: string, { authorizations }: EngineSession): Promise<void> {
    const apps = Object.entries(authorizations);
    await Promise.all(apps.map(([clientId, { sid }]) => sid && notices.add({ accountId, clientId, sid })));
  }

  async function endGrantsOf({ authorizations }: EngineSession): Promise<void> {
    for (const { grantId, persistsLogout } of Object.values(authorizations)) {
      if (grantId === undefined || persistsLogout) continue;
      await storage.delete(recordKey('Grant', grantId));
      await eraseGroup(storage, grantGroup(grantId));
    }
  }

  async function write(visit: BrowserSession): Promise<void> {
    const { uid, accountId, address, userAgent, lastActiveAt } = visit;
    const known = await visits.get(uid);
    if (!known) {
      await visits.insert(uid, visit, { ttl: KEPT, groups: visitGroups(accountId) });
    } else if (lastActiveAt - known.lastActiveAt >= VISIT_INTERVAL) {
      // A store that cannot be written to is no reason to show nothing to who is signed in.
      await visits.update(uid, (current) => ({ ...current, address, userAgent, lastActiveAt })).catch(() => undefined);
    }
  }

  async function end(accountId: string, uid: string): Promise<void> {
    const found = await find(accountId, uid);
    if (!found) throw new AppError('not_found', 'there is no such session');
    await noteLogouts(accountId, found.session);
    await eraseSession(storage, uid);
    await endGrantsOf(found.session);
    await visits.delete(uid);
  }

  return {
    end,

    async endAll(accountId, { except } = {}) {
      const kept = except === undefined ? undefined : await find(accountId, except);
      const keptKeys = kept ? [kept.key, sessionUidKey(String(except)), `browser-session:${except}`] : [];
      for await (const { key, value } of entriesOf(storage, accountGroup(accountId))) {
        if (!key.startsWith('Session:') || isTombstone(value) || keptKeys.includes(key)) continue;
        await noteLogouts(accountId, EngineSession.parse(value));
      }
      await eraseOfAccount(storage, accountId, (key) => !keptKeys.includes(key));
    },

    async endAllOfClient(clientId) {
      await eraseGroup(storage, clientGroup(clientId));
      const begun = await Array.fromAsync(visits.all(begunGroup(clientId)));
      for (const { accountId, uid } of begun) await end(accountId, uid).catch(unlessGone);
    },

    async list(accountId) {
      const known = await Array.fromAsync(visits.all(visitsGroup(accountId)));
      const live = await Promise.all(known.map(({ uid }) => find(accountId, uid)));
      return known.filter((_, index) => live[index]).sort((a, b) => b.lastActiveAt - a.lastActiveAt);
    },

    async noteSignedInBy(uid, { accountId, clientId }) {
      const groups = [...visitGroups(accountId), begunGroup(clientId)];
      await visits.update(uid, (visit) => ({ ...visit, signedInBy: clientId }), { groups });
    },

    async noteVisit(visit) {
      const time = now();
      if (time - (noted.get(visit.uid) ?? 0) < VISIT_INTERVAL) return;
      await write({ ...visit, userAgent: visit.userAgent?.slice(0, 256), createdAt: time, lastActiveAt: time });
      noted.set(visit.uid, time);
    },
  };
}
