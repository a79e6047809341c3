/** Another process with recurring work on the same store: the test's side. What runs there is `schedule-process-main.ts`. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** A job that takes so long, or until it is told to stop; seconds. */
export interface Order {
  storeUrl: string;
  rhythm: number;
  lease: number;
  takes: number;
}

export type Report = { report: 'begun' | 'ended' | 'aborted' | 'overlapped'; at: number };

export interface ScheduleProcess {
  /** In the order in which they happened there. */
  reports: Report[];
  times(report: Report['report']): number;
  signal(signal: NodeJS.Signals): void;
  /** Stops the schedule and waits for its end. */
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
}

const PROGRAM = fileURLToPath(new URL('./schedule-process-main.ts', import.meta.url));

export function startScheduleProcess(order: Order): ScheduleProcess {
  const child: ChildProcess = fork(PROGRAM, [JSON.stringify(order)]);
  const ended = once(child, 'exit');
  const reports: Report[] = [];
  child.on('message', (report: Report) => reports.push(report));
  return {
    reports,
    times: (report) => reports.filter((one) => one.report === report).length,
    signal: (signal) => child.kill(signal),
    async stop() {
      child.send('stop');
      await ended;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
