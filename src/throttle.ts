/**
 * The throttle: how often something may happen in a window of time, counted in the store and so over all processes.
 * Knows nothing of what is counted. When the store is out of reach its error goes up: nothing is let through uncounted.
 *
 * Own code rather than rate-limiter-flexible: its store abstraction leaves counting, expiry and the clock to the
 * subclass, which over this port is all there is to do, and adds a second clock (`Date.now`) and memory of its own.
 */
import { hash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { elapsed, monotonic } from './clock.ts';
import { AppError } from './errors.ts';
import { createKeyedMutex } from './storage/keyed-mutex.ts';
import type { Storage } from './storage/storage.ts';

/** `limit` times in `window` seconds, counted from the first one. Rules of the same name share their counts. */
export interface Rule {
  name: string;
  limit: number;
  window: number;
}

/** A rule for what happens so often, and so rarely too often, that counting each in the store would cost more than the thing itself. */
export interface TallyRule extends Rule {
  /** A process tells the store of so many at a time; so it lets through fewer than these that no other process hears of. */
  step: number;
}

/** What is counted together. */
export interface Counted {
  /**
   * Network address; those of one IPv6 network (/64) count as one, since a single machine has all of them. Its site (/48), which
   * one customer may have all of, is counted too and has four times the limit.
   */
  source?: string;
  /** Whatever else tells the counts apart, such as an e-mail. Only a digest of it is stored. */
  key?: string;
}

export interface Refundable {
  /** Gives it back, when what was done turned out to be nothing that needs limiting. Without effect after its window. */
  refund(): Promise<void>;
}

/** One use of the limit. */
export interface Consumption extends Refundable {
  /** When its window ends. */
  until: number;
}

/** One use of the limit by a proof that may be a guess. */
export interface UnderJudgement extends Refundable {
  /** It was wrong: it stays counted, and nobody waits for it any more. */
  keep(): Promise<void>;
}

export interface Throttle {
  /**
   * Uses up one before the thing is done, so that parallel callers cannot slip past the limit.
   * @throws {AppError} `too_many_requests` with the seconds left; such an attempt is not counted and does not prolong it.
   */
  consume(rule: Rule, counted: Counted): Promise<Consumption>;
  /** As `consume`, mostly without asking the store. Networks are not told apart. */
  tally(rule: TallyRule, key: string): Promise<void>;
  /**
   * As `consume`, for a proof that may be a guess and is counted until it is known to be right. Those beyond the limit wait a while for
   * the ones under judgement, in whichever process these are: right ones refuse nobody.
   */
  consumeUntilJudged(rule: Rule, counted: Counted): Promise<UnderJudgement>;
  /**
   * Uses nothing up and writes nothing; waits as `consumeUntilJudged` does.
   * @throws {AppError} `too_many_requests` when the limit has been reached.
   */
  check(rule: Rule, counted: Counted): Promise<void>;
  /** Gives one back that somebody used up and does not need any more, whichever window it is of. */
  giveBack(rule: Rule, counted: Counted): Promise<void>;
  /**
   * Judges a proof that may be a guess. One is used up first, in the store, so that no more are judged in all processes together than
   * may be wrong. A right proof uses up nothing: the process keeps what it used for the next one, which is judged without a write.
   * Until the window ends, each process in which a proof was right holds one of the limit.
   * @throws {AppError} `too_many_requests`, whether it would have been right or wrong.
   */
  judge(rule: Rule, counted: Counted, isRight: () => boolean): Promise<boolean>;
  /** Forgets what was counted. */
  clear(rule: Rule, counted: Counted): Promise<void>;
}

/** `judging`: how many of those used may yet be given back. What died with its process stays among them until the window ends. */
const Count = z.object({ used: z.int().nonnegative(), until: z.int(), judging: z.int().nonnegative().default(0) });
type Count = z.infer<typeof Count>;

/** Milliseconds that a proof waits at most for those under judgement, and between two looks. */
const PATIENCE_MS = 5_000;
const INTERVAL_MS = 20;

/** An app behind more addresses than these uses up one of its limit anew, sometimes. */
const MOST_LEFT_OVER = 10_000;

/** Whoever is forgotten begins anew within its first step. */
const MOST_UNTOLD = 20_000;

/** What a site may, in limits of one network. */
const SITE_FACTOR = 4;

export function createThrottle({ storage, now }: { storage: Storage; now: () => number }): Throttle {
  const read = async (storageKey: string) => Count.optional().parse(await storage.get(storageKey));

  async function change(storageKey: string, next: (count: Count) => Count | undefined): Promise<void> {
    await storage.update(storageKey, (current) => {
      const count = Count.optional().parse(current);
      return count && count.used > 0 ? next(count) : undefined;
    });
  }

  async function settle({ storageKey }: Counter, until: number, settled: (count: Count) => Count): Promise<void> {
    await change(storageKey, (count) => (count.until === until ? settled(count) : undefined));
  }

  const serialize = createKeyedMutex();

  /** Tries until it is overdue, as long as others are under judgement. Of those who wait in this process only the first one asks. */
  function whenJudged<T>({ storageKey, rule }: Counter, attempt: () => Promise<T | undefined>): Promise<T> {
    const deadline = monotonic() + PATIENCE_MS;
    return serialize(storageKey, async () => {
      for (;;) {
        const room = await attempt();
        if (room !== undefined) return room;
        const count = await read(storageKey);
        const isFull = more(count, rule, { amount: 1, time: now() }) === undefined;
        // Those it waited for may all have been right between the two looks.
        if ((isFull && !count?.judging) || monotonic() >= deadline) throw tooMany(count?.until ?? 0, now());
        if (isFull) await sleep(INTERVAL_MS);
      }
    });
  }

  async function use({ storageKey, rule }: Counter, { amount = 1, judging = 0 }): Promise<Count | undefined> {
    const next = (current: unknown) => {
      const count = more(Count.optional().parse(current), rule, { amount, time: now() });
      return count && { ...count, judging: count.judging + judging };
    };
    return Count.optional().parse(await storage.update(storageKey, next, { ttl: rule.window }));
  }

  async function consumeAll(counter: Counter, amount: number): Promise<number> {
    const written = await use(counter, { amount });
    if (!written) throw tooMany((await read(counter.storageKey))?.until ?? 0, now());
    return written.until;
  }

  async function consumeOne(counter: Counter): Promise<Consumption> {
    const until = await consumeAll(counter, 1);
    return { until, refund: () => settle(counter, until, (count) => ({ ...count, used: count.used - 1 })) };
  }

  async function consumeOneUntilJudged(counter: Counter): Promise<UnderJudgement> {
    const { until } = await whenJudged(counter, () => use(counter, { judging: 1 }));
    const judged = (count: Count) => ({ ...count, judging: Math.max(0, count.judging - 1) });
    return {
      refund: () => settle(counter, until, (count) => judged({ ...count, used: count.used - 1 })),
      keep: () => settle(counter, until, judged),
    };
  }

  /** All of them or none. */
  async function consumeEach<T extends Refundable>(
    counters: readonly Counter[],
    consumeIt: (counter: Counter) => Promise<T>,
  ): Promise<T[]> {
    const used: T[] = [];
    for (const counter of counters) {
      const one = await consumeIt(counter).catch(async (error) => {
        await refundAll(used);
        throw error;
      });
      used.push(one);
    }
    return used;
  }

  /** When the window ends of what right proofs have left over in this process, by what was counted. */
  const leftOver = new LRUCache<string, number>({ max: MOST_LEFT_OVER });
  const inTurnOfJudgement = createKeyedMutex();

  /** What this process has let through that the store has not been told of. */
  const untold = new LRUCache<string, { count: number; until: number }>({ max: MOST_UNTOLD });

  const throttle: Throttle = {
    async consume(rule, counted) {
      const used = await consumeEach(countersOf(rule, counted), consumeOne);
      return { until: soonest(used), refund: () => refundAll(used) };
    },

    async tally({ step, ...rule }, key) {
      const counter = { rule, storageKey: counterKey(rule, key) };
      const known = untold.get(counter.storageKey);
      const mine = known && known.until > elapsed() ? known : { count: 0, until: elapsed() + rule.window };
      untold.set(counter.storageKey, mine);
      mine.count += 1;
      if (mine.count < step) return;
      mine.count -= step;
      await consumeAll(counter, step).catch((error) => {
        // The next one asks again.
        mine.count = step - 1;
        throw error;
      });
    },

    async consumeUntilJudged(rule, counted) {
      const used = await consumeEach(countersOf(rule, counted), consumeOneUntilJudged);
      return {
        refund: () => refundAll(used),
        async keep() {
          await Promise.all(used.map((one) => one.keep()));
        },
      };
    },

    async check(rule, counted) {
      for (const counter of countersOf(rule, counted)) {
        await whenJudged(counter, async () => {
          const count = await read(counter.storageKey);
          return !count || more(count, counter.rule, { amount: 1, time: now() }) ? true : undefined;
        });
      }
    },

    async judge(rule, counted, isRight) {
      const [{ storageKey }] = countersOf(rule, counted);
      return inTurnOfJudgement(storageKey, async () => {
        const held = leftOver.get(storageKey) ?? 0;
        const isOfNow = held > now() && held <= now() + rule.window;
        const until = isOfNow ? held : (await throttle.consume(rule, counted)).until;
        const right = isRight();
        if (right) leftOver.set(storageKey, until);
        else leftOver.delete(storageKey);
        return right;
      });
    },

    async giveBack(rule, counted) {
      const isNow = ({ until }: Count) => until > now();
      for (const { storageKey } of countersOf(rule, counted))
        await change(storageKey, (count) => (isNow(count) ? { ...count, used: count.used - 1 } : undefined));
    },

    async clear(rule, counted) {
      const [own] = countersOf(rule, counted);
      await storage.delete(own.storageKey);
    },
  };
  return throttle;
}

/** Does what has been counted. What fails limits nobody: it gives back what it used, as far as the store can be reached. */
export async function refundIfFailed<T>(used: Refundable, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await used.refund().catch(() => undefined);
    throw error;
  }
}

async function refundAll(used: readonly Refundable[]): Promise<void> {
  await Promise.all(used.map((one) => one.refund()));
}

function soonest(used: readonly Consumption[]): number {
  return Math.min(...used.map(({ until }) => until));
}

interface Counter {
  storageKey: string;
  rule: Rule;
}

/** The network's own first, which is the one that its user is answerable for. */
function countersOf(rule: Rule, { source, key }: Counted): [Counter, ...Counter[]] {
  const own = { rule, storageKey: keyOf(rule, source === undefined ? null : networkOf(source), key) };
  const site = source === undefined ? undefined : siteOf(source);
  if (site === undefined) return [own];
  return [own, { rule: { ...rule, limit: rule.limit * SITE_FACTOR }, storageKey: keyOf(rule, site, key) }];
}

function tooMany(until: number, time: number): AppError {
  return new AppError('too_many_requests', 'too many attempts; wait a while and try again', {
    retryAfter: Math.max(1, until - time),
  });
}

/** The count with so many more, or undefined when that is beyond the limit. A record outlives its window by up to a window. */
function more(count: Count | undefined, rule: Rule, { amount, time }: { amount: number; time: number }) {
  // A window that ends later than one begun now was begun under a clock that has been put back since.
  const isOver = !count || count.until <= time || count.until > time + rule.window;
  const current = isOver ? { used: 0, until: time + rule.window, judging: 0 } : count;
  return current.used + amount <= rule.limit ? { ...current, used: current.used + amount } : undefined;
}

/** Under which a rule's count of a key is kept. */
export function counterKey(rule: Rule, key: string): string {
  return keyOf(rule, null, key);
}

function keyOf({ name }: Rule, source: string | null, key: string | undefined): string {
  const counted = JSON.stringify([source, key ?? null]);
  return `throttle:${name}:${hash('sha256', counted, 'base64url')}`;
}

/** What one party on the network can speak from: an IPv4 address, or the /64 of an IPv6 address (RFC 4291 §2.5.4). */
export function networkOf(address: string): string {
  const groups = ipv6GroupsOf(address);
  if (!groups) return address.split('%', 1).join();
  return mappedIPv4(groups) ?? `${groups.slice(0, 4).join(':')}::/64`;
}

/** The /48 of an IPv6 address, the most that a site is given (RFC 6177 §2). */
function siteOf(address: string): string | undefined {
  const groups = ipv6GroupsOf(address);
  return groups && !mappedIPv4(groups) ? `${groups.slice(0, 3).join(':')}::/48` : undefined;
}

/** All eight groups; undefined for what is no IPv6 address. */
function ipv6GroupsOf(address: string): string[] | undefined {
  const [bare = ''] = address.split('%');
  if (!isIPv6(bare)) return undefined;
  const [head = '', tail] = new URL(`http://[${bare}]`).hostname.slice(1, -1).split('::');
  const before = groupsOf(head);
  const after = groupsOf(tail ?? '');
  const zeros = Array<string>(8 - before.length - after.length).fill('0');
  return [...before, ...zeros, ...after];
}

function groupsOf(part: string): string[] {
  return part === '' ? [] : part.split(':');
}

/** ::ffff:192.0.2.1 is 192.0.2.1 seen through an IPv6 socket (RFC 4291 §2.5.5.2). */
function mappedIPv4(groups: string[]): string | undefined {
  if (groups.slice(0, 6).join(':') !== '0:0:0:0:0:ffff') return undefined;
  const bytes = groups.slice(6).flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]);
  return bytes.join('.');
}
