/**
 * The file of the embedded engine: where it is, who may read it, its tables. Opened twice in each process, by the main thread
 * for reading and by the writer thread.
 */
import { accessSync, chmodSync, closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** Layout of the tables, kept in the file's `user_version`. */
export const LAYOUT = 1;

/** Milliseconds a statement waits for the rare locks that readers meet: recovery after a crash, the first opening of a new file. */
const LOCK_WAIT = 1_000;

// A plain rowid table takes half the write traffic of WITHOUT ROWID: rows are appended, only the key index is touched at random.
const TABLES = `
  CREATE TABLE record (key TEXT NOT NULL UNIQUE, value TEXT NOT NULL, expires_at INTEGER);
  CREATE INDEX record_expiry ON record (expires_at) WHERE expires_at IS NOT NULL;
  CREATE TABLE membership (key TEXT NOT NULL, "group" TEXT NOT NULL, PRIMARY KEY (key, "group")) WITHOUT ROWID;
  CREATE INDEX membership_group ON membership ("group", key);
  CREATE TRIGGER record_forgotten AFTER DELETE ON record BEGIN DELETE FROM membership WHERE key = OLD.key; END;
  PRAGMA user_version = ${LAYOUT};
`;

/** The newest time that the store has seen; stores of earlier versions had none. */
const CLOCK = 'CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), latest INTEGER NOT NULL)';

/**
 * Makes the file when there is none and proves that it can be used.
 * @returns its path.
 * @throws {Error} with one line for the operator when it is not a store of ours or may not be written.
 */
export function prepareFile(directory: string): string {
  const file = join(directory, 'latchkey.sqlite');
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    accessSync(directory, constants.W_OK | constants.X_OK);
    closeSync(openSync(file, 'a', 0o600));
    chmodSync(file, 0o600); // SQLite gives its side files the rights of the main one
    createTables(file);
  } catch (cause) {
    throw new Error(`STORE_URL: cannot use ${file}: ${(cause as Error).message}`, { cause });
  }
  return file;
}

/** A connection that commits durably: the log is flushed to the disk before a commit returns. */
export function openDatabase(file: string): DatabaseSync {
  // The wait for locks must be set before the switch to WAL, which two new processes may want at the same moment.
  const database = new DatabaseSync(file, { timeout: LOCK_WAIT });
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -4096');
  return database;
}

function createTables(file: string): void {
  const database = openDatabase(file);
  try {
    if (layoutOf(database) !== LAYOUT) {
      database.exec('BEGIN IMMEDIATE');
      if (layoutOf(database) === 0) database.exec(TABLES);
      database.exec('COMMIT');
    }
    if (layoutOf(database) !== LAYOUT) throw new Error('it was written by a newer version of this program');
    database.exec(CLOCK);
  } finally {
    database.close();
  }
}

function layoutOf(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.user_version);
}
