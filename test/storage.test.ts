import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { storageContract } from './storage.contract.ts';
import { startRedis, startRedisCluster } from './support/redis.ts';

storageContract('embedded', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-store-'));
  return {
    storeUrl: `file:${directory}`,
    async stop() {
      rmSync(directory, { recursive: true });
    },
  };
});

storageContract('Redis', async () => {
  const server = await startRedis();
  return { storeUrl: server.url, stop: () => server.stop() };
});

storageContract('Redis Cluster', async () => {
  const cluster = await startRedisCluster();
  return { storeUrl: cluster.url, stop: () => cluster.stop() };
});
