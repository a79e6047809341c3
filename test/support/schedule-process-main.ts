/** Another process with recurring work on the same store: does what `schedule-process.ts` orders. */
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { createSchedule } from '../../src/schedule.ts';
import { openStorage } from '../../src/storage/open.ts';
import type { Order, Report } from './schedule-process.ts';

const [, , order = ''] = process.argv;
const { storeUrl, rhythm, lease, takes }: Order = JSON.parse(order);
const now = () => Math.floor(Date.now() / 1000);
const storage = await openStorage(storeUrl, { now });
const schedule = createSchedule({ storage, now, log: pino({ level: 'silent' }), lease });

function report(what: Report['report']): void {
  process.send?.({ report: what, at: Date.now() } satisfies Report);
}

schedule.every('job', { seconds: rhythm }, async (signal) => {
  const alone = await storage.insert('somebody is at work', process.pid, { ttl: Math.ceil(takes) });
  report(alone ? 'begun' : 'overlapped');
  const finished = await sleep(takes * 1000, true, { signal }).catch(() => false);
  report(finished ? 'ended' : 'aborted');
  if (alone) await storage.delete('somebody is at work');
});
schedule.start();

process.on('message', async () => {
  await schedule.stop();
  await storage.close();
  process.exit();
});
process.on('disconnect', () => process.exit());
