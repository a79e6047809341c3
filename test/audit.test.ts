import { expect } from 'chai';
import { counterKey } from '../src/throttle.ts';
import { onBothEngines, openPeople, type People, type Store } from './support/people.ts';

const DAY = 24 * 60 * 60;

describe('the audit trail', () => {
  onBothEngines((openStore) => {
    let store: Store;
    let people: People;
    before(async () => {
      store = await openStore();
      people = await openPeople(store.url);
    });
    after(async () => {
      await people.close();
      await store.stop();
    });

    const detailsOf = (page: { events: Array<{ detail?: Record<string, string> | undefined }> }) =>
      page.events.map(({ detail }) => Number(detail?.n));

    it('lists the newest first, page by page, also within one second', async () => {
      for (let n = 0; n < 12; n++) {
        await people.audit.record({ type: 'sign_in', accountId: 'paged', detail: { n: String(n) } });
        if (n % 4 === 3) people.clock.time += 1;
      }
      const first = await people.audit.list({ accountId: 'paged', limit: 7 });
      expect(detailsOf(first)).to.deep.equal([11, 10, 9, 8, 7, 6, 5]);
      const second = await people.audit.list({ accountId: 'paged', limit: 7, after: first.next });
      expect(detailsOf(second)).to.deep.equal([4, 3, 2, 1, 0]);
    });

    it('keeps every one of many simultaneous events', async () => {
      const numbers = Array.from({ length: 150 }, (_, n) => n);
      await Promise.all(
        numbers.map((n) => people.audit.record({ type: 'sign_out', clientId: 'busy', detail: { n: String(n) } })),
      );
      const { events } = await people.audit.list({ clientId: 'busy', limit: 1000 });
      expect(new Set(events.map(({ detail }) => detail?.n)).size).to.equal(150);
    });

    it('keeps 100 refusals a day of one source for a month, those of real people beside those of made-up ones', async () => {
      const address = '192.0.2.66';
      const refuse = (n: number, accountId?: string) =>
        people.audit.record({ type: 'sign_in_refused', address, accountId, detail: { n: String(n) } });
      const refusals = async (accountId?: string) => {
        const { events } = await people.audit.list({ accountId, limit: 1_000 });
        return events.filter((event) => event.address === address);
      };
      await Promise.all(Array.from({ length: 300 }, (_, n) => refuse(n)));
      expect(await refusals()).to.have.lengthOf(100);
      await refuse(1, 'guessed-at');
      await people.audit.record({ type: 'sign_in', address, accountId: 'guessed-at' });
      expect(await refusals('guessed-at')).to.have.lengthOf(2);
      people.clock.time += DAY;
      await refuse(1_000);
      expect(await refusals()).to.have.lengthOf(103);
      people.clock.time += 30 * DAY;
      expect((await refusals()).map(({ type }) => type)).to.deep.equal(['sign_in']);
    });

    it('keeps 10,000 refusals a day of all sources together', async () => {
      const { throttle } = people;
      const rule = { name: 'audit-total', limit: 625, window: DAY };
      for (let counter = 0; counter < 16; counter++)
        for (let n = 0; n < 625; n += 125)
          await Promise.all(Array.from({ length: 125 }, () => throttle.consume(rule, { key: `nobody ${counter}` })));
      await people.audit.record({ type: 'client_refused', address: '192.0.2.67', detail: { one: 'too many' } });
      await people.audit.record({ type: 'sign_in_refused', address: '192.0.2.67', accountId: 'still' });
      const { events } = await people.audit.list({ limit: 5 });
      expect(events.filter(({ address }) => address === '192.0.2.67').map(({ accountId }) => accountId)).to.deep.equal([
        'still',
      ]);
    }).timeout(60_000);

    it('keeps 20,000 events a day of one type that one person or app makes, and all of whoever acts for others', async () => {
      const rule = { name: 'audit-by-one', limit: 20_000, window: DAY };
      const key = counterKey(rule, JSON.stringify(['token_revoked', 'restless', 'app']));
      await people.storage.put(key, { used: 19_900, until: people.clock.time + DAY, judging: 0 }, { ttl: DAY });
      const record = (more: { clientId: string; actorId?: string; type?: 'sign_out' }) =>
        people.audit.record({ type: 'token_revoked', accountId: 'restless', address: '192.0.2.67', ...more });
      for (let n = 0; n < 250; n++) await record({ clientId: 'app' });
      // A process counts up to 99 by itself.
      const kept = async (accountId: string) => (await people.audit.list({ accountId, limit: 1_000 })).events.length;
      expect(await kept('restless')).to.equal(199);
      await record({ clientId: 'another app' });
      await record({ clientId: 'app', type: 'sign_out' });
      await record({ clientId: 'app', actorId: 'an administrator' });
      expect(await kept('restless')).to.equal(202);
      people.clock.time += DAY;
      await record({ clientId: 'app' });
      expect(await kept('restless')).to.equal(203);
    });

    it('says who, what, by which app, from where and when', async () => {
      const source = { address: '192.0.2.9', userAgent: 'Browser/1.0' };
      await people.audit.record({ type: 'consent_granted', accountId: 'who', clientId: 'app', ...source });
      const { events } = await people.audit.list({ accountId: 'who' });
      expect(events).to.have.lengthOf(1);
      expect(events[0]).to.include({ type: 'consent_granted', accountId: 'who', clientId: 'app', ...source });
      expect(events[0]?.at).to.equal(people.clock.time);
    });

    it('finds an event by its account, by whoever acted, by its app, by account and app, and among all', async () => {
      await people.audit.record({ type: 'account_disabled', accountId: 'subject', actorId: 'boss', clientId: 'shop' });
      await people.audit.record({ type: 'sign_in', accountId: 'subject', clientId: 'other' });
      const typesIn = async (filter: { accountId?: string; clientId?: string; limit?: number }) =>
        (await people.audit.list(filter)).events.map(({ type }) => type);
      expect(await typesIn({ accountId: 'subject' })).to.deep.equal(['sign_in', 'account_disabled']);
      expect(await typesIn({ accountId: 'boss' })).to.deep.equal(['account_disabled']);
      expect(await typesIn({ clientId: 'shop' })).to.deep.equal(['account_disabled']);
      expect(await typesIn({ accountId: 'subject', clientId: 'shop' })).to.deep.equal(['account_disabled']);
      expect(await typesIn({ limit: 2 })).to.deep.equal(['sign_in', 'account_disabled']);
      expect(await typesIn({ accountId: 'subject', clientId: 'unknown' })).to.deep.equal([]);
    });

    it('keeps texts short and on one line', async () => {
      const nasty = `a\r\nb\u0000c\u001b[31m\u202ed\u2028e${'x'.repeat(100_000)}\ud83d`;
      await people.audit.record({ type: 'sign_in', accountId: 'nasty', userAgent: nasty, detail: { [nasty]: nasty } });
      const [event] = (await people.audit.list({ accountId: 'nasty' })).events;
      expect(event?.userAgent).to.match(/^a {2}b c \[31m d ex+$/);
      expect(event?.userAgent).to.have.lengthOf(256);
      expect(JSON.stringify(event).length).to.be.below(1000);
    });

    it('keeps events for 400 days', async () => {
      await people.audit.record({ type: 'sign_in', accountId: 'old' });
      people.clock.time += 400 * DAY - 1;
      expect((await people.audit.list({ accountId: 'old' })).events).to.have.lengthOf(1);
      people.clock.time += 1;
      expect((await people.audit.list({ accountId: 'old' })).events).to.have.lengthOf(0);
    });
  });
});
