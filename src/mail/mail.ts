/**
 * Mails to people. Whoever sends one waits for a durable record and no longer; it is delivered once, at once when possible
 * and at the next rounds when not, for a day. Must not know who the people are, nor what the notices are about.
 */
import type { Logger } from 'pino';
import type { Audit } from '../audit.ts';
import { AppError } from '../errors.ts';
import { type Consumption, type Rule, refundIfFailed, type Throttle } from '../throttle.ts';
import type { Deliver, Outcome } from './delivery.ts';
import type { Compose, Message, ToCompose } from './message.ts';
import type { Notice } from './notice.ts';
import type { MailQueue, QueuedMail } from './queue.ts';

/**
 * A mailbox gets no more, whoever makes us write to it. What tells a person that somebody else may have got in has a budget of its
 * own for each kind, so that nobody can use it up with mails of another one.
 */
const PER_MAILBOX = { name: 'mail', limit: 20, window: 60 * 60 };
const OF_SECURITY: ReadonlySet<Notice['kind']> = new Set([
  'token_reused',
  'token_leaked',
  'identity_linked',
  'identity_unlinked',
]);
/** Of the mails of one kind to one mailbox that are not sent, the first one of an hour is kept in the audit trail. */
const PER_EVENT: Rule = { name: 'mail-dropped-event', limit: 1, window: 60 * 60 };
/** Seconds for which a mail is tried. */
const LIFETIME = 24 * 60 * 60;
/** Connections of one process at a time: for a round, and as many again for mails that have just been sent. */
const PARALLEL = 4;

export interface Mail {
  /**
   * Queues a mail. One beyond the bounds, of the queue or of this mailbox, is not sent, which the log and the audit trail say.
   * @throws {AppError} `temporarily_unavailable` when it could not be queued durably.
   */
  send(request: ToCompose): Promise<void>;
  /** One round: tries all that is due. Ends early, without harm, when the signal is aborted. */
  deliverDue(signal: AbortSignal): Promise<void>;
  /** Begins no more attempts and waits for those under way. */
  stop(): Promise<void>;
}

/** Whose bound was reached. */
type Dropped = 'mailbox' | 'queue';

export interface MailOptions {
  queue: MailQueue;
  compose: Compose;
  deliver: Deliver;
  throttle: Throttle;
  audit: Pick<Audit, 'record'>;
  now: () => number;
  log: Logger;
}

export function createMail({ queue, compose, deliver, throttle, audit, now, log }: MailOptions): Mail {
  const underWay = new Set<Promise<unknown>>();
  let stopped = false;

  /** Undefined when there was nothing to try. Never rejects: a mail that was not settled comes back when its claim ends. */
  async function attempt(id: string): Promise<Outcome | undefined> {
    try {
      const mail = await queue.claim(id);
      if (!mail) return undefined;
      const message = await queue.open(mail);
      if (now() - message.at > LIFETIME)
        return await settle(mail, message, { kind: 'refused', reason: 'a day has passed' });
      return await settle(mail, message, await deliver(message));
    } catch (error) {
      log.warn({ err: error, mail: id }, 'a mail could not be tried');
      return undefined;
    }
  }

  async function settle(mail: QueuedMail, { to, subject }: Message, outcome: Outcome): Promise<Outcome> {
    const { kind } = outcome;
    if (kind === 'delivered' || kind === 'refused') await queue.remove(mail.id);
    else await queue.postpone(mail);
    if (kind === 'delivered') log.debug({ mail: mail.id }, 'a mail was delivered');
    else {
      const said = { mail: mail.id, to, subject, attempts: mail.attempts, reason: outcome.reason };
      log.warn(said, kind === 'refused' ? 'a mail was given up' : 'a mail was not taken yet; it is tried again');
    }
    return outcome;
  }

  function begin(id: string): Promise<Outcome | undefined> {
    const attempted = attempt(id).finally(() => underWay.delete(attempted));
    underWay.add(attempted);
    return attempted;
  }

  /** Undefined when the limit has been reached. */
  function roomFor(rule: Rule, key: string): Promise<Consumption | undefined> {
    return throttle.consume(rule, { key }).catch((error) => {
      if (error instanceof AppError && error.code === 'too_many_requests') return undefined;
      throw error;
    });
  }

  async function drop({ notice: { kind }, accountId }: ToCompose, { to, subject }: Message, why: Dropped) {
    if (why === 'queue') log.error({ to, subject }, 'a mail was not sent: the queue is full');
    else log.warn({ to, subject }, 'a mail was not sent: its mailbox got too many');
    if (!(await roomFor(PER_EVENT, `${to} ${kind}`))) return;
    await audit.record({ type: 'mail_dropped', accountId, detail: { notice: kind, limit: why } });
  }

  return {
    async send(request) {
      const message = compose(request);
      const { kind } = request.notice;
      const urgent = OF_SECURITY.has(kind);
      const mailbox = message.to.toLowerCase();
      const room = await roomFor(PER_MAILBOX, urgent ? `${mailbox} ${kind}` : mailbox);
      if (!room) return drop(request, message, 'mailbox');
      if (!(await refundIfFailed(room, () => queue.add(message, { urgent })))) return drop(request, message, 'queue');
      if (!stopped && underWay.size < 2 * PARALLEL) void begin(message.id);
    },

    async deliverDue(signal) {
      const round = new Set<Promise<unknown>>();
      let reachable = true;
      for await (const id of queue.due()) {
        if (signal.aborted || stopped) break;
        if (!reachable) continue;
        const attempted = begin(id).then((outcome) => {
          round.delete(attempted);
          reachable &&= outcome?.kind !== 'unreachable';
        });
        round.add(attempted);
        if (round.size >= PARALLEL) await Promise.race(round);
      }
      await Promise.all(round);
    },

    async stop() {
      stopped = true;
      await Promise.all(underWay);
    },
  };
}
