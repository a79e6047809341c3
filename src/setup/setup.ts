/**
 * The way in for the very first administrator: a link that works once in the life of a store. Once there has been an administrator,
 * whoever made it, no link works and none is printed, whatever becomes of that administrator; only the shell opens it again. Owns
 * the code in the link; making the account is `accounts/`'s business.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { type Account, Instant } from '../accounts/account.ts';
import type { Accounts, NewAccount } from '../accounts/accounts.ts';
import type { Audit, Origin } from '../audit.ts';
import { AppError } from '../errors.ts';
import type { Sealing } from '../secrets/sealing.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';

/** Sealed rather than digested, so that every start before its use prints the same link. */
const SetupCode = z.object({ sealed: z.string() });
const ID = 'code';

/** There has been an administrator. */
const Closed = z.object({ at: Instant });

/** Held while an administrator is made; expires should its holder die. The code itself stays, so that no other link is printed. */
const CLAIM = { key: 'setup-claim', seconds: 30 };

export interface Setup {
  /** The code of the link to print, or undefined when there is or was an administrator. */
  code(): Promise<string | undefined>;
  isCode(code: string): Promise<boolean>;
  /**
   * Makes the first administrator. Of parallel callers one succeeds.
   * @throws {AppError} `setup_closed`, or as `accounts.create` does, after which the code still works.
   */
  complete(
    code: string,
    administrator: Pick<NewAccount, 'email' | 'password' | 'givenName' | 'familyName'>,
    origin: Origin,
  ): Promise<Account>;
  /** There is an administrator now. */
  close(): Promise<void>;
  /** Answers the code of a new link. @throws {AppError} `conflict` when there is an administrator. */
  reopen(): Promise<string>;
}

export interface SetupOptions {
  storage: Storage;
  now: () => number;
  sealing: Sealing;
  accounts: Pick<Accounts, 'create' | 'hasAdministrator'>;
  audit: Audit;
}

export function createSetup({ storage, sealing, accounts, audit, now }: SetupOptions): Setup {
  const codes = collection(storage, { kind: 'setup', version: 1, schema: SetupCode });
  const closings = collection(storage, { kind: 'setup-closed', version: 1, schema: Closed });

  /** Undefined also for a code whose secret key is gone: nobody can print that link any more. */
  const read = (stored: { sealed: string } | undefined) => stored && sealing.open(stored.sealed).catch(() => undefined);

  async function close(): Promise<void> {
    await closings.insert(ID, { at: now() });
  }

  /** An administrator without the mark was made by a process that died, or before there was one. */
  async function isClosed(): Promise<boolean> {
    if (await closings.get(ID)) return true;
    if (!(await accounts.hasAdministrator())) return false;
    await close();
    return true;
  }

  /** What is in the link now, whether or not it was printed by this process. */
  async function current(): Promise<string | undefined> {
    return (await isClosed()) ? undefined : read(await codes.get(ID));
  }

  /** Of several processes that start at once one makes the code. */
  async function ensure(): Promise<void> {
    const fresh = { sealed: await sealing.seal(randomBytes(20).toString('base64url')) };
    if (await codes.insert(ID, fresh)) return;
    const found = await codes.get(ID);
    if (!found || (await read(found)) !== undefined) return;
    await codes.update(ID, ({ sealed }) => (sealed === found.sealed ? fresh : undefined));
  }

  async function isCode(code: string): Promise<boolean> {
    const expected = Buffer.from((await current()) ?? '');
    const given = Buffer.from(code);
    return expected.length > 0 && expected.length === given.length && timingSafeEqual(expected, given);
  }

  async function createFirst(administrator: Parameters<Setup['complete']>[1], origin: Origin): Promise<Account> {
    // Who held the claim before us may have succeeded.
    if (await isClosed()) throw closed();
    const account = await accounts.create({ ...administrator, administrator: true }, origin);
    await codes.delete(ID);
    await audit.record({ ...origin, type: 'setup_completed', accountId: account.id });
    return account;
  }

  async function code(): Promise<string | undefined> {
    if (await isClosed()) return undefined;
    await ensure();
    return current();
  }

  return {
    code,
    isCode,
    close,

    async reopen() {
      if (await accounts.hasAdministrator()) {
        throw new AppError('conflict', 'there is an administrator; "account create --admin" makes another');
      }
      await codes.delete(ID); // whoever has an old link must not profit
      await closings.delete(ID);
      const opened = await code();
      if (opened === undefined) throw new AppError('conflict', 'an administrator was made in this moment');
      await audit.record({ type: 'setup_reopened' });
      return opened;
    },

    async complete(code, administrator, origin) {
      if (!(await isCode(code))) throw closed();
      if (!(await storage.insert(CLAIM.key, true, { ttl: CLAIM.seconds }))) throw closed();
      try {
        return await createFirst(administrator, origin);
      } finally {
        await storage.delete(CLAIM.key);
      }
    },
  };
}

function closed(): AppError {
  return new AppError('setup_closed', 'this setup link was used already, or there is an administrator');
}
