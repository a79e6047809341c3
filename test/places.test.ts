/** Places for a limited number of things, asked for by several who have each read at another moment what is there. */
import { expect } from 'chai';
import { openStorage } from '../src/storage/open.ts';
import { createPlaces } from '../src/storage/places.ts';
import type { Storage } from '../src/storage/storage.ts';
import { onBothEngines, type Store } from './support/people.ts';

onBothEngines((openStore) => {
  describe('places', () => {
    let store: Store;
    let storage: Storage;
    let clock = 1_800_000_000;

    before(async () => {
      store = await openStore();
      storage = await openStorage(store.url, { now: () => clock });
    });
    after(async () => {
      await storage.close();
      await store.stop();
    });

    it('are not taken twice by somebody who read before others had arrived', async () => {
      const takePlace = createPlaces({ storage, now: () => clock });
      const take = (id: string, there: string[]) =>
        takePlace({ name: 'stale', id, most: 2, there: { count: there.length, ids: new Set(there) } });
      expect(await take('first', [])).not.to.equal(undefined);
      expect(await take('second', ['first'])).not.to.equal(undefined);
      expect(await take('third', [])).to.equal(undefined);
      clock += 61;
      expect(await take('third', ['first'])).not.to.equal(undefined);
    });
  });
});
