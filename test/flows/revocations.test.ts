import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import { embeddedStore, SECRET_KEY } from '../support/app.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';

describe('counting what was taken away', () => {
  let redis: RedisServer;
  const opened: Core[] = [];

  const open = async (storeUrl: string) => {
    const directory = await openCore(readConfig({ STORE_URL: storeUrl, SECRET_KEY }));
    opened.push(directory);
    return directory;
  };

  before(async () => {
    redis = await startRedis();
  });
  afterEach(() => Promise.all(opened.splice(0).map(({ storage }) => storage.close())));
  after(() => redis.stop());

  const engines: Record<string, () => Promise<{ storeUrl: string; remove(): Promise<void> }>> = {
    'the embedded store': embeddedStore,
    Redis: async () => ({ storeUrl: redis.url, remove: async () => undefined }),
  };
  for (const [engine, openStore] of Object.entries(engines)) {
    it(`turns none of 4 × 1,000 revocations at once into an error, on ${engine}`, async function many() {
      this.timeout(60_000);
      const store = await openStore();
      const directories = await Promise.all([1, 2, 3, 4].map(() => open(store.storeUrl)));
      const [first] = directories as [Core];
      const keys = Array.from({ length: 4_000 }, (_, n) => `AccessToken:${n}`);
      for (let from = 0; from < keys.length; from += 500)
        await Promise.all(keys.slice(from, from + 500).map((key) => first.storage.insert(key, 1)));
      const before = await first.revocations.count();
      const outcomes = await Promise.all(
        keys.map((key, n) => (directories[n % 4] ?? first).storage.delete(key).catch((error: Error) => error)),
      );
      expect(outcomes.filter((outcome) => outcome !== true)).to.deep.equal([]);
      expect(await first.revocations.count()).to.be.greaterThan(before);
      await Promise.all(opened.splice(0).map(({ storage }) => storage.close()));
      await store.remove();
    });
  }

  it('is done later when the store does not let us now, and the revocation is no error for that', async () => {
    const { storage, revocations } = await open(redis.url);
    await storage.put('AccessToken:a', 1);
    const before = await revocations.count();
    await redis.command('config', 'set', 'maxmemory', '1');
    expect(await storage.delete('AccessToken:a'), 'deleting needs no memory').to.equal(true);
    expect(await revocations.count(), 'counting does').to.equal(before);
    await redis.command('config', 'set', 'maxmemory', '0');
    const started = performance.now();
    while ((await revocations.count()) === before) {
      expect(performance.now() - started, 'milliseconds until it is counted').to.be.below(2_000);
      await sleep(50);
    }
  });
});
