import { z } from 'zod';
import type { Entry, Storage } from '../storage/storage.ts';
import { accountGroup, clientGroup, eraseGroup, isTombstone } from './adapter.ts';
import type { LogoutNotices } from './logout-notices.ts';

export interface Sessions {
  /**
   * Ends every session of an account and whatever came from one: grants, codes, tokens. The apps that were signed in to are
   * told at the next round of back-channel logout. Safe to repeat.
   */
  endAll(accountId: string): Promise<void>;
  /** Ends every grant of an app, and with them its codes and tokens. Safe to repeat. */
  endGrants(clientId: string): Promise<void>;
}

/** What a session knows of an app, as the engine stores it. */
const Authorizations = z.object({
  authorizations: z.record(z.string(), z.object({ sid: z.string().optional() })).default({}),
});

export function createSessions({ storage, notices }: { storage: Storage; notices: LogoutNotices }): Sessions {
  async function noteLogouts(accountId: string): Promise<void> {
    for await (const { key, value } of entriesOf(storage, accountGroup(accountId))) {
      if (!key.startsWith('Session:') || isTombstone(value)) continue;
      const apps = Object.entries(Authorizations.parse(value).authorizations);
      await Promise.all(apps.map(([clientId, { sid }]) => sid && notices.add({ accountId, clientId, sid })));
    }
  }

  return {
    async endAll(accountId) {
      await noteLogouts(accountId);
      await eraseGroup(storage, accountGroup(accountId));
    },

    endGrants: (clientId) => eraseGroup(storage, clientGroup(clientId)),
  };
}

async function* entriesOf(storage: Storage, group: string): AsyncGenerator<Entry> {
  let after: string | undefined;
  do {
    const page = await storage.list(group, after === undefined ? {} : { after });
    yield* page.entries;
    after = page.next;
  } while (after !== undefined);
}
