/** Deleting many of the engine's records at once, and walking them. Every function is safe to repeat. */
import type { Entry, Storage } from '../storage/storage.ts';
import { accountGroup, grantGroup } from './groups.ts';

const GRANT = 'Grant:';

/** The records of a group, read page by page. */
export async function* entriesOf(storage: Storage, group: string): AsyncGenerator<Entry> {
  let after: string | undefined;
  do {
    const page = await storage.list(group, after === undefined ? {} : { after });
    yield* page.entries;
    after = page.next;
  } while (after !== undefined);
}

/** Deletes the records of a group, or those of them that are named. */
export async function eraseGroup(
  storage: Storage,
  group: string,
  isNamed: (key: string) => boolean = () => true,
): Promise<void> {
  let after: string | undefined;
  do {
    const page = await storage.list(group, after === undefined ? {} : { after });
    const keys = page.entries.map((entry) => entry.key).filter(isNamed);
    await Promise.all(keys.map((key) => storage.delete(key)));
    after = page.next;
  } while (after !== undefined);
}

/** Deletes a grant, and then what stands on it and is dead without it. */
export async function eraseGrant(storage: Storage, grantId: string): Promise<void> {
  await storage.delete(`${GRANT}${grantId}`);
  await eraseGroup(storage, grantGroup(grantId));
}

/** Deletes an account's records, or those of them that are named, and what stands on its grants. */
export async function eraseOfAccount(
  storage: Storage,
  accountId: string,
  isNamed: (key: string) => boolean = () => true,
): Promise<void> {
  const grantIds: string[] = [];
  for await (const { key } of entriesOf(storage, accountGroup(accountId))) {
    if (key.startsWith(GRANT) && isNamed(key)) grantIds.push(key.slice(GRANT.length));
  }
  // All the grants first: whatever stands on them is dead from then on.
  await eraseGroup(storage, accountGroup(accountId), isNamed);
  for (const grantId of grantIds) await eraseGroup(storage, grantGroup(grantId));
}
