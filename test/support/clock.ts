/** The clocks of this process, for tests that move one of them or both; `resetClocks` puts them right. And that of another process. */
import { mock } from 'node:test';

const realNow = process.hrtime.bigint.bind(process.hrtime);

/** Sets the wall clock. What lives in memory must not notice. */
export function setWallClock(seconds: number): void {
  mock.timers.reset();
  mock.timers.enable({ apis: ['Date'], now: Date.now() + seconds * 1000 });
}

/** So many seconds have passed by the clock that nobody sets. */
export function passMonotonic(seconds: number): void {
  mock.method(process.hrtime, 'bigint', () => realNow() + BigInt(seconds) * 1_000_000_000n);
}

export function resetClocks(): void {
  mock.timers.reset();
  mock.restoreAll();
}

/** For a process whose wall clock is so many seconds ahead. */
export function clockAhead(seconds: number): NodeJS.ProcessEnv {
  const shift = `const now=Date.now;Date.now=()=>now()+${seconds * 1000}`;
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(shift)}` };
}
