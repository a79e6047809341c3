/**
 * A copy of the embedded store, made while the server runs. Copying the file itself would miss what is still in the log beside it.
 */
import { closeSync, existsSync, fsyncSync, linkSync, openSync, rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { directoryOf } from './open.ts';

/** Milliseconds to wait for locks, of which a reader meets few. */
const LOCK_WAIT = 10_000;

export interface Backup {
  /** Absolute. */
  file: string;
  records: number;
}

/**
 * Everything that had been acknowledged before, in one file for its owner only; it appears whole or not at all.
 * @throws {Error} with one line for the operator.
 */
export function backUp(storeUrl: string, target: string): Backup {
  const directory = directoryOf(storeUrl);
  if (!directory) {
    throw new Error(
      'the store is Redis, which is not copied by this command: save its append-only files or snapshots, as its manual says under "Backing up Redis data"',
    );
  }
  const source = resolve(directory, 'latchkey.sqlite');
  if (!existsSync(source)) throw new Error(`there is no store at ${source}; STORE_URL says where it is`);
  const file = resolve(target);
  if (existsSync(file)) throw taken(file);
  const draft = `${file}.${process.pid}.partial`;
  try {
    closeSync(openSync(draft, 'wx', 0o600)); // so that nobody else can ever read it
    copy(source, draft);
    flush(draft);
    appear(draft, file);
    flush(dirname(file));
    return { file, records: recordsIn(file) };
  } finally {
    for (const rest of [draft, `${draft}-journal`]) rmSync(rest, { force: true });
  }
}

/** One reading transaction, which sees one moment; page by page, as SQLite's other way does it, busy writers would make it begin again and again. */
function copy(source: string, draft: string): void {
  const database = new DatabaseSync(source, { readOnly: true, timeout: LOCK_WAIT });
  try {
    database.prepare('VACUUM INTO ?').run(draft);
  } finally {
    database.close();
  }
}

function recordsIn(file: string): number {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    return Number(database.prepare('SELECT count(*) AS records FROM record').get()?.records);
  } finally {
    database.close();
  }
}

function flush(path: string): void {
  const opened = openSync(path, 'r');
  try {
    fsyncSync(opened);
  } finally {
    closeSync(opened);
  }
}

/** A link, unlike a renaming, takes nobody's place. */
function appear(draft: string, file: string): void {
  try {
    linkSync(draft, file);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'EEXIST' ? taken(file) : error;
  }
}

function taken(file: string): Error {
  return new Error(`${file} exists already; a backup never takes the place of another file`);
}
