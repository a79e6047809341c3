/**
 * The two clocks. The wall clock is for what is stored and said; it can be set. The monotonic clock is for what lives in memory and for
 * how long something takes; it only ever goes on.
 */

/** Whole seconds since 1970, by the wall clock. */
export function wallClock(): number {
  return Math.floor(Date.now() / 1000);
}

/** Whole seconds by the monotonic clock: for what is remembered for a while, and only in this process. */
export function elapsed(): number {
  return Math.floor(monotonic() / 1000);
}

/** Milliseconds since the machine started, the same in all threads of a process, which `performance.now()` is not. */
export function monotonic(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
