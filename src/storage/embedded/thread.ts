/**
 * The writer thread of the embedded engine: everything that waits when it is called together becomes one transaction and shares
 * one flush to the disk. It knows tables and statements, not records; nobody imports it, `embedded-queue.ts` starts it.
 */
import type { DatabaseSync } from 'node:sqlite';
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { type Deadline, isOverdue } from '../deadline.ts';
import { LAYOUT, openDatabase } from './database.ts';

/** One write, decided inside the transaction. `now` and `expiresAt` in whole seconds, null for never. */
export type Operation =
  /** True when the key was free. */
  | { verb: 'insert'; key: string; value: string; expiresAt: number | null; groups: readonly string[]; now: number }
  /** True. */
  | { verb: 'put'; key: string; value: string; expiresAt: number | null; groups: readonly string[] }
  /** True when the record was still what `seen` says. Groups are kept unless named. */
  | { verb: 'swap'; key: string; seen: Row; value: string; expiresAt: number | null; groups?: readonly string[] }
  /** The value's text, null when there was no live record. */
  | { verb: 'take'; key: string; now: number }
  /** True when there was a live record. */
  | { verb: 'delete'; key: string; now: number }
  /** Forgets some expired records; true when there are more. */
  | { verb: 'sweep'; now: number }
  /** True: the newest time seen is kept. */
  | { verb: 'mark'; latest: number }
  /** True: a write reached the disk. */
  | { verb: 'touch' };

export type AnswerTo<O extends Operation> = O extends { verb: 'take' } ? string | null : boolean;
export type Answer = AnswerTo<Operation>;

export interface Row {
  value: string;
  expires_at: number | null;
}

/** What was not begun by then has been refused, and must not happen behind its caller's back. */
export interface Timed {
  deadline: Deadline;
}

export interface Request {
  id: number;
  operations: ReadonlyArray<Operation & Timed>;
}

/** Answers in the order of the operations, undefined for one that came too late; or why none of them happened. */
export type Response = { id: number; answers: ReadonlyArray<Answer | undefined> } | { id: number; refusal: string };

/** Rows forgotten in one go, so that nobody waits long behind the broom. */
const SWEEP_SIZE = 200;
/** Operations in one transaction, about. */
const BATCH_SIZE = 2_000;
const bell = new Int32Array(new SharedArrayBuffer(4));
const sleep = (milliseconds: number) => Atomics.wait(bell, 0, 0, milliseconds);

if (parentPort) serve(parentPort, openDatabase(workerData as string));

function serve(port: MessagePort, database: DatabaseSync): void {
  const write = createWriter(database);
  port.on('message', (first: Request | 'close') => {
    const batch: Request[] = [];
    let size = 0;
    let message: Request | 'close' | undefined = first;
    while (message !== undefined && message !== 'close') {
      batch.push(message);
      size += message.operations.length;
      message = size < BATCH_SIZE ? receiveMessageOnPort(port)?.message : undefined;
    }
    if (batch.length > 0) port.postMessage(write(batch));
    if (message !== 'close') return;
    database.close();
    port.close();
  });
}

function createWriter(database: DatabaseSync): (batch: readonly Request[]) => Response[] {
  const perform = createStatements(database);
  const begin = database.prepare('BEGIN IMMEDIATE');
  const commit = database.prepare('COMMIT');
  // SQLite's own waiting lets one of two busy processes starve for seconds; `beginInTurn` does not.
  database.exec('PRAGMA busy_timeout = 0');

  /** Waits for the other processes' turns while there is somebody to begin for. */
  function beginInTurn(until: Deadline): void {
    for (let attempt = 0; ; attempt++) {
      try {
        begin.run();
        return;
      } catch (error) {
        if (!isBusy(error) || isOverdue(until)) throw error;
        sleep(attempt < 20 ? 0.3 : 2);
      }
    }
  }

  const performInTime = (operation: Operation & Timed) =>
    isOverdue(operation.deadline) ? undefined : perform(operation);

  return function write(batch) {
    try {
      beginInTurn(Math.max(...batch.flatMap(({ operations }) => operations.map(({ deadline }) => deadline))));
      const responses = batch.map(({ id, operations }) => ({ id, answers: operations.map(performInTime) }));
      commit.run();
      return responses;
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      return batch.map(({ id }) => ({ id, refusal: (error as Error).message }));
    }
  };
}

function createStatements(database: DatabaseSync): (operation: Operation) => Answer {
  const add = database.prepare('INSERT INTO record (key, value, expires_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING');
  const replace = database.prepare('UPDATE record SET value = ?, expires_at = ? WHERE key = ?');
  const swap = database.prepare(
    'UPDATE record SET value = ?, expires_at = ? WHERE key = ? AND value = ? AND expires_at IS ?',
  );
  const remove = database.prepare('DELETE FROM record WHERE key = ? RETURNING value, expires_at');
  const removeExpired = database.prepare('DELETE FROM record WHERE key = ? AND expires_at <= ?');
  const sweep = database.prepare(
    `DELETE FROM record WHERE rowid IN (SELECT rowid FROM record WHERE expires_at <= ? LIMIT ${SWEEP_SIZE})`,
  );
  const join = database.prepare('INSERT INTO membership (key, "group") VALUES (?, ?) ON CONFLICT DO NOTHING');
  const leave = database.prepare('DELETE FROM membership WHERE key = ?');
  const mark = database.prepare(
    'INSERT INTO clock VALUES (1, ?) ON CONFLICT DO UPDATE SET latest = max(latest, excluded.latest)',
  );
  const touch = database.prepare(`PRAGMA user_version = ${LAYOUT}`); // rewrites the first page as it is

  const regroup = (key: string, groups: readonly string[]) => {
    leave.run(key);
    for (const group of groups) join.run(key, group);
  };
  const removeLive = (key: string, now: number) => {
    const row = remove.get(key) as Row | undefined;
    return row !== undefined && (row.expires_at === null || row.expires_at > now) ? row.value : null;
  };

  return function perform(operation) {
    switch (operation.verb) {
      case 'insert': {
        const { key, value, expiresAt, groups, now } = operation;
        removeExpired.run(key, now);
        if (add.run(key, value, expiresAt).changes === 0) return false;
        for (const group of groups) join.run(key, group);
        return true;
      }
      case 'put': {
        const { key, value, expiresAt, groups } = operation;
        if (replace.run(value, expiresAt, key).changes === 0) add.run(key, value, expiresAt);
        regroup(key, groups);
        return true;
      }
      case 'swap': {
        const { key, seen, value, expiresAt, groups } = operation;
        if (swap.run(value, expiresAt, key, seen.value, seen.expires_at).changes === 0) return false;
        if (groups) regroup(key, groups);
        return true;
      }
      case 'take':
        return removeLive(operation.key, operation.now);
      case 'delete':
        return removeLive(operation.key, operation.now) !== null;
      case 'sweep':
        return sweep.run(operation.now).changes === SWEEP_SIZE;
      case 'mark':
        mark.run(operation.latest);
        return true;
      case 'touch':
        touch.run();
        return true;
    }
  };
}

function isBusy(error: unknown): boolean {
  const SQLITE_BUSY = 5;
  return ((error as { errcode?: number }).errcode ?? 0) % 256 === SQLITE_BUSY;
}
