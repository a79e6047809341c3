/** Another process on the same store: the test's side. What runs there is `storage-process-main.ts`. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Json, WriteOptions } from '../../src/storage/storage.ts';

/** One verb, or a change of a record by name, since a function cannot travel. */
export type Call =
  | { verb: 'insert' | 'put'; key: string; value: Json; options?: WriteOptions }
  | { verb: 'get' | 'take' | 'delete'; key: string }
  /** Adds one to a number; an absent record counts as zero. */
  | { verb: 'increment'; key: string }
  /** Marks an object as used. Answers it, or null when it was used before. */
  | { verb: 'useOnce'; key: string };

export type Order =
  | { order: 'perform'; calls: readonly Call[] }
  /** Writes `<prefix><n>` for n = 0, 1, 2 … with some in flight, until it is killed. */
  | { order: 'write'; prefix: string };

export type Report =
  | { report: 'ready' }
  | { report: 'done'; results: readonly (Json | null)[] }
  /** Record `n` has been acknowledged. */
  | { report: 'written'; n: number };

export interface StorageProcess {
  /** Performs all calls at once and answers their results; undefined travels as null. */
  perform(calls: readonly Call[]): Promise<readonly (Json | null)[]>;
  /** Starts writing without end; the list grows with each acknowledgement. */
  writeOn(prefix: string): number[];
  /** SIGKILL. */
  kill(): Promise<void>;
}

const PROGRAM = fileURLToPath(new URL('./storage-process-main.ts', import.meta.url));

export async function startStorageProcess(storeUrl: string): Promise<StorageProcess> {
  const child = fork(PROGRAM, [storeUrl], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  await nextReport(child, 'ready');

  return {
    async perform(calls) {
      child.send({ order: 'perform', calls } satisfies Order);
      const { results } = await nextReport(child, 'done');
      return results;
    },
    writeOn(prefix) {
      const written: number[] = [];
      child.on('message', (message: Report) => {
        if (message.report === 'written') written.push(message.n);
      });
      child.send({ order: 'write', prefix } satisfies Order);
      return written;
    },
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      // What it reported before it died is read first: `close` comes after the last message.
      const ended = Promise.all([once(child, 'exit'), child.connected ? once(child, 'disconnect') : undefined]);
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function nextReport<R extends Report['report']>(
  child: ChildProcess,
  report: R,
): Promise<Extract<Report, { report: R }>> {
  return new Promise((resolve, reject) => {
    const failed = () => reject(new Error(`the other process ended before it was ${report}`));
    child.once('exit', failed);
    child.on('message', function listen(message: Report) {
      if (message.report !== report) return;
      child.off('message', listen);
      child.off('exit', failed);
      resolve(message as Extract<Report, { report: R }>);
    });
  });
}
