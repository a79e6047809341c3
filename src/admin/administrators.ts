/** Somebody has to be able to administer: the last administrator stays one. */
import { z } from 'zod';
import type { Account } from '../accounts/account.ts';
import { AppError } from '../errors.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';

/** Seconds; longer than a process takes from looking who is left to writing. */
const TURN = 10;

export interface Administrators {
  /**
   * Makes a change after which this account may not administer any more. One such change at a time, over all processes, as
   * two that each rely on the other's account would leave nobody.
   * @throws {AppError} `conflict` when nobody else would be left, or somebody is at it already.
   */
  spare<T>(account: Account, change: () => Promise<T>): Promise<T>;
}

export function createAdministrators({
  storage,
  now,
  accounts,
}: {
  storage: Storage;
  now: () => number;
  accounts: { activeAdministrators(): Promise<Account[]> };
}): Administrators {
  const turns = collection(storage, { kind: 'administrators-turn', version: 1, schema: z.literal(true) });

  return {
    async spare({ id, administrator }, change) {
      if (!administrator) return change();
      const startedAt = now();
      if (!(await turns.insert('one', true, { ttl: TURN })))
        throw new AppError('conflict', 'another administrator is being changed: try again', { field: 'turn' });
      try {
        const others = (await accounts.activeAdministrators()).filter((other) => other.id !== id);
        if (others.length === 0)
          throw new AppError('conflict', 'this is the only administrator', { field: 'administrator' });
        return await change();
      } finally {
        // Later it may be somebody else's turn.
        if (now() - startedAt < TURN - 2) await turns.delete('one');
      }
    },
  };
}
