/**
 * The time that a store goes by: the wall clock, made safe with the monotonic clock and with the newest time that was written down.
 * It never goes back, whatever becomes of the wall clock, so what has expired stays so; and it says when the wall clock is not to be
 * believed, so that nothing is destroyed by its word alone. Knows nothing of records.
 *
 * Where the wall clock is behind, the time is slowed down until it is caught up with, as NTP does it. Where it has jumped ahead, what
 * would have expired by it is invisible, but nothing is forgotten until the jump has lasted: a machine that slept is told from a
 * clock that was wrong for a while.
 */
import { monotonic } from '../clock.ts';

/** Seconds by which the wall clock may differ from the monotonic one between two looks: it is adjusted all the time, a little. */
const TOLERANCE = 5;
/** Seconds a store may have been without a process and be believed at once that it was. */
const ABSENCE = 2 * 24 * 60 * 60;
/** Seconds after which a wall clock that has jumped and gone on evenly is believed. */
const PROBATION = 60 * 60;
/** How fast the time goes while the wall clock is behind. */
const SLOWED = 0.5;

export interface StoreClock {
  /** Whole seconds since 1970; what has expired by it is gone for every reader. */
  now(): number;
  /**
   * Weighs the wall clock's word; to be called every now and then. Answers the newest time that is beyond doubt, to be written down,
   * undefined when there is none yet, and whether the wall clock is believed: only then may what has expired be destroyed.
   */
  look(): { latest: number | undefined; isCertain: boolean };
}

/** A straight line from a moment of the monotonic clock on. */
interface Line {
  at: number;
  since: number;
  pace: number;
}

export interface StoreClockOptions {
  /** Whole seconds since 1970. */
  wall: () => number;
  /** Seconds, by a clock that nobody sets. */
  elapsed?: () => number;
  /** The newest time written down; undefined when there is none. */
  latest: number | undefined;
  /** Nothing is there yet that a wrong clock could destroy. */
  isNew: boolean;
  /** Hears once when the wall clock is not believed any more, with how far it is ahead. */
  onDoubt?: (secondsAhead: number) => void;
}

export function createStoreClock(options: StoreClockOptions): StoreClock {
  const { wall, elapsed = () => monotonic() / 1000, onDoubt = () => undefined } = options;
  const startedAt = wall();
  const { latest = options.isNew ? startedAt : Number.NEGATIVE_INFINITY } = options;
  const wasAbsent = startedAt >= latest && startedAt - latest <= ABSENCE;
  let line: Line = { at: wasAbsent ? startedAt : latest, since: elapsed(), pace: 1 };
  /** Where the wall clock has jumped to. */
  let jump: Line | undefined;
  let isInDoubt = false;

  const on = ({ at, since, pace }: Line, moment: number) => at + (moment - since) * pace;

  function weigh(said: number, moment: number): void {
    const known = on(line, moment);
    const ahead = said - known;
    if (ahead > TOLERANCE && !hasLasted(said, moment)) {
      if (!isInDoubt) onDoubt(ahead);
      isInDoubt = true;
      return;
    }
    // The clock's seconds are whole ones.
    line = { at: Math.max(said, known), since: moment, pace: ahead < -1 ? SLOWED : 1 };
    jump = undefined;
    isInDoubt = false;
  }

  /** Whether the wall clock has gone on evenly for long enough from where it has jumped to. */
  function hasLasted(said: number, moment: number): boolean {
    if (!jump || Math.abs(said - on(jump, moment)) > TOLERANCE) jump = { at: said, since: moment, pace: 1 };
    return moment - jump.since >= PROBATION;
  }

  return {
    now: () => Math.floor(Math.max(wall(), on(line, elapsed()))),
    look() {
      weigh(wall(), elapsed());
      return { latest: Number.isFinite(line.at) ? Math.floor(on(line, elapsed())) : undefined, isCertain: !isInDoubt };
    },
  };
}
