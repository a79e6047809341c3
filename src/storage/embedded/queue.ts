/**
 * The main thread's side of the writer thread: writes of one tick travel together, every one of them gets an answer or a
 * refusal in time, and a thread that died is replaced. It must not know what is written.
 */
import { Worker } from 'node:worker_threads';
import { type Deadline, deadlineIn } from '../deadline.ts';
import { unavailable } from '../storage.ts';
import type { Answer, AnswerTo, Operation, Request, Response, Timed } from './thread.ts';

/** Milliseconds after which a write that was not begun is dropped. */
const START_TIMEOUT = 1_500;
/** Milliseconds after which a write is reported as failed; one that was begun may still happen: the disk hangs. */
const ANSWER_TIMEOUT = 1_800;
/** Milliseconds before a thread that died is replaced. */
const RESTART_DELAY = 500;
/** Writes waiting at once; more are refused at the door. */
const CAPACITY = 20_000;

interface Waiting {
  resolve(answer: Answer): void;
  reject(reason: unknown): void;
}

interface Sent {
  waiting: readonly Waiting[];
  timer: NodeJS.Timeout;
}

export interface WriteQueue {
  /** Resolves once the write is on the disk. One that was not begun by its deadline never is. */
  write<O extends Operation>(operation: O, deadline?: Deadline): Promise<AnswerTo<O>>;
  /** Finishes what was accepted. */
  close(): Promise<void>;
}

export function createWriteQueue(file: string): WriteQueue {
  const sent = new Map<number, Sent>();
  let operations: Array<Operation & Timed> = [];
  let waiting: Waiting[] = [];
  let inFlight = 0;
  let nextId = 0;
  let closed = false;
  let restart: NodeJS.Timeout | undefined;
  let thread: Worker | undefined = startThread();

  function startThread(): Worker {
    const started = new Worker(new URL('./thread.ts', import.meta.url), { workerData: file });
    let failure: unknown = new Error('the writer thread ended');
    started.unref(); // an idle store keeps no process alive
    started.on('message', (responses: Response[]) => {
      for (const response of responses) settle(response);
    });
    started.on('error', (error) => {
      failure = error;
    });
    started.on('exit', () => {
      thread = undefined;
      for (const id of [...sent.keys()]) refuse(id, failure);
      if (closed) return;
      restart = setTimeout(() => {
        thread = startThread();
      }, RESTART_DELAY).unref();
    });
    return started;
  }

  function settle(response: Response): void {
    if ('refusal' in response) {
      refuse(response.id, new Error(response.refusal));
      return;
    }
    for (const [index, { resolve, reject }] of forget(response.id).entries()) {
      const answer = response.answers[index];
      if (answer === undefined) reject(unavailable(new Error('it could not be begun in time')));
      else resolve(answer);
    }
  }

  function refuse(id: number, cause: unknown): void {
    for (const { reject } of forget(id)) reject(unavailable(cause));
  }

  function forget(id: number): readonly Waiting[] {
    const request = sent.get(id);
    if (!request) return []; // answered after its time
    sent.delete(id);
    clearTimeout(request.timer);
    inFlight -= request.waiting.length;
    if (sent.size === 0 && !closed) thread?.unref(); // who closes waits for its end
    return request.waiting;
  }

  function flush(): void {
    if (operations.length === 0) return;
    const request: Request = { id: nextId++, operations };
    const timer = setTimeout(() => refuse(request.id, new Error('the disk does not answer')), ANSWER_TIMEOUT);
    sent.set(request.id, { waiting, timer });
    operations = [];
    waiting = [];
    thread?.ref();
    thread?.postMessage(request);
    if (!thread) refuse(request.id, new Error('the writer thread is being restarted'));
  }

  function write<O extends Operation>(operation: O, deadline = deadlineIn(START_TIMEOUT)): Promise<AnswerTo<O>> {
    if (closed) return Promise.reject(unavailable(new Error('the store is closed')));
    if (inFlight >= CAPACITY) return Promise.reject(unavailable(new Error('too many writes are waiting')));
    inFlight += 1;
    if (operations.push({ ...operation, deadline }) === 1) queueMicrotask(flush);
    return new Promise((resolve, reject) => {
      // The thread answers each operation by its verb.
      waiting.push({ resolve: (answer) => resolve(answer as AnswerTo<O>), reject });
    });
  }

  async function close(): Promise<void> {
    if (closed) return;
    flush();
    closed = true;
    clearTimeout(restart);
    await new Promise<void>((resolve) => {
      if (!thread) return resolve();
      thread.once('exit', () => resolve());
      thread.ref();
      thread.postMessage('close');
    });
  }

  return { write, close };
}
