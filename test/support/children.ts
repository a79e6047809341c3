/** Every process that a test has started ends with the tests, however they end: Ctrl-C leaves no server behind. */
import type { ChildProcess } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { constants } from 'node:os';

const running = new Set<ChildProcess>();

subscribe('child_process', (message) => {
  const { process: child } = message as { process: ChildProcess };
  running.add(child);
  child.once('exit', () => running.delete(child));
});

process.on('exit', () => {
  // One that was stopped hears nothing but the second.
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) for (const child of running) child.kill(signal);
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(128 + constants.signals[signal]));
}
