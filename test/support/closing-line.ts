/** What a test run ends with: one line with the counts, and a complaint when the tests left something running. */
import type { Runner } from 'mocha';

/** Seconds after the last test in which everything that the tests started must have ended. */
const GRACE = 10;

export function mochaGlobalTeardown(this: Runner): void {
  const { passes = 0, failures = 0, pending = 0 } = this.stats ?? {};
  console.log(`${passes} passed, ${failures} failed${pending > 0 ? `, ${pending} skipped` : ''}`);
  setTimeout(failForLeftovers, GRACE * 1000).unref();
}

/** Runs only when something keeps the process alive. */
function failForLeftovers(): void {
  console.error(`The tests left running: ${process.getActiveResourcesInfo().join(', ')}`);
  process.exit(1);
}
