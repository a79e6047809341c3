/**
 * Sessions of people in their browsers, seen from outside the engine, which owns the records themselves: who has which, on
 * what device, and how they end. Knows nothing of cookies.
 */
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { elapsed } from '../clock.ts';
import { ignoreNotFound, noSuch } from '../errors.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { entriesOf, eraseGrant, eraseGroup, eraseOfAccount } from './erasing.ts';
import type { LogoutNotice, LogoutNotices } from './logout-notices.ts';
import { accountGroup, clientGroup, sessionGroup } from './records.ts';
import { type SessionPayload, type SessionRecords, uidOfKey } from './session-records.ts';

/** Seconds; a visit is written down at most this often. */
const VISIT_INTERVAL = 60;
/** Sessions of one person. The one that was idle for longest gives way to another. */
const MOST = 100;
/** Sessions that give way to one: where there are far too many, nobody waits for all of them. */
const MOST_AT_ONCE = 10;
/** Seconds; longer than any session lives. */
const KEPT = 31 * 24 * 60 * 60;

/** Where and when a session was made and last seen: beside the engine's own record, which is only about who and how. */
const BrowserSession = z.object({
  uid: z.string(),
  accountId: z.string(),
  /** Absent as long as nobody has come with it. */
  address: z.string().optional(),
  userAgent: z.string().optional(),
  createdAt: z.int(),
  lastActiveAt: z.int(),
  /** The app by whose word the session began. */
  signedInBy: z.string().optional(),
});
export type BrowserSession = z.infer<typeof BrowserSession>;

type SignedOut = Pick<LogoutNotice, 'accountId' | 'clientId' | 'sid'>;

export interface Sessions {
  /**
   * Ends every session of an account and whatever came from one: grants, codes, tokens. The apps that were signed in to are
   * told at the next round of back-channel logout. Safe to repeat.
   * @param options.kept The session that goes on, without what came from it, under the epoch that its account has now.
   * @param options.grantsStay What was given to stay after signing out stays, and so does what came from the kept session.
   */
  endAll(
    accountId: string,
    options?: { kept?: { uid: string; epoch: number } | undefined; grantsStay?: boolean },
  ): Promise<void>;
  /**
   * Ends one session and what came from it, except what was given to stay after signing out.
   * @throws {AppError} `not_found` when the account has no such session.
   */
  end(accountId: string, uid: string): Promise<void>;
  /** The same without asking whose it is. The apps are told by `tell`. Safe to repeat. */
  endWhosever(uid: string, tell: (signedOut: SignedOut) => Promise<void>): Promise<void>;
  /** Makes room for a session that has begun, so that a person has no more than a hundred. */
  makeRoom(accountId: string, uid: string): Promise<void>;
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
  records: SessionRecords;
}

export function createSessions({ storage, now, notices, records }: SessionsOptions): Sessions {
  const visits = collection(storage, { kind: 'browser-session', version: 1, schema: BrowserSession });
  const visitsGroup = (accountId: string) => `browser-sessions:account:${accountId}`;
  const visitGroups = (accountId: string) => [accountGroup(accountId), visitsGroup(accountId)];
  const begunGroup = (clientId: string) => `browser-sessions:client:${clientId}`;
  const noted = new LRUCache<string, number>({ max: 10_000 });

  async function find(accountId: string, uid: string): Promise<SessionPayload | undefined> {
    const session = await records.findByUid(uid);
    return session?.accountId === accountId ? session : undefined;
  }

  /** @param told Apps that know already. */
  async function tellApps(
    { accountId, authorizations }: SessionPayload,
    tell: (signedOut: SignedOut) => Promise<void>,
    told: SessionPayload | undefined = undefined,
  ): Promise<void> {
    if (accountId === undefined) return;
    const apps = Object.entries(authorizations ?? {}).filter(([clientId]) => !told?.authorizations?.[clientId]);
    await Promise.all(apps.map(([clientId, { sid }]) => sid && tell({ accountId, clientId, sid })));
  }

  async function endGrantsOf({ authorizations = {} }: SessionPayload): Promise<void> {
    // Together: somebody with many sessions at many apps waits for it.
    await Promise.all(
      Object.values(authorizations).map(async ({ grantId, persistsLogout }) => {
        if (grantId !== undefined && !persistsLogout) await eraseGrant(storage, grantId);
      }),
    );
  }

  /** Told before the end, so that no crash leaves an app without its notice; and after it, of what was given in between. */
  async function endWhosever(uid: string, tell: (signedOut: SignedOut) => Promise<void>): Promise<void> {
    const known = await records.findByUid(uid);
    if (known) await tellApps(known, tell);
    const ended = await records.take(uid);
    if (!ended) return;
    await tellApps(ended, tell, known);
    await endGrantsOf(ended);
    await visits.delete(uid);
    noted.delete(uid);
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
    if (!(await find(accountId, uid))) throw noSuch('session', uid);
    await endWhosever(uid, notices.add);
  }

  async function liveOf(accountId: string): Promise<Map<string, SessionPayload>> {
    const live = new Map<string, SessionPayload>();
    for await (const { value } of entriesOf(storage, sessionGroup(accountId))) {
      const session = value as unknown as SessionPayload;
      if (session.accountId === accountId) live.set(session.uid, session);
    }
    return live;
  }

  async function list(accountId: string): Promise<BrowserSession[]> {
    const [known, live] = await Promise.all([Array.fromAsync(visits.all(visitsGroup(accountId))), liveOf(accountId)]);
    const visited = new Map(known.map((visit) => [visit.uid, visit]));
    // An earlier version did not list sessions themselves.
    for (const uid of visited.keys()) {
      const earlier = live.has(uid) ? undefined : await find(accountId, uid);
      if (earlier) live.set(uid, earlier);
    }
    const listed = [...live.values()].map((session) => visited.get(session.uid) ?? unvisited(accountId, session));
    return listed.sort((a, b) => b.lastActiveAt - a.lastActiveAt);
  }

  async function endEach(accountId: string, except: string | undefined): Promise<void> {
    for (const { uid } of await list(accountId)) {
      if (uid !== except) await end(accountId, uid).catch(ignoreNotFound);
    }
  }

  return {
    end,
    endWhosever,
    list,

    async endAll(accountId, { kept: wanted, grantsStay = false } = {}) {
      const kept = wanted !== undefined && (await records.carryOver(wanted.uid, accountId, wanted.epoch));
      if (grantsStay) return endEach(accountId, kept ? wanted.uid : undefined);
      const isKept = (key: string) => key === `browser-session:${wanted?.uid}` || uidOfKey(key) === wanted?.uid;
      for await (const { key, value } of entriesOf(storage, accountGroup(accountId))) {
        const isSession = (value as { kind?: unknown }).kind === 'Session';
        if (isSession && !(kept && isKept(key))) await tellApps(value as unknown as SessionPayload, notices.add);
      }
      await eraseOfAccount(storage, accountId, (key) => !(kept && isKept(key)));
    },

    async makeRoom(accountId, uid) {
      const live = await liveOf(accountId);
      live.delete(uid);
      const idlest = [...live.values()].sort((a, b) => Number(a.exp) - Number(b.exp));
      const excess = Math.min(idlest.length + 1 - MOST, MOST_AT_ONCE);
      for (const session of idlest.slice(0, Math.max(0, excess))) await endWhosever(session.uid, notices.add);
    },

    async endAllOfClient(clientId) {
      await eraseGroup(storage, clientGroup(clientId));
      const begun = await Array.fromAsync(visits.all(begunGroup(clientId)));
      for (const { accountId, uid } of begun) await end(accountId, uid).catch(ignoreNotFound);
    },

    async noteSignedInBy(uid, { accountId, clientId }) {
      const groups = [...visitGroups(accountId), begunGroup(clientId)];
      await visits.update(uid, (visit) => ({ ...visit, signedInBy: clientId }), { groups });
    },

    async noteVisit(visit) {
      if (elapsed() - (noted.get(visit.uid) ?? Number.NEGATIVE_INFINITY) < VISIT_INTERVAL) return;
      const time = now();
      await write({ ...visit, userAgent: visit.userAgent?.slice(0, 256), createdAt: time, lastActiveAt: time });
      noted.set(visit.uid, elapsed());
    },
  };
}

/** Written down by the engine alone so far. */
function unvisited(accountId: string, { uid, iat = 0, loginTs = iat }: SessionPayload): BrowserSession {
  return { uid, accountId, createdAt: iat, lastActiveAt: loginTs };
}
