/**
 * What a test run ends with: the tests that had to be tried again, one line with the counts, and a complaint when the tests left
 * something running. A test that fails at first depends on something that it does not say; it is to be mended.
 */
import { relative } from 'node:path';
import type { Runner, Test } from 'mocha';

/** Seconds after the last test in which everything that the tests started must have ended. */
const GRACE = 10;
/** Tests that may be tried again in a run of the continuous integration, where the machine is not ours. */
const MOST_RETRIED = 3;

const retried: string[] = [];

export function mochaGlobalSetup(this: Runner): void {
  this.on('retry', (test: Test) => {
    retried.push(`${test.fullTitle()} (${relative('.', test.file ?? '')})`);
  });
}

export const mochaHooks = {
  afterAll(): void {
    if (process.env.CI && retried.length > MOST_RETRIED)
      throw new Error(`${retried.length} tests had to be tried again, more than ${MOST_RETRIED}`);
  },
};

export function mochaGlobalTeardown(this: Runner): void {
  const { passes = 0, failures = 0, pending = 0 } = this.stats ?? {};
  for (const name of retried) console.log(`tried again: ${name}`);
  console.log(`${passes} passed, ${failures} failed${pending > 0 ? `, ${pending} skipped` : ''}`);
  setTimeout(failForLeftovers, GRACE * 1000).unref();
}

/** Runs only when something keeps the process alive. */
function failForLeftovers(): void {
  console.error(`The tests left running: ${process.getActiveResourcesInfo().join(', ')}`);
  // One that failed at first did not come to what it does at its end.
  if (retried.length > 0) process.exit();
  // After mocha's own word, which knows of failed tests alone.
  process.once('exit', () => {
    process.exitCode = 1;
  });
  process.exit();
}
