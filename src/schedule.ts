/**
 * Recurring work: each job runs in one process at a time, in whichever is free, and never overlaps itself. Who runs it is
 * a lease in the store: renewed while the work goes on, given back at its end, and taken over when its holder is gone.
 * Knows nothing of what the jobs do.
 *
 * A process that stood still for longer than its lease (a suspended machine) may run on beside its successor until it
 * notices, so a job must be safe to repeat, as every list of writes over this storage port is.
 *
 * Own code rather than croner: the moment of the next round is in the lease, for all processes, and a timer is all that is left.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { z } from 'zod';
import { elapsed } from './clock.ts';
import type { Json, Storage } from './storage/storage.ts';

/** Seconds after which the work of a silent process is taken over. */
const LEASE = 30;
/** Seconds after which a process looks again, whatever it saw: clocks are corrected, and leases given back early. */
const LONGEST_WAIT = 60;

/** `signal` is aborted when the process is to stop or has lost its lease; what is left is for the next round. */
export type Job = (signal: AbortSignal) => Promise<void>;

export interface Schedule {
  /** A round begins every so many seconds, or as soon as the one before has ended. Jobs are named before the start. */
  every(name: string, rhythm: { seconds: number }, run: Job): void;
  start(): void;
  /** Begins nothing new and waits for what is under way. */
  stop(): Promise<void>;
}

export interface ScheduleOptions {
  storage: Storage;
  now: () => number;
  log: Logger;
  /** Seconds; at least 2. */
  lease?: number;
}

const Lease = z.object({
  /** Absent between two rounds. */
  holder: z.string().optional(),
  /** The holder's claim ends at this moment unless it is renewed. */
  until: z.int(),
  /** When the next round is due. */
  nextAt: z.int(),
});
type Lease = z.infer<typeof Lease>;

interface Work {
  name: string;
  seconds: number;
  run: Job;
}

export function createSchedule({ storage, now, log, lease: length = LEASE }: ScheduleOptions): Schedule {
  const self = randomUUID();
  const jobs: Work[] = [];
  const stopping = new AbortController();
  let running: Array<Promise<void>> = [];

  function change(name: string, next: (lease: Lease | undefined) => Lease | undefined): Promise<Json | undefined> {
    return storage.update(`schedule:${name}`, (current) => next(Lease.optional().parse(current)));
  }

  /** Zero when the round is ours to run, else how many seconds to wait. */
  async function claim({ name, seconds }: Work): Promise<number> {
    let wait = 0;
    await change(name, (lease) => {
      const time = now();
      wait = secondsLeft(lease, { time, length, seconds });
      return wait > 0 ? undefined : { holder: self, until: time + length, nextAt: time + seconds };
    });
    return wait;
  }

  /** Prolongs the lease while the work goes on; tells the work to end when it is another's. */
  async function keep(name: string, { lost, done }: { lost: AbortController; done: AbortSignal }): Promise<void> {
    let until = elapsed() + length;
    while (await slept(length / 3, done)) {
      try {
        const time = now();
        const ours = await change(name, (lease) =>
          lease?.holder === self ? { ...lease, until: time + length } : undefined,
        );
        if (ours === undefined) return lost.abort();
        until = elapsed() + length;
      } catch (error) {
        log.warn({ err: error, job: name }, 'the lease of a job could not be renewed');
        if (elapsed() >= until) return lost.abort();
      }
    }
  }

  /** Gives the lease back when it is still ours. */
  async function giveBack(name: string, { next }: { next?: number } = {}): Promise<void> {
    await change(name, (lease) =>
      lease?.holder === self ? { until: now(), nextAt: next ?? lease.nextAt } : undefined,
    );
  }

  async function perform({ name, run }: Work): Promise<void> {
    // Told to stop while the claim was on its way: the round is still to be run, by whoever is free.
    if (stopping.signal.aborted) return giveBack(name, { next: now() });
    const lost = new AbortController();
    const done = new AbortController();
    const kept = keep(name, { lost, done: done.signal });
    try {
      await run(AbortSignal.any([stopping.signal, lost.signal]));
    } catch (error) {
      log.error({ err: error, job: name }, 'a job failed; it is tried again at its next round');
    } finally {
      done.abort();
      await kept;
    }
    await giveBack(name);
  }

  /** Never rejects: a store out of reach is tried again. */
  async function round(job: Work): Promise<number> {
    try {
      const wait = await claim(job);
      if (wait === 0) await perform(job);
      return Math.min(wait, LONGEST_WAIT);
    } catch (error) {
      log.warn({ err: error, job: job.name }, 'a job could not be looked up or given back');
      return length;
    }
  }

  async function repeat(job: Work): Promise<void> {
    let wait = 0;
    while (await slept(wait, stopping.signal)) wait = await round(job);
  }

  return {
    every(name, { seconds }, run) {
      jobs.push({ name, seconds, run });
    },
    start() {
      running = jobs.map(repeat);
    },
    async stop() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

/**
 * How long until the round may be claimed. A moment further away than it can be was written by a clock that was wrong, and
 * does not count.
 */
function secondsLeft(
  lease: Lease | undefined,
  { time, length, seconds }: { time: number; length: number; seconds: number },
): number {
  if (!lease) return 0;
  const ofHolder = lease.holder === undefined ? 0 : withinReach(lease.until - time, length);
  return ofHolder || withinReach(lease.nextAt - time, seconds);
}

function withinReach(seconds: number, longest: number): number {
  return seconds > longest ? 0 : Math.max(0, seconds);
}

/** False when the signal came first. Does not keep the process alive. */
async function slept(seconds: number, signal: AbortSignal): Promise<boolean> {
  return sleep(seconds * 1000, true, { signal, ref: false }).catch(() => false);
}
