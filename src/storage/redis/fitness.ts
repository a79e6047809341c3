/**
 * Whether a Redis keeps what we promise and lets us do what we do: looked at when we start, and whenever somebody asks whether we
 * are ready. Looking changes nothing: its writes are refused like any other, and find no record that they would change.
 */

import { UnfitStore } from '../storage.ts';
import { keysOfGroup } from './membership.ts';

/** One server that takes writes. */
export interface Master {
  info(): Promise<string>;
  config(action: 'GET', name: string): Promise<unknown>;
  call(name: string, ...args: string[]): Promise<unknown>;
}

export interface Fitness {
  /** @throws {UnfitStore} with the reason, for the operator. */
  assert(masters: readonly Master[]): Promise<void>;
}

const RECORD = 'latchkey:record:readiness';
const { members, expiries } = keysOfGroup('readiness');

/** Every command that is ever sent, on keys of every kind, also those inside scripts. */
const COMMANDS: [name: string, ...args: string[]][] = [
  ['GET', RECORD],
  ['SET', RECORD, '1', 'XX', 'EX', '1'],
  ['GETDEL', RECORD],
  ['EVAL', "return redis.call('GET', KEYS[1])", '1', RECORD],
  ['ZADD', members, 'XX', '0', '-'],
  ['ZADD', expiries, 'XX', '0', '-'],
  ['ZREM', members, '-'],
  ['ZRANGEBYSCORE', expiries, '-inf', '0'],
  ['ZRANGEBYLEX', members, '-', '+', 'LIMIT', '0', '1'],
  ['ZREVRANGEBYLEX', members, '+', '-', 'LIMIT', '0', '1'],
  ['TTL', members],
  ['EXPIRE', members, '1'],
  ['PERSIST', expiries],
  ['TIME'],
  ['WAIT', '0', '0'],
];

/** What a server says of itself; empty when it does not. */
type Info = (name: string) => string | undefined;

/** @param mayLoseWrites Whether a server that may forget what it has acknowledged will do. */
export function createFitness({
  mayLoseWrites,
  warn,
}: {
  mayLoseWrites: boolean;
  warn: (message: string) => void;
}): Fitness {
  const warned = new Set<string>();

  function warnOnce(message: string): void {
    if (!warned.has(message)) warn(`STORE_URL: this Redis ${message}`);
    warned.add(message);
  }

  async function unfitness(master: Master): Promise<string | undefined> {
    const text = await unlessHidden(master.info());
    if (text === undefined)
      warnOnce('does not say how it is set up (INFO); it is trusted to keep what it acknowledges');
    const info: Info = (name) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(text ?? '')?.[1];
    return tooOld(info) ?? evicting(info) ?? (await forgetful(master, info)) ?? refusing(master, info);
  }

  /** A crash, or a power cut, takes back what it has acknowledged: a used code could be used again, a deleted token would live. */
  async function forgetful(master: Master, info: Info): Promise<string | undefined> {
    if (info('aof_enabled') === undefined) return undefined;
    const fsync = await settingOf(master, 'appendfsync');
    const unfit =
      info('aof_enabled') === '0'
        ? 'has no append-only file: a crash takes back what it has acknowledged; set "appendonly yes"'
        : fsync === 'no'
          ? 'does not flush what it has acknowledged (appendfsync no); set "appendfsync always"'
          : undefined;
    if (unfit !== undefined && !mayLoseWrites) return `${unfit}, or accept that with STORE_DURABILITY=any`;
    if (unfit !== undefined) warnOnce(`${unfit}. It is used all the same, as STORE_DURABILITY=any says`);
    else if (fsync === 'everysec')
      warnOnce('may lose the last second at a power cut (appendfsync everysec); set "appendfsync always"');
    else if (fsync === undefined)
      warnOnce('does not say when it flushes (CONFIG GET appendfsync); it is trusted to do so before it acknowledges');
    return undefined;
  }

  return {
    async assert(masters) {
      for (const unfit of await Promise.all(masters.map(unfitness)))
        if (unfit !== undefined) throw new UnfitStore(`STORE_URL: this Redis ${unfit}`);
    },
  };
}

function tooOld(info: Info): string | undefined {
  const version = info('redis_version');
  const [major = 7, minor = 0] = version?.split('.').map(Number) ?? [];
  return major * 100 + minor < 602 ? `is version ${version}; 6.2 is the oldest that will do` : undefined;
}

function evicting(info: Info): string | undefined {
  const policy = info('maxmemory_policy');
  if (!policy || policy === 'noeviction') return undefined;
  return `evicts records (maxmemory-policy ${policy}); it must be noeviction`;
}

/** What it does not let us do, or not now. */
async function refusing(master: Master, info: Info): Promise<string | undefined> {
  const refused = await Promise.all(
    COMMANDS.map(async ([name, ...args]) => {
      const reason = await master.call(name, ...args).then(
        () => '',
        (error: Error) => error.message,
      );
      return { name, reason };
    }),
  );
  const needed = refused.filter(({ name }) => name !== 'WAIT' || Number(info('connected_slaves') ?? 0) > 0);
  const named = (pattern: RegExp) => {
    const names = needed.filter(({ reason }) => pattern.test(reason)).map(({ name }) => name);
    return names.length === 0 ? undefined : [...new Set(names)].join(', ');
  };
  const forbidden = named(/^NOPERM(?!.*\bkeys?\b)|^ERR unknown command/);
  if (forbidden) return `does not let its user run ${forbidden}; allow the commands that docs/run-on-redis.md lists`;
  const keys = named(/^NOPERM/);
  if (keys) return `does not let its user use our keys (${keys}); allow ~latchkey:*`;
  // In a cluster most of the keys are another node's.
  const other = needed.find(({ reason }) => reason !== '' && !/^(MOVED|ASK) /.test(reason));
  return other && `refuses ${other.name}: ${other.reason}`;
}

/** Managed services forbid CONFIG, some INFO: by access rule or by taking the command away. */
async function unlessHidden<T>(reply: Promise<T>): Promise<T | undefined> {
  try {
    return await reply;
  } catch (error) {
    if (/^(NOPERM|ERR unknown command)/.test((error as Error).message)) return undefined;
    throw error;
  }
}

async function settingOf(master: Master, name: string): Promise<string | undefined> {
  const reply = (await unlessHidden(master.config('GET', name))) as string[] | undefined;
  return reply?.[1];
}
