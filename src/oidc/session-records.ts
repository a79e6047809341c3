/**
 * The engine's sessions as records. A session stands under its uid, which never changes; the ids that browsers present only
 * point at it, so that an id can be replaced without moving the session. Requests of one browser overlap, and each works on a
 * copy: what a request has changed is merged into what stands there, and a session that has ended is not written again.
 * Knows nothing of what else ends with a session.
 */
import { hash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { AdapterPayload } from 'oidc-provider';
import type { Json, Storage } from '../storage/storage.ts';
import { accountGroup, sessionGroup } from './records.ts';

/** Seconds for which an id that was replaced is still good: requests of other tabs are on their way with it. */
const REPLACED_FOR = 60;

/** Apps that this session has signed in to. */
type Authorization = NonNullable<AdapterPayload['authorizations']>[string];

/** A session as a request found it, or as it wants it to be. */
export interface SessionPayload extends AdapterPayload {
  uid: string;
  /** What it was when this request read it; absent when it is new. */
  loaded?: AdapterPayload;
  /** The id that this one replaces. */
  replaces?: string;
  /** The request came with an id that has been replaced. */
  replaced?: boolean;
}

/** What an id points at. */
interface Pointer {
  uid: string;
  /** Of an id that was replaced: the sign-in it stood for. What was proven since then is not for whoever holds it. */
  signIn?: Pick<AdapterPayload, 'loginTs' | 'acr' | 'amr' | 'epoch' | 'by'>;
}

export interface SessionRecords {
  /** By the id that a browser presents. */
  find(id: string): Promise<SessionPayload | undefined>;
  findByUid(uid: string): Promise<SessionPayload | undefined>;
  /** Merges what a request has changed, or joins what another tab has begun. False, and nothing written, when the session has ended or is another person's by now. */
  save(id: string, payload: SessionPayload, ttl: number): Promise<boolean>;
  /**
   * The one grant, and the one `sid`, of an app in a session. Of several that are wanted at once the first stays, unless it is `dead`.
   * Undefined when the session has ended.
   */
  claim(
    session: { uid: string; accountId: string },
    clientId: string,
    wanted: { sid: string; grantId: string; dead: string | undefined },
  ): Promise<{ sid: string; grantId: string } | undefined>;
  /**
   * Lets a session go on under the epoch that its account has now. False, and nothing written, unless it counted until the act that
   * raised the epoch.
   */
  carryOver(uid: string, accountId: string, epoch: number): Promise<boolean>;
  /** Ends a session; answers what it was at its end, to one of many callers. */
  take(uid: string): Promise<SessionPayload | undefined>;
}

const UID = 'Session-uid:';
const keyOfUid = (uid: string) => `${UID}${uid}`;
const keyOfId = (id: string) => `Session:${hash('sha256', id, 'base64url')}`;
/** The uid of the session that is stored under a key, if it is one. */
export const uidOfKey = (key: string) => (key.startsWith(UID) ? key.slice(UID.length) : undefined);

export function createSessionRecords({ storage, now }: { storage: Storage; now: () => number }): SessionRecords {
  async function findByUid(uid: string): Promise<SessionPayload | undefined> {
    const stored = await storage.get(keyOfUid(uid));
    return sessionIn(typeof stored === 'string' ? await storage.get(stored) : stored);
  }

  /** Earlier versions kept the session under its id, and a pointer to it under its uid. */
  async function turnAround(key: string, payload: SessionPayload): Promise<void> {
    const ttl = Math.max(1, Number(payload.exp) - now());
    const turn = (current: Json | undefined) => (current === key ? (payload as unknown as Json) : undefined);
    await storage.update(keyOfUid(payload.uid), turn, { ttl, groups: groupsOf(payload) });
    await storage.put(key, { uid: payload.uid }, { ttl });
  }

  /** Whoever planted an id in a browser before its person signed in must not have their session: that id is gone at once. */
  async function replace(id: string, { loaded, accountId }: SessionPayload): Promise<void> {
    if (loaded?.accountId === undefined || loaded.accountId !== accountId) {
      await storage.delete(keyOfId(id));
      return;
    }
    const { uid, loginTs, acr, amr, epoch, by } = loaded;
    const pointer = { uid, signIn: { loginTs, acr, amr, epoch, by } } as unknown as Json;
    await storage.update(keyOfId(id), (current) => current && pointer, { ttl: REPLACED_FOR });
  }

  return {
    findByUid,

    async find(id) {
      const key = keyOfId(id);
      const stored = await storage.get(key);
      if (typeof stored !== 'object' || stored === null) return undefined;
      const earlier = sessionIn(stored);
      if (earlier) await turnAround(key, earlier);
      const { uid, signIn } = stored as unknown as Pointer;
      const session = await findByUid(uid);
      return session && { ...session, ...signIn, ...(signIn ? { replaced: true } : {}) };
    },

    async save(id, { loaded, replaces, replaced, ...payload }, ttl) {
      const isNewId = loaded === undefined || replaces !== undefined;
      if (replaces !== undefined) await replace(replaces, { ...payload, ...(loaded ? { loaded } : {}) });
      const written = await storage.update(
        keyOfUid(payload.uid),
        (current) => {
          const standing = sessionIn(current);
          if (loaded === undefined)
            return (standing ? joined(payload, standing) : payload) as unknown as Json | undefined;
          if (!standing || isSomebodyElses(standing, payload)) return undefined;
          return merged(loaded, payload, standing) as unknown as Json;
        },
        { ttl, groups: groupsOf(payload) },
      );
      if (written === undefined) return false;
      if (isNewId) await storage.put(keyOfId(id), { uid: payload.uid }, { ttl });
      else if (!replaced) await storage.update(keyOfId(id), unlessReplaced, { ttl });
      return true;
    },

    async claim({ uid, accountId }, clientId, { dead, ...wanted }) {
      let agreed: { sid: string; grantId: string } | undefined;
      await storage.update(keyOfUid(uid), (current) => {
        const standing = sessionIn(current);
        agreed = undefined;
        if (!standing || isSomebodyElses(standing, { accountId })) return undefined;
        const { sid = wanted.sid, grantId } = standing.authorizations?.[clientId] ?? {};
        const stays = grantId !== undefined && grantId !== dead;
        agreed = { sid, grantId: stays ? grantId : wanted.grantId };
        if (stays) return undefined;
        const authorizations = { ...standing.authorizations, [clientId]: { ...agreed } };
        return { ...standing, authorizations } as unknown as Json;
      });
      return agreed;
    },

    async carryOver(uid, accountId, epoch) {
      const written = await storage.update(keyOfUid(uid), (current) => {
        const standing = sessionIn(current);
        const isCounting = standing?.accountId === accountId && (standing.epoch ?? 0) === epoch - 1;
        return isCounting ? ({ ...standing, epoch } as unknown as Json) : undefined;
      });
      return written !== undefined;
    },

    async take(uid) {
      const stored = await storage.take(keyOfUid(uid));
      return sessionIn(typeof stored === 'string' ? await storage.take(stored) : stored);
    },
  };
}

function sessionIn(stored: Json | undefined): SessionPayload | undefined {
  const payload = stored as unknown as SessionPayload | undefined;
  return typeof payload === 'object' && payload?.kind === 'Session' ? payload : undefined;
}

function unlessReplaced(current: Json | undefined): Json | undefined {
  return (current as Pointer | undefined)?.signIn ? undefined : current;
}

function groupsOf({ accountId }: AdapterPayload): string[] {
  return accountId === undefined ? [] : [accountGroup(accountId), sessionGroup(accountId)];
}

function isSomebodyElses(standing: AdapterPayload, { accountId }: AdapterPayload): boolean {
  return standing.accountId !== undefined && standing.accountId !== accountId;
}

/** What a request can change of a session, beside the apps. */
const CHANGEABLE = ['accountId', 'loginTs', 'acr', 'amr', 'epoch', 'by', 'transient', 'state', 'exp'] as const;

function merged(loaded: AdapterPayload, wanted: AdapterPayload, standing: AdapterPayload): AdapterPayload {
  const changed = CHANGEABLE.filter((name) => !isDeepStrictEqual(loaded[name], wanted[name]));
  const changes = Object.fromEntries(changed.map((name) => [name, wanted[name]]));
  const authorizations = mergedAuthorizations(loaded.authorizations, wanted.authorizations, standing.authorizations);
  return { ...standing, ...changes, ...(authorizations ? { authorizations } : {}) };
}

/** Another tab of the browser has begun it already: what it has given to apps stays. Undefined when it is not the same sign-in's. */
function joined(wanted: AdapterPayload, standing: AdapterPayload): AdapterPayload | undefined {
  const isSame = standing.accountId === wanted.accountId && (standing.epoch ?? 0) === (wanted.epoch ?? 0);
  if (!isSame) return undefined;
  const authorizations = { ...wanted.authorizations, ...standing.authorizations };
  return merged({}, { ...wanted, authorizations: undefined }, { ...standing, authorizations });
}

function mergedAuthorizations(
  loaded: AdapterPayload['authorizations'] = {},
  wanted: AdapterPayload['authorizations'] = {},
  standing: AdapterPayload['authorizations'],
): AdapterPayload['authorizations'] {
  const result = { ...standing };
  for (const clientId of new Set([...Object.keys(loaded), ...Object.keys(wanted)])) {
    const [before, after] = [loaded[clientId], wanted[clientId]];
    if (isDeepStrictEqual(before, after)) continue;
    if (after === undefined) delete result[clientId];
    else result[clientId] = { ...result[clientId], ...changesOf(before, after) };
  }
  return standing === undefined && Object.keys(result).length === 0 ? undefined : result;
}

function changesOf(before: Authorization = {}, after: Authorization): Authorization {
  const changed = Object.entries(after).filter(([name, value]) => value !== before[name as keyof Authorization]);
  return Object.fromEntries(changed);
}
