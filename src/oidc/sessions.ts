import type { Storage } from '../storage/storage.ts';
import { accountGroup, clientGroup, eraseGroup } from './adapter.ts';

export interface Sessions {
  /** Ends every session of an account and whatever came from one: grants, codes, tokens. Safe to repeat. */
  endAll(accountId: string): Promise<void>;
  /** Ends every grant of an app, and with them its codes and tokens. Safe to repeat. */
  endGrants(clientId: string): Promise<void>;
}

export function createSessions({ storage }: { storage: Storage }): Sessions {
  return {
    endAll: (accountId) => eraseGroup(storage, accountGroup(accountId)),
    endGrants: (clientId) => eraseGroup(storage, clientGroup(clientId)),
  };
}
