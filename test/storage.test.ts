import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { openStorage } from '../src/storage/open.ts';
import { caughtFrom, storageContract } from './storage.contract.ts';
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

describe('storage: STORE_URL', () => {
  it('is named in the refusal of a store that does not exist, without being repeated', async () => {
    const urls = [
      '',
      'data',
      'file:',
      'http://secret@host',
      'redis:secret',
      'redis+sentinel://secret@host',
      'redis+cluster://',
    ];
    for (const url of [...urls, 'redis+cluster://secret@:7000', 'redis+sentinel:///secret']) {
      const { message } = (await caughtFrom(openStorage(url, { now: () => 0 }))) as Error;
      expect(message, url)
        .to.match(/^STORE_URL .+$/)
        .and.not.to.contain('secret');
    }
  });
});
