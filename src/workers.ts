/**
 * Several processes behind one socket: each replaced when it dies, and on SIGHUP one after the other, each when its successor
 * listens. Owns which processes there are; what one does is not its business.
 */
import cluster, { type Worker } from 'node:cluster';

/** What a worker is told whose successor listens. */
export const HAND_OVER = 'hand over';

/** A worker that died younger than this would only die again: it is replaced as much later, while others answer. */
const YOUNG_MS = 2_000;

export function supervise(count: number): void {
  /** Those that are replaced when they die. */
  const members = new Set<Worker>();
  let replacing = Promise.resolve();
  let stopping = false;

  function start(): Worker {
    const worker = cluster.fork();
    const startedAt = performance.now();
    worker.once('exit', (code) => {
      if (!members.delete(worker) || stopping || code === 0) return;
      const isYoung = performance.now() - startedAt < YOUNG_MS;
      if (isYoung && members.size === 0) process.exit(code ?? 1);
      setTimeout(() => (stopping ? undefined : members.add(start())), isYoung ? YOUNG_MS : 0);
    });
    return worker;
  }

  /** One that cannot start ends it: those that answer go on. */
  async function replaceAll(): Promise<void> {
    for (const old of [...members]) {
      if (stopping) return;
      const successor = start();
      if (!(await listens(successor))) {
        if (!stopping) console.error('A new worker ended before it listened; those that were not replaced go on.');
        return;
      }
      members.add(successor);
      members.delete(old);
      if (old.isConnected()) old.send(HAND_OVER);
    }
  }

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      stopping = true;
      for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill(signal);
    });
  }
  process.on('SIGHUP', () => {
    replacing = replacing.then(replaceAll);
  });
  for (let started = 0; started < count; started++) members.add(start());
}

function listens(worker: Worker): Promise<boolean> {
  return new Promise((resolve) => {
    worker.once('listening', () => resolve(true));
    worker.once('exit', () => resolve(false));
  });
}
