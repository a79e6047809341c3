import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { networkOf, type Rule } from '../src/throttle.ts';
import {
  countOf,
  failureOf,
  onBothEngines,
  openEmbeddedStore,
  openPeople,
  outcomeOf,
  type People,
  type Store,
  startPeopleProcess,
} from './support/people.ts';
import { startRedis } from './support/redis.ts';

const RULE: Rule = { name: 'test', limit: 3, window: 60 };

describe('the throttle', () => {
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

    const use = (key: string, rule = RULE) => people.throttle.consume(rule, { key });

    it('lets through as many as the limit, then says how many seconds to wait', async () => {
      for (let i = 0; i < 3; i++) await use('a');
      people.clock.time += 20;
      const failure = await failureOf(use('a'));
      expect(failure.status).to.equal(429);
      expect(failure.retryAfter).to.equal(40);
    });

    it('starts anew when the window has passed, to the second, however often it was tried meanwhile', async () => {
      await use('b');
      people.clock.time += 30;
      await use('b');
      await use('b');
      people.clock.time += 29;
      for (let i = 0; i < 10; i++) expect(await outcomeOf(use('b'))).to.equal('too_many_requests');
      people.clock.time += 1;
      for (let i = 0; i < 3; i++) await use('b');
      expect(await outcomeOf(use('b'))).to.equal('too_many_requests');
    });

    it('judges nothing beyond the limit, however many ask at once, and makes the right ones wait only', async () => {
      let judged = 0;
      const judge = (isRight: boolean, key: string) =>
        people.throttle.judge(RULE, { key }, () => {
          judged += 1;
          return isRight;
        });
      const right = await Promise.all(Array.from({ length: 40 }, () => judge(true, 'right')));
      expect(right).to.deep.equal(Array(40).fill(true));
      judged = 0;
      const wrong = await Promise.all(Array.from({ length: 40 }, () => outcomeOf(judge(false, 'wrong'))));
      expect(judged).to.equal(3);
      expect(wrong.filter((outcome) => outcome === 'too_many_requests')).to.have.length(37);
      expect(await outcomeOf(judge(true, 'wrong')), 'right, but too late').to.equal('too_many_requests');
      people.clock.time += 60;
      expect(await judge(true, 'wrong')).to.equal(true);
    });

    it('keeps what one right proof has used for all that follow it in its window', async () => {
      const judge = (isRight: boolean) => people.throttle.judge(RULE, { key: 'kept' }, () => isRight);
      for (let n = 0; n < 20; n++) expect(await judge(true)).to.equal(true);
      await use('kept');
      await use('kept');
      expect(await judge(true), 'used up by itself alone').to.equal(true);
      expect(await judge(false)).to.equal(false);
      expect(await outcomeOf(judge(true)), 'the wrong one has it').to.equal('too_many_requests');
      people.clock.time += 60;
      expect(await judge(true)).to.equal(true);
      people.clock.time += 60;
      for (let n = 0; n < 3; n++) await use('kept');
      expect(await outcomeOf(judge(true)), 'of a window that has ended').to.equal('too_many_requests');
    });

    it('judges no more when two processes do at once', async () => {
      const other = await startPeopleProcess(store.url, people.clock);
      const rule: Rule = { name: 'judged', limit: 10, window: 60 };
      let judged = 0;
      const judge = () =>
        people.throttle.judge(rule, { key: 'k' }, () => {
          judged += 1;
          return false;
        });
      const inputs = Array.from({ length: 40 }, () => ({ key: 'k' }));
      const [there] = await Promise.all([
        other.perform({ order: 'judgeWrong', rule, inputs }),
        Promise.all(inputs.map(() => outcomeOf(judge()))),
      ]);
      await other.stop();
      expect(judged + countOf(there, 'ok')).to.equal(10);
    });

    it('counts each key, source and rule by itself', async () => {
      const once: Rule = { name: 'once', limit: 1, window: 60 };
      await people.throttle.consume(once, { key: 'c', source: '192.0.2.1' });
      await people.throttle.consume(once, { key: 'c', source: '192.0.2.2' });
      await people.throttle.consume(once, { key: 'd', source: '192.0.2.1' });
      await people.throttle.consume(once, { source: '192.0.2.1' });
      await people.throttle.consume(once, { key: 'c' });
      await people.throttle.consume({ ...once, name: 'another' }, { key: 'c' });
      expect(await outcomeOf(use('c', once))).to.equal('too_many_requests');
    });

    it('lets no more through when two processes use it at once', async () => {
      const other = await startPeopleProcess(store.url, people.clock);
      const rule: Rule = { name: 'race', limit: 10, window: 60 };
      const inputs = Array.from({ length: 40 }, () => ({ key: 'e' }));
      const outcomes = await Promise.all([
        other.perform({ order: 'consume', rule, inputs }),
        Promise.all(inputs.map((input) => outcomeOf(people.throttle.consume(rule, input)))),
      ]);
      await other.stop();
      expect(countOf(outcomes.flat(), 'ok')).to.equal(10);
      expect(countOf(outcomes.flat(), 'too_many_requests')).to.equal(70);
    });

    it('gives back what is refunded, and nothing to a later window', async () => {
      const first = await use('f');
      await use('f');
      await use('f');
      await first.refund();
      await use('f');
      expect(await outcomeOf(use('f'))).to.equal('too_many_requests');
      people.clock.time += 60;
      for (let i = 0; i < 3; i++) await use('f');
      await first.refund();
      expect(await outcomeOf(use('f'))).to.equal('too_many_requests');
    });

    it('counts the networks of one IPv6 site together as well, with four times the limit', async () => {
      const from = (n: number) =>
        people.throttle.consume(RULE, { source: `2001:db8:7:${n.toString(16)}::1`, key: 'h' });
      for (let n = 0; n < 12; n++) await from(n);
      expect(await outcomeOf(from(12))).to.equal('too_many_requests');
      expect(await outcomeOf(people.throttle.check(RULE, { source: '2001:db8:7:99::', key: 'h' }))).to.equal(
        'too_many_requests',
      );
      expect(await outcomeOf(people.throttle.consume(RULE, { source: '2001:db8:8::1', key: 'h' }))).to.equal('ok');
    });

    it('is checked without being used up', async () => {
      for (let i = 0; i < 5; i++) await people.throttle.check(RULE, { key: 'i' });
      for (let i = 0; i < 3; i++) await use('i');
      const failure = await failureOf(people.throttle.check(RULE, { key: 'i' }));
      expect(failure.status).to.equal(429);
      expect(failure.retryAfter).to.equal(60);
    });

    it('takes back what somebody else has used, and never more than was used', async () => {
      for (let i = 0; i < 3; i++) await use('j');
      await people.throttle.giveBack(RULE, { key: 'j' });
      await use('j');
      expect(await outcomeOf(use('j'))).to.equal('too_many_requests');
      for (let i = 0; i < 9; i++) await people.throttle.giveBack(RULE, { key: 'j' });
      for (let i = 0; i < 3; i++) await use('j');
      expect(await outcomeOf(use('j'))).to.equal('too_many_requests');
    });

    it('forgets what is cleared', async () => {
      for (let i = 0; i < 3; i++) await use('g');
      await people.throttle.clear(RULE, { key: 'g' });
      expect(await outcomeOf(use('g'))).to.equal('ok');
    });
  });

  it('counts a whole IPv6 network as one source, and IPv4 the same over either kind of socket', () => {
    expect(networkOf('2001:db8:1:2:3:4:5:6')).to.equal(networkOf('2001:DB8:1:2::1'));
    expect(networkOf('2001:db8:1:2::')).to.equal(networkOf('2001:db8:1:2:ffff:ffff:ffff:ffff'));
    expect(networkOf('2001:db8:1:3::1')).not.to.equal(networkOf('2001:db8:1:2::1'));
    expect(networkOf('2001:db8::1')).to.equal('2001:db8:0:0::/64');
    expect(networkOf('fe80::1%eth0')).to.equal(networkOf('fe80::2'));
    expect(networkOf('::1')).to.equal(networkOf('::2'));
    expect(networkOf('::ffff:192.0.2.1')).to.equal('192.0.2.1');
    expect(networkOf('::ffff:c000:201')).to.equal('192.0.2.1');
    expect(networkOf('192.0.2.1')).not.to.equal(networkOf('192.0.2.2'));
  });

  it('stores neither addresses nor keys in clear', async () => {
    const store = await openEmbeddedStore();
    const people = await openPeople(store.url);
    await people.throttle.consume(RULE, { source: '198.51.100.77', key: 'someone@example.com' });
    await people.close();
    const bytes = readdirSync(store.directory).map((file) => readFileSync(join(store.directory, file), 'latin1'));
    await store.stop();
    expect(bytes.join())
      .to.contain('throttle:test:')
      .and.not.to.match(/198\.51\.100\.77|someone@example/);
  });

  it('lets nothing through when the store is out of reach', async () => {
    const redis = await startRedis();
    const { throttle, close } = await openPeople(redis.url);
    await throttle.consume(RULE, { key: 'a' });
    await redis.kill();
    const started = performance.now();
    expect((await failureOf(throttle.consume(RULE, { key: 'a' }))).status).to.equal(503);
    expect(performance.now() - started).to.be.below(2000);
    await close();
    await redis.stop();
  });
});
