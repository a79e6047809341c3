/** Accounts and what belongs to them on a real store with a settable clock, in this process and in others. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createAccounts, type NewAccount } from '../../src/accounts/accounts.ts';
import { createKnownBrowsers } from '../../src/accounts/known-browsers.ts';
import { createPasswords } from '../../src/accounts/password.ts';
import { createPasswordSignIn, type PasswordSignInRequest } from '../../src/accounts/sign-in.ts';
import { createAudit } from '../../src/audit.ts';
import { AppError } from '../../src/errors.ts';
import { createOrganizations } from '../../src/organizations/organizations.ts';
import { createPermissions } from '../../src/permissions/permissions.ts';
import { openStorage } from '../../src/storage/open.ts';
import { type Counted, createThrottle, type Rule } from '../../src/throttle.ts';
import { startRedis } from './redis.ts';

export const PASSWORD = 'correct horse battery staple';

export interface Clock {
  time: number;
}

export interface Store {
  url: string;
  stop(): Promise<void>;
}

/** Runs a suite once on each engine. */
export function onBothEngines(suite: (openStore: () => Promise<Store>) => void): void {
  describe('on the embedded store', () => suite(openEmbeddedStore));
  describe('on Redis', () => suite(startRedis));
}

export async function openEmbeddedStore(): Promise<Store & { directory: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-people-'));
  return { directory, url: `file:${directory}`, stop: async () => rmSync(directory, { recursive: true }) };
}

export type People = Awaited<ReturnType<typeof openPeople>>;

export async function openPeople(storeUrl: string, clock: Clock = { time: 1_800_000_000 }) {
  const now = () => clock.time;
  const storage = await openStorage(storeUrl, { now });
  const throttle = createThrottle({ storage, now });
  const audit = createAudit({ storage, now, throttle });
  const organizations = createOrganizations({ storage, now, audit, whatBelongsTo: async () => undefined });
  const permissions = createPermissions({ storage, now, audit, takeFromAll: async () => {} });
  const passwords = createPasswords();
  /** What `endSessions` was called for, with the status the account had then. */
  const ended: string[] = [];
  const accounts = createAccounts({
    storage,
    now,
    audit,
    passwords,
    async endSessions(id) {
      ended.push(`${id} ${(await accounts.get(id))?.status}`);
    },
    organizationName: async (id) => (await organizations.get(id))?.name,
    permissionNames: permissions.names,
  });
  const knownBrowsers = createKnownBrowsers({ keys: ['a key'] });
  const { signIn } = createPasswordSignIn({ accounts, passwords, throttle, knownBrowsers, audit });
  const close = () => storage.close();
  return {
    clock,
    storage,
    audit,
    organizations,
    permissions,
    throttle,
    passwords,
    accounts,
    ended,
    knownBrowsers,
    signIn,
    close,
  };
}

/** `ok`, or the code of the failure. */
export async function outcomeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'ok',
    (error: unknown) => (error instanceof AppError ? error.code : String(error)),
  );
}

/** What a promise is rejected with. */
export async function failureOf(work: Promise<unknown>): Promise<AppError> {
  const failure: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (failure instanceof AppError) return failure;
  throw new Error(`expected an AppError, not ${String(failure)}`);
}

export function countOf(outcomes: readonly string[], outcome: string): number {
  return outcomes.filter((one) => one === outcome).length;
}

/** Done all at once in the other process. */
export type Order =
  | { order: 'create'; inputs: NewAccount[] }
  | { order: 'signIn'; inputs: PasswordSignInRequest[] }
  | { order: 'consume' | 'judgeWrong'; rule: Rule; inputs: Counted[] };

export interface PeopleProcess {
  /** Outcomes in the order of the inputs. */
  perform(order: Order): Promise<string[]>;
  stop(): Promise<void>;
}

const PROGRAM = fileURLToPath(new URL('./people-process-main.ts', import.meta.url));

/** Another process on the same store, whose clock stands still. */
export async function startPeopleProcess(storeUrl: string, { time }: Clock): Promise<PeopleProcess> {
  const child = fork(PROGRAM, [storeUrl, String(time)]);
  await nextMessage(child);
  return {
    async perform(order) {
      child.send(order);
      return nextMessage(child);
    },
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function nextMessage(child: ChildProcess): Promise<string[]> {
  const abort = new AbortController();
  const { signal } = abort;
  const ended = once(child, 'exit', { signal }).then(() => Promise.reject(new Error('the other process ended')));
  try {
    const [outcomes] = await Promise.race([once(child, 'message', { signal }), ended]);
    return outcomes;
  } finally {
    ended.catch(() => undefined);
    abort.abort();
  }
}
