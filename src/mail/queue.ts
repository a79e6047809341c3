/**
 * The queue of mails: durable records that all processes share. A mail is claimed by moving the moment it is due past the
 * longest an attempt can take, so whoever claims it has it alone, and it comes back by itself when that process dies.
 * Knows nothing of how mails travel. Sealed at rest: mails may hold links that are as good as a password.
 */
import { z } from 'zod';
import type { Sealing } from '../secrets/sealing.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { Message } from './message.ts';

/** Mails that may wait; with their texts some 50 MB. */
const QUEUE_LIMIT = 10_000;
/** Seconds; longer than any attempt. */
const LEASE = 120;
/** Seconds between two attempts: twice as long each time, between these. Greylisting servers want a few minutes. */
const FIRST_WAIT = 30;
const LONGEST_WAIT = 15 * 60;
/** Twice the time that a mail is tried for: giving up is to be seen, not to happen by itself. */
const KEPT = 2 * 24 * 60 * 60;

const GROUP = 'mail';
const LENGTH = 'mail-queue:length';

export const QueuedMail = z.object({
  id: z.uuid(),
  /** Nobody may touch it before. */
  dueAt: z.int(),
  /** Claims so far. */
  attempts: z.int().nonnegative(),
  sealed: z.string(),
});
export type QueuedMail = z.infer<typeof QueuedMail>;

export interface MailQueue {
  /** Durable when it resolves. False when the queue is full; the last tenth of it is for what is urgent. */
  add(message: Message, options?: { urgent?: boolean }): Promise<boolean>;
  /** The mail, for its one holder until the claim ends; undefined when it is gone, not due or another's. */
  claim(id: string): Promise<QueuedMail | undefined>;
  open(mail: QueuedMail): Promise<Message>;
  /** Gives a claimed mail back, to be tried later. Without effect when the claim has ended. */
  postpone(mail: QueuedMail): Promise<void>;
  remove(id: string): Promise<void>;
  /** The ids of all that is due. Walked to its end, it corrects how long the queue is thought to be. */
  due(): AsyncGenerator<string>;
}

export interface MailQueueOptions {
  storage: Storage;
  sealing: Sealing;
  now: () => number;
  limit?: number;
}

export function createMailQueue({ storage, sealing, now, limit = QUEUE_LIMIT }: MailQueueOptions): MailQueue {
  const mails = collection(storage, { kind: 'mail', version: 1, schema: QueuedMail });

  /** Counted up only: counting down at each delivery would drift with every crash, so the walk over the queue corrects it. */
  async function isFull(urgent: boolean): Promise<boolean> {
    const most = urgent ? limit : limit - Math.floor(limit / 10);
    const counted = await storage.update(LENGTH, (current) => {
      const length = z.int().default(0).parse(current);
      return length < most ? length + 1 : undefined;
    });
    return counted === undefined;
  }

  return {
    async add(message, { urgent = false } = {}) {
      if (await isFull(urgent)) return false;
      const sealed = await sealing.seal(JSON.stringify(message));
      const mail = { id: message.id, dueAt: now(), attempts: 0, sealed };
      return mails.insert(mail.id, mail, { ttl: KEPT, groups: [GROUP] });
    },

    claim(id) {
      const time = now();
      return mails.update(id, (mail) =>
        isDue(mail, time) ? { ...mail, dueAt: time + LEASE, attempts: mail.attempts + 1 } : undefined,
      );
    },

    async open({ sealed }) {
      return Message.parse(JSON.parse(await sealing.open(sealed)));
    },

    async postpone(claimed) {
      const dueAt = now() + Math.min(FIRST_WAIT * 2 ** (claimed.attempts - 1), LONGEST_WAIT);
      await mails.update(claimed.id, (mail) => (mail.attempts === claimed.attempts ? { ...mail, dueAt } : undefined));
    },

    async remove(id) {
      await mails.delete(id);
    },

    async *due() {
      let length = 0;
      for await (const mail of mails.all(GROUP)) {
        length += 1;
        if (isDue(mail, now())) yield mail.id;
      }
      await storage.put(LENGTH, length);
    },
  };
}

/** A moment further away than any wait was written by a clock that was wrong. */
function isDue({ dueAt }: QueuedMail, time: number): boolean {
  return dueAt <= time || dueAt > time + LONGEST_WAIT;
}
