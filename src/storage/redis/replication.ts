/**
 * What becomes of acknowledged writes when the master changes. With replicas a write is acknowledged once one of them has it; and
 * what works once is refused when it is older than the last change of master, whose last uses may not have come over.
 */
import { createRounds } from '../rounds.ts';
import { unavailable } from '../storage.ts';

/** Milliseconds that a replica has to confirm. */
const PATIENCE = 700;
/** Milliseconds for which it is believed how many replicas there are. */
const BELIEVED = 1_000;

const MASTER = 'latchkey:master';
const BARRIER = 'latchkey:barrier';
/** What stands in place of an earlier history's id where there is none. */
const NO_HISTORY = /^0*$/;

/** A connection to one server that takes writes. */
export interface Line {
  info(section: 'replication'): Promise<string>;
  wait(replicas: number, milliseconds: number): Promise<number>;
}

/** Waits for what was written over the lines' own connections. In one round for all callers that come together. */
export function createReplicaWait(lines: () => readonly Line[]): () => Promise<void> {
  let believedUntil = Number.NEGATIVE_INFINITY;
  let replicated: readonly Line[] = [];

  async function look(): Promise<void> {
    const all = lines();
    const infos = await Promise.all(all.map((line) => line.info('replication').catch(hiddenAsEmpty)));
    replicated = all.filter((_line, index) => /^slave\d+:.*\bstate=online\b/m.test(infos[index] ?? ''));
    believedUntil = performance.now() + BELIEVED;
  }

  async function round(): Promise<void> {
    if (performance.now() > believedUntil) await look();
    const late = (await Promise.all(replicated.map(async (line) => (await line.wait(1, PATIENCE)) === 0))).includes(
      true,
    );
    if (!late) return;
    // It may have gone for good: then there is nobody to wait for any more.
    const awaited = new Set(replicated);
    await look();
    if (replicated.some((line) => awaited.has(line))) throw unavailable(new Error('no replica has confirmed in time'));
  }

  return createRounds(round);
}

/** Services that hide INFO replicate as they like. */
function hiddenAsEmpty(error: Error): string {
  if (/^(NOPERM|ERR unknown command)/.test(error.message)) return '';
  throw error;
}

/** Waits over a connection of its own, so that nobody else stands behind it: a write of its own comes after all earlier ones. */
export function barrierLine(
  connection: Pick<Line, 'info'>,
  barrier: Pick<Line, 'wait'> & { set(key: string, value: string, unit: 'EX', seconds: number): Promise<unknown> },
): Line {
  return {
    info: (section) => connection.info(section),
    async wait(replicas, milliseconds) {
      await barrier.set(BARRIER, '1', 'EX', 60);
      return barrier.wait(replicas, milliseconds);
    },
  };
}

export interface MasterWatch {
  /** Looks again: the connection is a new one. */
  reconnected(): void;
  /** The moment before which what works once is refused; 0 when the master has never changed. */
  changedAt(): Promise<number>;
}

export interface MasterWatchOptions {
  connection: {
    info(section: 'replication'): Promise<string>;
    get(key: string): Promise<string | null>;
    set(key: string, value: string): Promise<unknown>;
  };
  now: () => number;
  warn: (message: string) => void;
}

/** The id of the writes' history is another one after a change of master; which one was known last is kept in the store. */
export function createMasterWatch({ connection, now, warn }: MasterWatchOptions): MasterWatch {
  let looked: Promise<number> | undefined;

  async function look(): Promise<number> {
    const info = await connection.info('replication').catch(hiddenAsEmpty);
    const of = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
    const stored = await connection.get(MASTER);
    const known = stored === null ? undefined : (JSON.parse(stored) as { history: string; changedAt: number });
    const history = of('master_replid');
    if (history === '' || known?.history === history) return known?.changedAt ?? 0;
    // A server that was only started anew has no earlier history, and all its writes.
    const isOther = known !== undefined && !NO_HISTORY.test(of('master_replid2'));
    const changedAt = isOther ? now() : (known?.changedAt ?? 0);
    await connection.set(MASTER, JSON.stringify({ history, changedAt }));
    if (isOther)
      warn(
        `STORE_URL: the master of this Redis has changed. It has the writes up to ${Number(of('second_repl_offset')) - 1} of the one before; ` +
          'later ones are lost, and what works once and is older is refused',
      );
    return changedAt;
  }

  return {
    reconnected() {
      looked = undefined;
    },

    async changedAt() {
      looked ??= look();
      const own = looked;
      try {
        return await own;
      } catch (error) {
        if (looked === own) looked = undefined;
        throw error;
      }
    },
  };
}
