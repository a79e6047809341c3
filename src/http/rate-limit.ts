/**
 * The throttle: how often something may happen in a window of time, counted in the store and so over all processes.
 * Knows nothing of what is counted. When the store is out of reach its error goes up: nothing is let through uncounted.
 *
 * Own code rather than rate-limiter-flexible: its store abstraction leaves counting, expiry and the clock to the
 * subclass, which over this port is all there is to do, and adds a second clock (`Date.now`) and memory of its own.
 */
import { hash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { z } from 'zod';
import { AppError } from '../errors.ts';
import type { Storage } from '../storage/storage.ts';

/** `limit` times in `window` seconds, counted from the first one. Rules of the same name share their counts. */
export interface Rule {
  name: string;
  limit: number;
  window: number;
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

/** One use of the limit. */
export interface Consumption {
  /** Gives it back, when what was done turned out to be nothing that needs limiting. Without effect after its window. */
  refund(): Promise<void>;
}

export interface Throttle {
  /**
   * Uses up one before the thing is done, so that parallel callers cannot slip past the limit.
   * @throws {AppError} `too_many_requests` with the seconds left; such an attempt is not counted and does not prolong it.
   */
  consume(rule: Rule, counted: Counted): Promise<Consumption>;
  /** Uses nothing up and writes nothing. @throws {AppError} `too_many_requests` when the limit has been reached. */
  check(rule: Rule, counted: Counted): Promise<void>;
  /** Gives one back that somebody used up and does not need any more, whichever window it is of. */
  giveBack(rule: Rule, counted: Counted): Promise<void>;
  /**
   * Judges a proof that may be a guess, unless as many as the limit were wrong; a wrong one is counted before anybody hears of it.
   * Those under judgement count as wrong until they are known to be right, and the ones beyond the limit wait for them.
   * @throws {AppError} `too_many_requests`, whether it would have been right or wrong.
   */
  judge(rule: Rule, counted: Counted, isRight: () => boolean | Promise<boolean>): Promise<boolean>;
  /** Forgets what was counted. */
  clear(rule: Rule, counted: Counted): Promise<void>;
}

const Count = z.object({ used: z.int().nonnegative(), until: z.int() });
type Count = z.infer<typeof Count>;

async function verdictOn(
  isRight: () => boolean | Promise<boolean>,
  countWrong: () => Promise<unknown>,
): Promise<boolean> {
  if (await isRight()) return true;
  await countWrong();
  return false;
}

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

  async function refund(storageKey: string, until: number): Promise<void> {
    await change(storageKey, (count) => (count.until === until ? { ...count, used: count.used - 1 } : undefined));
  }

  async function consumeOne({ storageKey, rule }: Counter): Promise<Consumption> {
    const time = now();
    const next = (current: unknown) => oneMore(Count.optional().parse(current), rule, time);
    const written = Count.optional().parse(await storage.update(storageKey, next, { ttl: rule.window }));
    if (!written) throw tooMany((await read(storageKey))?.until ?? 0, time);
    return { refund: () => refund(storageKey, written.until) };
  }

  /** How many are left of all the limits. @throws {AppError} `too_many_requests` when one has been reached. */
  async function left(counters: readonly Counter[]): Promise<number> {
    const each = counters.map(async ({ storageKey, rule }) => {
      const count = await read(storageKey);
      const next = count && oneMore(count, rule, now());
      if (count && !next) throw tooMany(count.until, now());
      return rule.limit - (next ? next.used - 1 : 0);
    });
    return Math.min(...(await Promise.all(each)));
  }

  /** What is being judged in this process, of each that is counted together. */
  const underJudgement = new Map<string, Set<Promise<unknown>>>();

  const throttle: Throttle = {
    async consume(rule, counted) {
      const used: Consumption[] = [];
      const refundAll = async () => {
        await Promise.all(used.map((one) => one.refund()));
      };
      for (const counter of countersOf(rule, counted)) {
        const one = await consumeOne(counter).catch(async (error) => {
          await refundAll();
          throw error;
        });
        used.push(one);
      }
      return { refund: refundAll };
    },

    async check(rule, counted) {
      for (const { storageKey, rule: counting } of countersOf(rule, counted)) {
        const count = await read(storageKey);
        if (count && !oneMore(count, counting, now())) throw tooMany(count.until, now());
      }
    },

    async judge(rule, counted, isRight) {
      const counters = countersOf(rule, counted);
      const key = counters.map(({ storageKey }) => storageKey).join();
      const others = underJudgement.get(key) ?? new Set<Promise<unknown>>();
      underJudgement.set(key, others);
      while ((await left(counters)) <= others.size) await Promise.race(others);
      const verdict = verdictOn(isRight, () => throttle.consume(rule, counted));
      const settled = verdict
        .catch(() => undefined)
        .then(() => {
          others.delete(settled);
          if (others.size === 0 && underJudgement.get(key) === others) underJudgement.delete(key);
        });
      others.add(settled);
      return verdict;
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

/** The count after one more, or undefined when the limit is reached. A record outlives its window by up to a window. */
function oneMore(count: Count | undefined, rule: Rule, time: number) {
  // A window that ends later than one begun now was begun under a clock that has been put back since.
  const isOver = !count || count.until <= time || count.until > time + rule.window;
  if (isOver) return { used: 1, until: time + rule.window };
  return count.used < rule.limit ? { ...count, used: count.used + 1 } : undefined;
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
