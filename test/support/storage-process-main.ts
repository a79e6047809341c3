/** Another process on the same store: does what `storage-process.ts` orders. */
import { openStorage } from '../../src/storage/open.ts';
import type { Json, Storage } from '../../src/storage/storage.ts';
import type { Call, Order, Report } from './storage-process.ts';

const IN_FLIGHT = 16;

const [, , storeUrl = ''] = process.argv;
const storage = await openStorage(storeUrl, { now: () => Math.floor(Date.now() / 1000) });
await storage.ping();

process.on('message', async (message: Order) => {
  if (message.order === 'write') return writeOn(message.prefix);
  const results = await Promise.all(message.calls.map((call) => perform(storage, call)));
  report({ report: 'done', results: results.map((result) => result ?? null) });
});
process.on('disconnect', () => process.exit());
report({ report: 'ready' });

async function perform(storage: Storage, call: Call): Promise<Json | undefined> {
  switch (call.verb) {
    case 'insert':
      return storage.insert(call.key, call.value, call.options);
    case 'put':
      await storage.put(call.key, call.value, call.options);
      return null;
    case 'increment':
      return storage.update(call.key, (count) => Number(count ?? 0) + 1);
    case 'useOnce':
      return storage.update(call.key, markAsUsed);
    default:
      return storage[call.verb](call.key);
  }
}

function markAsUsed(current: Json | undefined): Json | undefined {
  const record = current as { used?: boolean } | undefined;
  return record === undefined || record.used ? undefined : { ...record, used: true };
}

async function writeOn(prefix: string): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (;;) {
      const n = next++;
      await storage.put(`${prefix}${n}`, { n });
      report({ report: 'written', n });
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
}

function report(message: Report): void {
  process.send?.(message);
}
