/**
 * The engine for several machines: Redis, Sentinel or Cluster, one key a record. Nothing is done twice: a command whose answer
 * did not come is reported as failed, though it may have happened; what reaches Redis after that does nothing. It must not know what a record means.
 *
 * A record is JSON with its own expiry, which readers check against the injected clock; Redis' expiry only collects what is
 * gone anyway. Lua compares and stores whole texts and never re-encodes one (`[]` would become `{}`).
 */
import { randomBytes } from 'node:crypto';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { monotonic } from '../../clock.ts';
import { AppError } from '../../errors.ts';
import { createDeadlines, type Deadline, deadlineIn, isOverdue } from '../deadline.ts';
import { createKeyedMutex } from '../keyed-mutex.ts';
import { checkNames, createSharedReader, expiryOf, isLive, isName, pageSizeOf, toText } from '../record.ts';
import { type Entry, type Json, type Storage, UnfitStore, unavailable, type WriteOptions } from '../storage.ts';
import { parseRedisAddress, type RedisAddress } from './address.ts';
import { createServerClock } from './clock.ts';
import { createFitness, type Fitness, type Master } from './fitness.ts';
import { JOIN, keyOfMember, keysAfter, keysBefore, keysOfGroup, memberOf } from './membership.ts';
import { barrierLine, createMasterWatch, createReplicaWait } from './replication.ts';

export interface RedisStorageOptions {
  url: string;
  now: () => number;
  /** Hears what an operator should know although we go on. */
  warn: (message: string) => void;
  /** Whether a Redis that may forget what it has acknowledged will do. */
  mayLoseWrites: boolean;
}

/** How long a record is there, and where it is listed. */
interface Lasting {
  readonly expiresAt?: number;
  readonly groups?: readonly string[];
  /** When it was written, if it works once. */
  readonly once?: number;
}

/** First line of a record's text; the second is its value. JSON has no line breaks of its own. */
interface Header extends Lasting {
  /** Which entries in its groups are this record's. */
  readonly id?: string;
}

/** `raw` is what compare-and-set compares; there may be one although the record has expired. */
interface Found {
  readonly raw: string | null;
  readonly live?: { readonly header: Header; readonly value: Json };
}

type Client = Redis | Cluster;

/** Milliseconds to wait for the first connection. */
const FIRST_CONNECTION = 2_000;
/** Seconds a membership outlives its record, so that no machine's clock prunes it too early. */
const MARGIN = 60;

/** What must be true of the key for a record to be stored: nothing, that it is free, or that it holds exactly a text. */
type Condition = ['any' | 'free' | 'same', text: string];

/** KEYS members and expiries of a group; ARGV as `join` has them. */
const ENTER = `${JOIN} join(KEYS[1], KEYS[2], unpack(ARGV))`;

/**
 * Milliseconds a command is waited for. It may lie in a queue or a socket for longer and reach Redis after its caller has been
 * refused, so every one that writes says until when it may be carried out.
 */
const COMMAND_TIMEOUT = 1_000;

/** ARGV the moment by Redis' own clock, in milliseconds, from which the script does nothing. It answers that clock before all else. */
const IN_TIME = `
  local time = redis.call('TIME')
  local clock = time[1] * 1000 + math.floor(time[2] / 1000)
  if clock >= tonumber(ARGV[1]) then return { clock } end
`;

/**
 * KEYS record, then members and expiries of each group to enter first; ARGV as `IN_TIME` has it, condition and text, new text,
 * seconds until it may be collected (empty: never), then as `join` has them. Answers 1 when it was stored, else 0, and what the
 * key held before.
 */
const STORE = `${JOIN} ${IN_TIME}
  local before = redis.call('GET', KEYS[1])
  if ARGV[2] == 'free' and before or ARGV[2] == 'same' and before ~= ARGV[3] then return { clock, 0, before } end
  for i = 2, #KEYS, 2 do join(KEYS[i], KEYS[i + 1], unpack(ARGV, 6)) end
  if ARGV[5] == '' then
    redis.call('SET', KEYS[1], ARGV[4])
  else
    redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[5])
  end
  return { clock, 1, before }
`;

/** KEYS record; ARGV as `IN_TIME` has it. Answers what the key held. */
const TAKE = `${IN_TIME} return { clock, redis.call('GETDEL', KEYS[1]) }`;

/**
 * @throws {AppError} `temporarily_unavailable` when Redis does not answer within two seconds.
 * @throws {UnfitStore} with one line for the operator when this Redis may lose what it acknowledged, or does not let us work.
 */
export async function createRedisStorage({
  url,
  now: wall,
  warn,
  mayLoseWrites,
}: RedisStorageOptions): Promise<Storage> {
  const address = parseRedisAddress(url);
  const serverClock = createServerClock();
  /** Of this machine's clock and Redis' the one that is ahead: what has expired for one of all processes stays so for all. */
  const now = () => Math.max(wall(), Math.floor(serverClock.at(monotonic()) / 1000));
  const fitness = createFitness({ mayLoseWrites, warn });
  const client = await connect(address, fitness);
  const barrier = client instanceof Cluster ? undefined : await openBarrier(address);
  const lines = barrier && !(client instanceof Cluster) ? [barrierLine(client, barrier)] : [];
  // A node of a cluster has one connection, and so knows what was written over it.
  const settled = createReplicaWait(() => (client instanceof Cluster ? client.nodes('master') : lines));
  const master = client instanceof Cluster ? undefined : createMasterWatch({ connection: client, now, warn });
  if (master) client.on('ready', master.reconnected);
  const deadlines = createDeadlines();
  const serialize = createKeyedMutex();
  const readShared = createSharedReader();
  const isCluster = client instanceof Cluster;
  await learnTime().catch((error) => {
    client.disconnect();
    throw error;
  });

  async function learnTime(): Promise<void> {
    const sentAt = monotonic();
    const [seconds = 0, microseconds = 0] = await ask(() => client.time());
    const time = Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
    serverClock.learn(time, { sentAt, receivedAt: monotonic() });
  }

  /** A script's answer without its first value, Redis' clock. */
  async function inTime(deadline: Deadline, script: (until: number) => Promise<unknown>): Promise<unknown[]> {
    while (!isOverdue(deadline)) {
      const sentAt = monotonic();
      const until = serverClock.at(Math.min(deadline, deadlineIn(COMMAND_TIMEOUT)));
      const [time, ...answer] = (await ask(() => script(until))) as [number, ...unknown[]];
      serverClock.learn(time, { sentAt, receivedAt: monotonic() });
      // Too late by a clock that was set since we heard of it: nothing was done, and it may still be.
      if (answer.length > 0) return answer;
    }
    throw unavailable(new Error('Redis could not begin it in time'));
  }

  async function read(key: string): Promise<Found> {
    const raw = await ask(() => client.get(keyOfRecord(key)));
    if (raw === null) return { raw };
    const header = headerIn(raw);
    return (await isThere(header)) ? { raw, live: { header, value: valueIn(raw) } } : { raw };
  }

  async function isThere({ expiresAt, once }: Header): Promise<boolean> {
    if (!isLive(expiresAt, now())) return false;
    return once === undefined || !master || once >= (await ask(() => master.changedAt()));
  }

  /** Removes the memberships of a write that is over. Best effort: readers skip what stays behind. */
  async function leave(key: string, { groups = [], id }: Header): Promise<void> {
    if (id === undefined) return;
    const sets = groups.map(keysOfGroup).flatMap(({ members, expiries }) => [members, expiries]);
    await Promise.allSettled(sets.map((set) => client.zrem(set, memberOf(key, id))));
  }

  /**
   * Stores a record if the condition holds, and before it the memberships of its header, unless they are `kept` ones: in one step,
   * but for a cluster, which may have record and groups in different places.
   */
  async function store(
    key: string,
    {
      condition,
      header,
      text,
      kept = false,
      deadline,
    }: { condition: Condition; header: Header; text: string; kept?: boolean; deadline: Deadline },
  ): Promise<{ stored: boolean; before: string | null }> {
    const { expiresAt, id = '' } = header;
    const moment = now();
    const left = Math.max(0, (expiresAt ?? moment) - moment);
    const entry = [memberOf(key, id), expiresAt ?? '', MARGIN, left + MARGIN];
    const groups = kept ? [] : (header.groups ?? []).map(keysOfGroup);
    const pairs = groups.map(({ members, expiries }) => [members, expiries]);
    if (isCluster) await Promise.all(pairs.map((pair) => ask(() => client.eval(ENTER, 2, ...pair, ...entry))));
    const keys = [keyOfRecord(key), ...(isCluster ? [] : pairs.flat())];
    const collected = expiresAt === undefined ? '' : Math.max(1, left);
    const args = [...condition, rawOf(header, text), collected, ...entry];
    const reply = await inTime(deadline, (until) => client.eval(STORE, keys.length, ...keys, until, ...args));
    const [stored, before] = reply as [0 | 1, string | null];
    if (isCluster && stored === 0 && !kept) await leave(key, header);
    if (stored === 1) await ask(settled);
    return { stored: stored === 1, before };
  }

  /** Stores the value unless the record is no longer what was found. What `options` does not name is kept. */
  async function replace(
    key: string,
    { raw, live }: Found,
    { text, options, deadline }: { text: string; options: WriteOptions; deadline: Deadline },
  ): Promise<boolean> {
    const condition = unchanged(raw);
    if (live && options.ttl === undefined && !options.groups)
      return (await store(key, { condition, header: live.header, text, kept: true, deadline })).stored;
    const header = newHeader({ ...live?.header, ...lastingOf(options, now()) });
    const { stored } = await store(key, { condition, header, text, deadline });
    if (stored && live) await leave(key, live.header);
    return stored;
  }

  /** The record's text if it was live. */
  async function remove(key: string, deadline: Deadline): Promise<string | undefined> {
    const [raw] = (await inTime(deadline, (until) => client.eval(TAKE, 1, keyOfRecord(key), until))) as [string | null];
    if (raw === null) return undefined;
    const header = headerIn(raw);
    const live = await isThere(header);
    await Promise.all([leave(key, header), ask(settled)]);
    return live ? raw : undefined;
  }

  async function insert(key: string, text: string, options: WriteOptions): Promise<boolean> {
    return deadlines.meet(async (deadline) => {
      const header = newHeader(lastingOf(options, now()));
      let condition = unchanged(null);
      while (!isOverdue(deadline)) {
        const { stored, before } = await store(key, { condition, header, text, deadline });
        if (stored) return true;
        if (before !== null && (await isThere(headerIn(before)))) return false;
        condition = unchanged(before); // may be there and yet gone by our clock: then it is overwritten
      }
      throw unavailable(new Error('too many writers'));
    });
  }

  async function put(key: string, text: string, options: WriteOptions): Promise<void> {
    await deadlines.meet(async (deadline) => {
      const header = newHeader(lastingOf(options, now()));
      const { before } = await store(key, { condition: ['any', ''], header, text, deadline });
      if (before !== null) await leave(key, headerIn(before));
    });
  }

  return {
    now,

    async insert(key, value, options = {}) {
      checkNames(key, options.groups);
      return insert(key, toText(value), options);
    },

    async put(key, value, options = {}) {
      checkNames(key, options.groups);
      await put(key, toText(value), options);
    },

    async get(key, { shared = false, once = false } = {}) {
      if (!isName(key)) return undefined;
      return deadlines.meet(async (deadline) => {
        const raw = await ask(() => client.get(keyOfRecord(key)));
        if (raw === null) return undefined;
        if (!(await isThere(headerIn(raw)))) {
          if (once) await remove(key, deadline);
          return undefined;
        }
        return shared ? readShared(textIn(raw)) : valueIn(raw);
      });
    },

    async update(key, change, options = {}) {
      checkNames(key, options.groups);
      return deadlines.meet((deadline) =>
        serialize(key, async () => {
          while (!isOverdue(deadline)) {
            const found = await read(key);
            const next = change(found.live?.value);
            if (next === undefined || (await replace(key, found, { text: toText(next), options, deadline })))
              return next;
          }
          throw unavailable(new Error('too many writers'));
        }),
      );
    },

    async take(key) {
      if (!isName(key)) return undefined;
      const raw = await deadlines.meet((deadline) => remove(key, deadline));
      return raw === undefined ? undefined : valueIn(raw);
    },

    async delete(key) {
      return isName(key) && (await deadlines.meet((deadline) => remove(key, deadline))) !== undefined;
    },

    async list(group, options = {}) {
      if (!isName(group)) return { entries: [] };
      const { after, descending = false } = options;
      const { members } = keysOfGroup(group);
      const size = pageSizeOf(options);
      return deadlines.meet(async () => {
        const page = await ask(() =>
          descending
            ? client.zrevrangebylex(members, ...keysBefore(after), 'LIMIT', 0, size)
            : client.zrangebylex(members, ...keysAfter(after), 'LIMIT', 0, size),
        );
        const keys = [...new Set(page.map(keyOfMember))];
        const found = await Promise.all(keys.map(async (key) => ({ key, live: (await read(key)).live })));
        const entries = found.flatMap(({ key, live }): Entry[] =>
          live?.header.groups?.includes(group) ? [{ key, value: live.value }] : [],
        );
        const last = keys.at(-1);
        return last !== undefined && page.length === size ? { entries, next: last } : { entries };
      });
    },

    async ping() {
      await deadlines.meet(async () => {
        await ask(() => fitness.assert(mastersOf(client)));
        // Whichever node has its slot: one that is gone is noticed.
        if (isCluster) await Promise.all(CLUSTER_PROBES.map((key) => ask(() => client.set(key, '1', 'EX', 1, 'XX'))));
        await ask(settled);
      });
    },

    async close() {
      await deadlines.close();
      barrier?.disconnect();
      client.disconnect();
    },
  };
}

/** Keys in many slots, that hold nothing. */
const CLUSTER_PROBES = Array.from({ length: 32 }, (_, index) => `latchkey:record:readiness:${index}`);

function mastersOf(client: Client): Master[] {
  return client instanceof Cluster ? client.nodes('master') : [client];
}

/** Waiting for replicas holds up whatever comes after it on the same connection. */
async function openBarrier(address: RedisAddress): Promise<Redis> {
  const barrier = createClient(address) as Redis;
  await firstConnection(barrier, address.hosts);
  return barrier;
}

function rawOf(header: Header, text: string): string {
  return `${JSON.stringify(header)}\n${text}`;
}

function headerIn(raw: string): Header {
  return JSON.parse(raw.slice(0, raw.indexOf('\n'))) as Header;
}

function textIn(raw: string): string {
  return raw.slice(raw.indexOf('\n') + 1);
}

function valueIn(raw: string): Json {
  return JSON.parse(textIn(raw)) as Json;
}

function keyOfRecord(key: string): string {
  return `latchkey:record:${key}`;
}

/** Its groups are entered anew, whatever entries an earlier write has left there. */
function newHeader({ expiresAt, once, groups = [] }: Lasting): Header {
  const lasting = { ...(expiresAt !== undefined && { expiresAt }), ...(once !== undefined && { once }) };
  return groups.length === 0 ? lasting : { ...lasting, groups, id: randomBytes(9).toString('base64url') };
}

/** As long as the key holds what was found there. */
function unchanged(raw: string | null): Condition {
  return raw === null ? ['free', ''] : ['same', raw];
}

function lastingOf(options: WriteOptions, now: number): Lasting {
  const expiresAt = expiryOf(options, now);
  return {
    ...(expiresAt !== undefined && { expiresAt }),
    ...(options.groups && { groups: options.groups }),
    ...(options.once && { once: now }),
  };
}

/** One round trip. Whatever goes wrong with it, its outcome is unknown. */
async function ask<T>(command: () => Promise<T>): Promise<T> {
  try {
    return await command();
  } catch (error) {
    throw error instanceof AppError ? error : error instanceof UnfitStore ? unavailable(error) : outageOf(error);
  }
}

/** ioredis' errors carry the command with its arguments, which are no business of the log. */
function outageOf(error: unknown): AppError {
  const { message } = error as Error;
  return unavailable(new Error(message.includes('enableOfflineQueue') ? 'Redis is not connected' : message));
}

/** Connected, checked, and from now on reconnecting by itself for ever. */
async function connect(address: RedisAddress, fitness: Fitness): Promise<Client> {
  const client = createClient(address);
  try {
    await firstConnection(client, address.hosts);
    await fitness.assert(mastersOf(client)).catch((error) => {
      throw error instanceof UnfitStore ? error : outageOf(error);
    });
  } catch (error) {
    client.disconnect();
    throw error;
  }
  return client;
}

function createClient(address: RedisAddress): Client {
  const { username, password, db, tls } = address;
  const options = {
    lazyConnect: true,
    connectionName: 'latchkey',
    connectTimeout: 1_000,
    commandTimeout: COMMAND_TIMEOUT,
    socketTimeout: 1_500, // a peer that went silent is left, so that commands stop piling up
    maxLoadingRetryTime: 500,
    // A command is sent once or not at all: done again, a `take` would find nothing of what it took the first time.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    ...(username && { username }),
    ...(password && { password }),
    ...(tls && { tls }),
  } satisfies RedisOptions;
  const forever = {
    retryStrategy: (attempts: number) => Math.min(attempts * 50, 500),
    reconnectOnError: createMasterSearch(),
    enableAutoPipelining: true,
  } satisfies RedisOptions;
  if (address.kind === 'single') {
    const [{ host, port }] = address.nodes;
    return new Redis({ ...options, ...forever, host, port, db: db ?? 0 });
  }
  if (address.kind === 'cluster') {
    // Without automatic pipelines, which cannot follow slots that move to different nodes.
    return new Cluster(address.nodes, {
      lazyConnect: true,
      enableOfflineQueue: false,
      retryDelayOnFailover: 0,
      clusterRetryStrategy: () => 200,
      slotsRefreshInterval: 2_000,
      redisOptions: options,
      // Looked up beforehand, a name would be an address that no certificate is for.
      ...(tls && { dnsLookup: (name, found) => found(null, name) }),
    });
  }
  const { username: sentinelUsername, password: sentinelPassword } = address.sentinel ?? { password };
  return new Redis({
    ...options,
    ...forever,
    sentinels: address.nodes,
    name: address.master ?? '',
    sentinelCommandTimeout: 1_000,
    ...(sentinelUsername && { sentinelUsername }),
    ...(sentinelPassword && { sentinelPassword }),
    ...(tls && { sentinelTLS: tls, enableTLSForSentinelMode: true }),
  });
}

/** Reconnects when the master has become a replica, but not at every write: a replica that stays one still serves reads. */
function createMasterSearch(): (error: Error) => boolean {
  let next = 0;
  return (error) => {
    // Redis 6.2 wraps what a command inside a script says.
    if (!/^READONLY|: -READONLY /.test(error.message) || performance.now() < next) return false;
    next = performance.now() + 5_000;
    return true;
  };
}

/** @throws {AppError} `temporarily_unavailable` with the last reason. */
function firstConnection(client: Client, hosts: string): Promise<void> {
  let reason = 'no answer';
  client.on('error', (error: Error) => {
    reason = error.message;
  });
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        new AppError('temporarily_unavailable', `Redis at ${hosts} is out of reach: ${reason}`, { retryAfter: 2 }),
      );
    }, FIRST_CONNECTION);
    client.once('ready', () => {
      clearTimeout(timer);
      resolve();
    });
    client.connect().catch(() => undefined); // tries again by itself
  });
}
