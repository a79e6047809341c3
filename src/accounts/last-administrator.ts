import { z } from 'zod';
import { AppError } from '../errors.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { Instant } from './account.ts';

/** Longer than any living process needs between saying that an administrator stops and writing it, every verb ending within 2 s. */
const LEAVING = 10;

/** In one record, so that of two who stop at once the second one sees the first. */
const Standing = z.object({
  /** Ids of active administrators. May lack one, never has one that is not. */
  active: z.array(z.string()),
  /** Who is about to stop, and since when: whoever still looks like one must not be counted. */
  leaving: z.record(z.string(), Instant),
});
type Standing = z.infer<typeof Standing>;

const ID = 'standing';

export interface LastAdministrator {
  /** Once an account is an active administrator's. */
  join(id: string): Promise<void>;
  /** Before an active administrator stops being one. @throws {AppError} `conflict` for the last one. */
  leave(id: string): Promise<void>;
}

export interface LastAdministratorOptions {
  storage: Storage;
  now: () => number;
  /** Ids of those who look like active administrators. */
  list(): Promise<string[]>;
}

/** Somebody can always administer: the last active administrator stays one, also when two stop each other at once. */
export function createLastAdministrator({ storage, now, list }: LastAdministratorOptions): LastAdministrator {
  const records = collection(storage, { kind: 'administrators', version: 1, schema: Standing });

  const isLeaving = ({ leaving }: Standing, id: string) => (leaving[id] ?? 0) > now() - LEAVING;
  const stillLeaving = (standing: Standing) =>
    Object.fromEntries(Object.entries(standing.leaving).filter(([id]) => isLeaving(standing, id)));

  /** A store that is older than this record has none. */
  async function ensure(): Promise<void> {
    if ((await records.get(ID)) === undefined) await records.insert(ID, { active: await list(), leaving: {} });
  }

  async function add(ids: readonly string[]): Promise<void> {
    await records.update(ID, (standing) => {
      const those = ids.filter((id) => !isLeaving(standing, id));
      return { active: [...new Set([...standing.active, ...those])], leaving: stillLeaving(standing) };
    });
  }

  async function tryToLeave(id: string): Promise<boolean> {
    const written = await records.update(ID, (standing) => {
      const active = standing.active.filter((other) => other !== id);
      if (active.length === 0) return undefined;
      return { active, leaving: { ...stillLeaving(standing), [id]: now() } };
    });
    return written !== undefined;
  }

  return {
    async join(id) {
      await ensure();
      await add([id]);
    },

    async leave(id) {
      await ensure();
      if (await tryToLeave(id)) return;
      // Somebody may be missing who became one in a process that died.
      await add(await list());
      if (await tryToLeave(id)) return;
      throw new AppError('conflict', 'this is the last active administrator: make somebody else one first', {
        field: 'administrator',
      });
    },
  };
}
