/** Forms that may be sent once: a page that is loaded again, or a second click, must not do again what the first has done. */
import { hash, randomUUID } from 'node:crypto';
import { z } from 'zod';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import type { Rule, Throttle } from '../throttle.ts';

/** Seconds for which a page may stay open before it is sent. */
const OPEN = 24 * 60 * 60;

/** Of one person, counted while they are open. */
const OPEN_AT_ONCE: Rule = { name: 'one-time-forms', limit: 500, window: OPEN };

export interface OneTimeForms {
  /** The id that goes into the form. @throws {AppError} `too_many_requests` */
  open(accountId: string): Promise<string>;
  /** True for the first who sends it, for whom it was opened. */
  take(accountId: string, id: string): Promise<boolean>;
}

export function createOneTimeForms({ storage, throttle }: { storage: Storage; throttle: Throttle }): OneTimeForms {
  const forms = collection(storage, { kind: 'one-time-form', version: 1, schema: z.literal(true) });
  const keyOf = (accountId: string, id: string) => `${accountId}:${hash('sha256', id, 'base64url')}`;

  return {
    async open(accountId) {
      await throttle.consume(OPEN_AT_ONCE, { key: accountId });
      const id = randomUUID();
      await forms.put(keyOf(accountId, id), true, { ttl: OPEN, once: true });
      return id;
    },

    async take(accountId, id) {
      const isFirst = (await forms.take(keyOf(accountId, id))) === true;
      if (isFirst) await throttle.giveBack(OPEN_AT_ONCE, { key: accountId });
      return isFirst;
    },
  };
}
