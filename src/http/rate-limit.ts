/**
 * The throttle: how often something may happen in a window of time, counted in the store and so over all processes.
 * Knows nothing of what is counted. When the store is out of reach its error goes up: nothing is let through uncounted.
 *
 * Own code rather than rate-limiter-flexible: its store abstraction leaves counting, expiry and the clock to the
 * subclass, which over this port is all there is to do, and adds a second clock (`Date.now`) and memory of its own.
 */
import { hash } from 'node:crypto';
import { isIP, isIPv6 } from 'node:net';
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
  /** Network address; those of one IPv6 network (/64) count as one, since a single machine has all of them. */
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
  /** Forgets what was counted. */
  clear(rule: Rule, counted: Counted): Promise<void>;
}

const Count = z.object({ used: z.int().nonnegative(), until: z.int() });

export function createThrottle({ storage, now }: { storage: Storage; now: () => number }): Throttle {
  async function secondsLeft(storageKey: string): Promise<number> {
    const count = Count.optional().parse(await storage.get(storageKey));
    return Math.max(1, (count?.until ?? 0) - now());
  }

  async function refund(storageKey: string, until: number): Promise<void> {
    await storage.update(storageKey, (current) => {
      const count = Count.optional().parse(current);
      return count?.until === until && count.used > 0 ? { ...count, used: count.used - 1 } : undefined;
    });
  }

  return {
    async consume(rule, counted) {
      const storageKey = keyOf(rule, counted);
      const time = now();
      const change = (current: unknown) => oneMore(Count.optional().parse(current), rule, time);
      const written = Count.optional().parse(await storage.update(storageKey, change, { ttl: rule.window }));
      if (written) return { refund: () => refund(storageKey, written.until) };
      throw new AppError('too_many_requests', 'too many attempts; wait a while and try again', {
        retryAfter: await secondsLeft(storageKey),
      });
    },

    async clear(rule, counted) {
      await storage.delete(keyOf(rule, counted));
    },
  };
}

/** The count after one more, or undefined when the limit is reached. A record outlives its window by up to a window. */
function oneMore(count: z.infer<typeof Count> | undefined, rule: Rule, time: number) {
  // A window that ends later than one begun now was begun under a clock that has been put back since.
  const isOver = !count || count.until <= time || count.until > time + rule.window;
  if (isOver) return { used: 1, until: time + rule.window };
  return count.used < rule.limit ? { ...count, used: count.used + 1 } : undefined;
}

function keyOf({ name }: Rule, { source, key }: Counted): string {
  const counted = JSON.stringify([source === undefined ? null : networkOf(source), key ?? null]);
  return `throttle:${name}:${hash('sha256', counted, 'base64url')}`;
}

/** What one party on the network can speak from: an IPv4 address, or the /64 of an IPv6 address (RFC 4291 §2.5.4). */
export function networkOf(address: string): string {
  const [bare = ''] = address.split('%');
  if (!isIPv6(bare)) return isIP(bare) ? bare : address;
  const [head = '', tail] = new URL(`http://[${bare}]`).hostname.slice(1, -1).split('::');
  const before = groupsOf(head);
  const after = groupsOf(tail ?? '');
  const zeros = Array<string>(8 - before.length - after.length).fill('0');
  const groups = [...before, ...zeros, ...after];
  return mappedIPv4(groups) ?? `${groups.slice(0, 4).join(':')}::/64`;
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
