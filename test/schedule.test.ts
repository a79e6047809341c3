import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { pino } from 'pino';
import { createSchedule, type Job } from '../src/schedule.ts';
import { openStorage } from '../src/storage/open.ts';
import { onBothEngines, openEmbeddedStore, type Store } from './support/people.ts';
import { startRedis } from './support/redis.ts';
import { type Order, type ScheduleProcess, startScheduleProcess } from './support/schedule-process.ts';

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 450) throw new Error(`it never came true: ${condition}`);
    await sleep(20);
  }
}

describe('recurring work', function () {
  this.timeout(20_000);

  const processes: ScheduleProcess[] = [];
  const cleanUps: Array<() => Promise<void>> = [];
  let store: Store;

  function anotherProcess(order: Omit<Order, 'storeUrl'>): ScheduleProcess {
    const made = startScheduleProcess({ storeUrl: store.url, ...order });
    processes.push(made);
    return made;
  }
  /** Which of the two has begun first, and the other one. */
  async function begun(one: ScheduleProcess, other: ScheduleProcess): Promise<[ScheduleProcess, ScheduleProcess]> {
    await until(() => one.times('begun') + other.times('begun') > 0);
    return one.times('begun') > 0 ? [one, other] : [other, one];
  }
  /** In this process, with a clock that can be moved. */
  async function openSchedule(run: Job, { lease = 3, seconds = 1 } = {}) {
    const clock = { ahead: 0 };
    const now = () => Math.floor(Date.now() / 1000) + clock.ahead;
    const storage = await openStorage(store.url, { now });
    const logged: Array<Record<string, unknown>> = [];
    const log = pino({}, { write: (line) => void logged.push(JSON.parse(line)) });
    const schedule = createSchedule({ storage, now, log, lease });
    schedule.every('job', { seconds }, run);
    schedule.start();
    cleanUps.push(async () => {
      await schedule.stop();
      await storage.close();
    });
    return { clock, logged, storage, ...schedule };
  }

  afterEach(async () => {
    await Promise.all(processes.splice(0).map((one) => one.kill()));
    for (const cleanUp of cleanUps.splice(0)) await cleanUp();
    await store.stop();
  });

  onBothEngines((openStore) => {
    beforeEach(async () => {
      store = await openStore();
    });

    it('is done in one of two processes at a time, at its rhythm, and by whichever is there', async () => {
      const both = [1, 2].map(() => anotherProcess({ rhythm: 1, lease: 3, takes: 0.3 })) as [
        ScheduleProcess,
        ScheduleProcess,
      ];
      const [first, second] = await begun(...both);
      const times = () => first.times('begun') + second.times('begun');
      const startedAt = Date.now();
      await sleep(2_500);
      const elapsed = (Date.now() - startedAt) / 1000;
      expect(times()).to.be.within(2, 2 + Math.ceil(elapsed));
      await first.stop();
      const before = second.times('begun');
      await until(() => second.times('begun') > before + 1);
      for (const { reports } of both) expect(reports.map(({ report }) => report)).to.not.include('overlapped');
    });

    it('is taken over when its process is killed in the middle, but not before its lease is over', async () => {
      const both = [1, 2].map(() => anotherProcess({ rhythm: 1, lease: 2, takes: 30 })) as [
        ScheduleProcess,
        ScheduleProcess,
      ];
      const [holder, heir] = await begun(...both);
      await sleep(2_700);
      expect(heir.reports, 'while its holder lives').to.deep.equal([]);
      await holder.kill();
      const killedAt = Date.now();
      await until(() => heir.reports.length > 0);
      // The dead one never said that it had ended.
      expect(heir.reports[0]?.report).to.equal('overlapped');
      expect((heir.reports[0]?.at ?? 0) - killedAt).to.be.within(300, 4_000);
    });
  });

  describe('when things go wrong', () => {
    beforeEach(async () => {
      store = await openEmbeddedStore();
    });

    it('never overlaps itself, however long it takes', async () => {
      let [running, most, times] = [0, 0, 0];
      await openSchedule(async () => {
        running += 1;
        most = Math.max(most, running);
        times += 1;
        await sleep(1_700);
        running -= 1;
      });
      await until(() => times === 3);
      expect(most).to.equal(1);
    });

    it('is tried again at the next round after it failed, and the log says why', async () => {
      let times = 0;
      const { logged } = await openSchedule(async () => {
        times += 1;
        throw new Error(`failure ${times}`);
      });
      await until(() => times === 2);
      const [line = {}] = logged;
      expect(line).to.include({ level: 50, job: 'job' });
      expect((line.err as Error).message).to.equal('failure 1');
    });

    it('is told to end when the process stops, and waited for', async () => {
      let [begun, ended] = [false, false];
      const { stop, storage } = await openSchedule(async (signal) => {
        begun = true;
        await once(signal, 'abort');
        await sleep(300);
        await storage.put('written at the end', true);
        ended = true;
      });
      await until(() => begun);
      await stop();
      expect(ended).to.equal(true);
    });

    it('does not begin once the process stops, and is at once due elsewhere', async () => {
      let begun = 0;
      const run = async () => void begun++;
      const { stop } = await openSchedule(run, { seconds: 60 });
      // Its claim is on its way to the store.
      await stop();
      expect(begun).to.equal(0);
      await openSchedule(run, { seconds: 60 });
      await until(() => begun === 1);
    });

    it('goes to another process at once when its own is stopped', async () => {
      const both = [1, 2].map(() => anotherProcess({ rhythm: 1, lease: 10, takes: 30 })) as [
        ScheduleProcess,
        ScheduleProcess,
      ];
      const [holder, heir] = await begun(...both);
      await holder.stop();
      expect(holder.reports.map(({ report }) => report)).to.deep.equal(['begun', 'aborted']);
      const third = anotherProcess({ rhythm: 1, lease: 10, takes: 30 });
      const stoppedAt = Date.now();
      await until(() => third.times('begun') + heir.times('begun') === 1);
      expect(Date.now() - stoppedAt).to.be.below(5_000);
    });

    it('is told to end when its process stood still and another has taken over', async () => {
      const both = [1, 2].map(() => anotherProcess({ rhythm: 1, lease: 2, takes: 30 })) as [
        ScheduleProcess,
        ScheduleProcess,
      ];
      const [holder, heir] = await begun(...both);
      holder.signal('SIGSTOP');
      await until(() => heir.reports.length > 0);
      holder.signal('SIGCONT');
      await until(() => holder.times('aborted') === 1);
      expect(heir.times('aborted')).to.equal(0);
    });

    it('goes on when a clock was a day ahead and is put back', async () => {
      let times = 0;
      const { clock } = await openSchedule(async () => {
        times += 1;
      });
      clock.ahead = 24 * 60 * 60;
      await until(() => times === 2);
      clock.ahead = 0;
      await until(() => times === 4);
    });

    it('is told to end when the store is away for longer than its lease, and begins again when it is back', async () => {
      await store.stop();
      const redis = await startRedis();
      store = redis;
      let [begins, aborts] = [0, 0];
      await openSchedule(
        async (signal) => {
          begins += 1;
          await sleep(30_000, undefined, { signal }).catch(() => (aborts += 1));
        },
        { lease: 2 },
      );
      await until(() => begins === 1);
      await redis.kill();
      await until(() => aborts === 1);
      await redis.start();
      await until(() => begins === 2);
    });
  });
});
