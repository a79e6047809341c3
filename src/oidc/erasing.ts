/** Deleting many of the engine's records at once, and walking them. Every function is safe to repeat. */
import { every } from '../storage/every.ts';
import type { Entry, Storage } from '../storage/storage.ts';
import { accountGroup, grantGroup } from './records.ts';

const GRANT = 'Grant:';
/** Deletions under way at a time. */
const AT_ONCE = 100;

/** The records of a group, read page by page. */
export function entriesOf(storage: Storage, group: string): AsyncGenerator<Entry> {
  return every(async (page) => {
    const { entries: records, ...next } = await storage.list(group, page);
    return { records, ...next };
  });
}

/** Deletes the records of a group, or those of them that are named. */
export async function eraseGroup(
  storage: Storage,
  group: string,
  isNamed: (key: string) => boolean = () => true,
): Promise<void> {
  const doomed: string[] = [];
  // Together, as one commit takes them, but not all that there may be.
  const erase = () => Promise.all(doomed.splice(0).map((key) => storage.delete(key)));
  for await (const { key } of entriesOf(storage, group)) {
    if (isNamed(key)) doomed.push(key);
    if (doomed.length >= AT_ONCE) await erase();
  }
  await erase();
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
