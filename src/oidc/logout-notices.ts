/**
 * Which apps are still to be told that a person's session has ended: durable records that all processes share. A notice is
 * claimed by moving the moment it is due to that of the next attempt, so whoever claims it has it alone, and it comes back
 * by itself when that process dies. Knows nothing of how apps are told.
 */
import { z } from 'zod';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';

/** Seconds from each attempt to the next; after the one that follows the last, a notice is given up. */
const WAITS = [10, 60, 300] as const;
const LONGEST_WAIT = 300;
/** Seconds. An app that answers to none of its notices has no more than these waiting. */
const KEPT = 30 * 60;

const GROUP = 'logout-notices';

export const LogoutNotice = z.object({
  accountId: z.string(),
  clientId: z.string(),
  /** The session as this app knows it (Back-Channel Logout §2.4); no two apps or sessions share one. */
  sid: z.string().min(1),
  /** Claims so far. */
  attempts: z.int().nonnegative(),
  /** Nobody may try before. */
  dueAt: z.int(),
});
export type LogoutNotice = z.infer<typeof LogoutNotice>;

export interface LogoutNotices {
  /** Durable when it resolves. Repeating it changes nothing. */
  add(notice: Pick<LogoutNotice, 'accountId' | 'clientId' | 'sid'>): Promise<void>;
  /** The notice, for one attempt; undefined when it is gone, not due or another's. */
  claim(sid: string): Promise<LogoutNotice | undefined>;
  remove(sid: string): Promise<void>;
  /** All that may be claimed now. */
  due(): AsyncGenerator<LogoutNotice>;
}

export function createLogoutNotices({ storage, now }: { storage: Storage; now: () => number }): LogoutNotices {
  const notices = collection(storage, { kind: 'logout-notice', version: 1, schema: LogoutNotice });

  return {
    async add({ accountId, clientId, sid }) {
      const notice = { accountId, clientId, sid, attempts: 0, dueAt: now() };
      await notices.insert(sid, notice, { ttl: KEPT, groups: [GROUP] });
    },

    claim(sid) {
      const time = now();
      return notices.update(sid, (notice) => {
        if (!isDue(notice, time)) return undefined;
        return { ...notice, attempts: notice.attempts + 1, dueAt: time + (WAITS[notice.attempts] ?? LONGEST_WAIT) };
      });
    },

    async remove(sid) {
      await notices.delete(sid);
    },

    async *due() {
      for await (const notice of notices.all(GROUP)) {
        if (isDue(notice, now())) yield notice;
      }
    },
  };
}

/** Whether nothing comes after this attempt. */
export function isLastAttempt({ attempts }: LogoutNotice): boolean {
  return attempts > WAITS.length;
}

/** A moment further away than any wait was written by a clock that was wrong. */
function isDue({ dueAt }: LogoutNotice, time: number): boolean {
  return dueAt <= time || dueAt > time + LONGEST_WAIT;
}
