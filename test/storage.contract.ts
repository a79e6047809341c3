/** What every storage engine must pass, races between real processes included. */
import { expect } from 'chai';
import { AppError } from '../src/errors.ts';
import { openStorage } from '../src/storage/open.ts';
import type { Entry, Json, ListOptions, Storage } from '../src/storage/storage.ts';
import { type Call, type StorageProcess, startStorageProcess } from './support/storage-process.ts';

/** A place to store things in, empty when it starts. */
export interface Engine {
  readonly storeUrl: string;
  stop(): Promise<void>;
}

/** Names that have broken some store: for keys and for groups. */
const ODD_NAMES = [
  '',
  ' ',
  '\0',
  'a\0',
  'a\0b',
  '\0\0',
  '\x01',
  'new\nline',
  '__proto__',
  'constructor',
  'a:b::c',
  '{',
  '}',
  '{}',
  '{a}b',
  'a}b{c',
  '*',
  '[a',
  '(a',
  '%00',
  '"quoted"',
  "it's",
  '𝄞 emoji 👩‍🚀',
  '\uFFFD',
  '\u00e9',
  'e\u0301',
  'Ω'.repeat(1500),
];

const VALUES: readonly Json[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e21,
  5e-324,
  Number.MAX_SAFE_INTEGER,
  -Number.MAX_SAFE_INTEGER,
  '',
  ' ',
  'a\0b',
  '\ud800',
  'line\nbreak\r\n\u2028',
  '👩‍🚀',
  [],
  {},
  [[]],
  [{}],
  { a: [] },
  { a: {} },
  [[], {}, [[]]],
  { '': '' },
  { 'a.b': { c: [null, [null]] } },
  { empty: [], none: null, nested: { deep: [{ deeper: [[], [{}]] }] } },
];

export function storageContract(name: string, startEngine: () => Promise<Engine>): void {
  describe(`storage: ${name}`, () => {
    let engine: Engine;
    let storage: Storage;
    let ahead = 0;
    /** The injected clock: the real time, and what a test put it ahead. */
    const now = () => Math.floor(Date.now() / 1000) + ahead;
    const passes = (seconds: number) => {
      ahead += seconds;
    };

    before(async function start() {
      this.timeout(20_000);
      engine = await startEngine();
      storage = await openStorage(engine.storeUrl, { now });
    });
    after(async () => {
      await storage?.close();
      await engine?.stop();
    });
    beforeEach(() => {
      ahead = 0;
    });

    async function walk(group: string, options: ListOptions = {}): Promise<Entry[]> {
      const entries: Entry[] = [];
      let after: string | undefined;
      do {
        const page = await storage.list(group, { ...options, ...(after !== undefined && { after }) });
        entries.push(...page.entries);
        after = page.next;
      } while (after !== undefined);
      return entries;
    }
    const keysOf = async (group: string, options?: ListOptions) => (await walk(group, options)).map(({ key }) => key);

    describe('insert', () => {
      it('stores a new record and leaves a taken key as it is', async () => {
        const key = unique();
        expect(await storage.insert(key, 'first')).to.equal(true);
        expect(await storage.insert(key, 'second', { groups: [key] })).to.equal(false);
        expect(await storage.get(key)).to.equal('first');
        expect(await walk(key)).to.deep.equal([]);
      });

      it('takes over the key of an expired record, and nothing else of it', async () => {
        const key = unique();
        await storage.insert(key, 'old', { ttl: 60, groups: [`${key} old`] });
        passes(60);
        expect(await storage.insert(key, 'new', { ttl: 600, groups: [`${key} new`] })).to.equal(true);
        passes(599);
        expect(await storage.get(key)).to.equal('new');
        expect(await keysOf(`${key} old`)).to.deep.equal([]);
        expect(await keysOf(`${key} new`)).to.deep.equal([key]);
      });

      it('gives a key to one of 20 parallel callers', async () => {
        const key = unique();
        const results = await inParallel(20, (n) => storage.insert(key, n, { ttl: 60, groups: [key] }));
        expect(results.filter(Boolean)).to.have.length(1);
        expect(await storage.get(key)).to.equal(results.indexOf(true));
        expect(await keysOf(key)).to.deep.equal([key]);
      });

      it('gives the key of an expired record to one of 20 parallel callers', async () => {
        const key = unique();
        await storage.insert(key, 'old', { ttl: 1 });
        passes(1);
        const results = await inParallel(20, (n) => storage.insert(key, n, { ttl: 60 }));
        expect(results.filter(Boolean)).to.have.length(1);
        expect(await storage.get(key)).to.equal(results.indexOf(true));
      });
    });

    describe('put', () => {
      it('replaces the value, the expiry and the groups', async () => {
        const key = unique();
        await storage.put(key, 1, { ttl: 60, groups: [`${key} a`, `${key} b`] });
        await storage.put(key, 2, { groups: [`${key} b`, `${key} c`] });
        passes(61);
        expect(await storage.get(key)).to.equal(2);
        expect(await walk(`${key} a`)).to.deep.equal([]);
        expect(await walk(`${key} b`)).to.deep.equal([{ key, value: 2 }]);
        expect(await walk(`${key} c`)).to.deep.equal([{ key, value: 2 }]);
        await storage.put(key, 3);
        expect(await walk(`${key} b`)).to.deep.equal([]);
      });

      it('stores what the value was when it was called', async () => {
        const [key, value] = [unique(), { changed: false }];
        const written = [storage.put(key, value), storage.insert(`${key} too`, value)];
        value.changed = true;
        await Promise.all(written);
        expect(await storage.get(key)).to.deep.equal({ changed: false });
        expect(await storage.get(`${key} too`)).to.deep.equal({ changed: false });
      });
    });

    describe('update', () => {
      it('creates an absent record under the given expiry and groups', async () => {
        const key = unique();
        const written = await storage.update(key, (current) => [current === undefined], { ttl: 60, groups: [key] });
        expect(written).to.deep.equal([true]);
        expect(await walk(key)).to.deep.equal([{ key, value: [true] }]);
        passes(60);
        expect(await storage.get(key)).to.equal(undefined);
      });

      it('leaves everything as it is when nothing is to change', async () => {
        const key = unique();
        expect(await storage.update(key, () => undefined, { groups: [key] })).to.equal(undefined);
        await storage.put(key, 1, { ttl: 60 });
        expect(await storage.update(key, () => undefined, { groups: [key] })).to.equal(undefined);
        expect(await storage.get(key)).to.equal(1);
        expect(await walk(key)).to.deep.equal([]);
        passes(60);
        expect(await storage.get(key)).to.equal(undefined);
      });

      it('keeps expiry and groups', async () => {
        const key = unique();
        await storage.put(key, 1, { ttl: 60, groups: [key] });
        passes(59);
        expect(await storage.update(key, (current) => [current ?? null])).to.deep.equal([1]);
        expect(await walk(key)).to.deep.equal([{ key, value: [1] }]);
        passes(1);
        expect(await storage.get(key)).to.equal(undefined);
        expect(await walk(key)).to.deep.equal([]);
      });

      it('replaces what options name and keeps the rest', async () => {
        const key = unique();
        await storage.put(key, 1, { ttl: 60, groups: [`${key} a`] });
        await storage.update(key, () => 2, { ttl: 600 });
        passes(60);
        expect(await walk(`${key} a`)).to.deep.equal([{ key, value: 2 }]);
        await storage.update(key, () => 3, { groups: [`${key} b`] });
        expect(await walk(`${key} a`)).to.deep.equal([]);
        expect(await walk(`${key} b`)).to.deep.equal([{ key, value: 3 }]);
        passes(540);
        expect(await walk(`${key} b`)).to.deep.equal([]);
      });

      it('does not revive an expired record', async () => {
        const key = unique();
        await storage.put(key, 'old', { ttl: 60, groups: [key] });
        passes(60);
        expect(await storage.update(key, (current) => current)).to.equal(undefined);
        expect(await storage.update(key, (current) => (current === undefined ? 'new' : 'old'))).to.equal('new');
        expect(await walk(key)).to.deep.equal([]);
        passes(1000);
        expect(await storage.get(key)).to.equal('new');
      });

      it('loses none of 200 parallel increments', async () => {
        const key = unique();
        await inParallel(200, () => storage.update(key, (count) => Number(count ?? 0) + 1));
        expect(await storage.get(key)).to.equal(200);
      });

      it('passes on what the change throws and leaves the record', async () => {
        const key = unique();
        await storage.put(key, 1);
        const change = () => {
          throw new AppError('conflict', 'no');
        };
        expect((await refusalOf(storage.update(key, change))).code).to.equal('conflict');
        expect(await storage.update(key, () => 2)).to.equal(2);
      });
    });

    describe('take and delete', () => {
      it('give up a record once', async () => {
        const key = unique();
        await storage.put(key, { a: [] }, { groups: [key] });
        expect(await storage.take(key)).to.deep.equal({ a: [] });
        expect(await storage.take(key)).to.equal(undefined);
        expect(await storage.get(key)).to.equal(undefined);
        expect(await walk(key)).to.deep.equal([]);
        await storage.put(key, 1, { groups: [key] });
        expect(await storage.delete(key)).to.equal(true);
        expect(await storage.delete(key)).to.equal(false);
        expect(await storage.get(key)).to.equal(undefined);
        expect(await walk(key)).to.deep.equal([]);
      });

      it('give one of 20 parallel callers the value', async () => {
        const key = unique();
        await storage.put(key, 'once');
        const taken = await inParallel(20, () => storage.take(key));
        expect(taken.filter((value) => value !== undefined)).to.deep.equal(['once']);
        await storage.put(key, 'once');
        expect((await inParallel(20, () => storage.delete(key))).filter(Boolean)).to.have.length(1);
      });

      it('find nothing in an expired record', async () => {
        const keys = [unique(), unique()] as const;
        for (const key of keys) await storage.put(key, 1, { ttl: 60 });
        passes(60);
        expect(await storage.take(keys[0])).to.equal(undefined);
        expect(await storage.delete(keys[1])).to.equal(false);
      });
    });

    describe('expiry', () => {
      it('is for good once it was seen of what works once, also where the clock was wrong that said so', async () => {
        const [code, name] = [unique(), unique()] as const;
        for (const key of [code, name]) await storage.insert(key, 1, { ttl: 60, once: key === code });
        ahead = 86_400;
        for (const key of [code, name]) expect(await storage.get(key, { once: key === code })).to.equal(undefined);
        ahead = 0;
        expect(await storage.get(code)).to.equal(undefined);
        expect(await storage.take(code)).to.equal(undefined);
        expect(await storage.get(name)).to.equal(1);
      });

      it('lets a record be there until its second comes', async () => {
        const key = unique();
        await storage.put(key, 1, { ttl: 60, groups: [key] });
        passes(59);
        expect(await storage.get(key)).to.equal(1);
        expect(await keysOf(key)).to.deep.equal([key]);
        passes(1);
        expect(await storage.get(key)).to.equal(undefined);
        expect(await keysOf(key)).to.deep.equal([]);
      });

      it('never comes without a lifetime, at once with none left, and only in whole seconds', async () => {
        const key = unique();
        await storage.put(key, 1);
        passes(1e9);
        expect(await storage.get(key)).to.equal(1);
        await storage.put(key, 1, { ttl: 0 });
        expect(await storage.get(key)).to.equal(undefined);
        await storage.put(key, 1, { ttl: -5 });
        expect(await storage.insert(key, 2, { ttl: 1e12 })).to.equal(true);
        expect(await storage.get(key)).to.equal(2);
        for (const ttl of [1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
          expect(await caughtFrom(storage.put(key, 3, { ttl }))).to.be.instanceOf(RangeError);
        }
        expect(await storage.get(key)).to.equal(2);
      });
    });

    describe('list', () => {
      it('answers in the byte order of the keys, both ways, whatever the size of the pages', async () => {
        const group = unique();
        const keys = [
          'a',
          'a\0',
          'a\0\0',
          'a\0\x01',
          'a\x01',
          'aa',
          'ab',
          'b',
          'ä',
          '\uff5e',
          '😀',
          '',
          '\0',
          'A',
          'a:',
          'a:1',
          'a:10',
          'a:2',
        ];
        const named = keys.map((key) => `${group}/${key}`);
        await Promise.all(named.map((key, n) => storage.put(key, n, { groups: [group] })));
        const expected = named.toSorted((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
        for (const limit of [1, 2, 3, 7, named.length, 1000]) {
          expect(await keysOf(group, { limit }), `pages of ${limit}`).to.deep.equal(expected);
          expect(await keysOf(group, { limit, descending: true })).to.deep.equal(expected.toReversed());
        }
      });

      it('answers 100 at a time unless told otherwise, and a next only when there may be more', async () => {
        const group = unique();
        await inParallel(101, (n) => storage.put(`${group}/${n}`, n, { groups: [group] }));
        const page = await storage.list(group);
        expect(page.entries).to.have.length(100);
        expect(page.next).to.equal(page.entries.at(-1)?.key);
        const rest = await storage.list(group, { after: page.next ?? '' });
        expect(rest.entries).to.have.length(1);
        expect(rest).not.to.have.property('next');
        expect(await storage.list(unique())).to.deep.equal({ entries: [] });
      });

      it('shows a record exactly once while others come, go and change between pages', async () => {
        const group = unique();
        const key = (n: number) => `${group}/${String(n).padStart(3, '0')}`;
        const put = (n: number) => storage.put(key(n), n, { ttl: 600, groups: [group] });
        for (const descending of [false, true]) {
          await inParallel(40, (n) => put(n * 2));
          const seen: string[] = [];
          let after: string | undefined;
          for (let n = 0; ; n++) {
            const page = await storage.list(group, { limit: 5, descending, ...(after !== undefined && { after }) });
            seen.push(...page.entries.map((entry) => entry.key));
            after = page.next;
            if (after === undefined) break;
            await storage.put(after, 'again', { ttl: 600, groups: [group] });
            await Promise.all([put(n * 2 + 1), put(80), storage.delete(key(n * 2 + 1)), storage.delete(key(40))]);
          }
          expect(new Set(seen).size, 'none is seen twice').to.equal(seen.length);
          const steady = Array.from({ length: 40 }, (_, n) => key(n * 2)).filter((each) => each !== key(40));
          expect(seen).to.include.members(steady);
        }
      });

      it('ends although all that a page looked at has expired', async () => {
        const group = unique();
        await inParallel(10, (n) => storage.put(`${group}/a${n}`, n, { ttl: 60, groups: [group] }));
        await storage.put(`${group}/b`, 'left', { ttl: 600, groups: [group] });
        passes(60);
        expect(await walk(group, { limit: 3 })).to.deep.equal([{ key: `${group}/b`, value: 'left' }]);
      });

      it('agrees with the records after many parallel changes of the same few', async () => {
        const group = unique();
        const keys = ['a', 'b', 'c'].map((each) => `${group}/${each}`);
        const verbs = [
          (key: string) => storage.insert(key, 1, { groups: [group], ttl: 600 }),
          (key: string) => storage.put(key, 2, { groups: [group] }),
          (key: string) => storage.put(key, 3, { groups: [`${group} other`] }),
          (key: string) => storage.update(key, () => 4, { groups: [group] }),
          (key: string) => storage.delete(key),
          (key: string) => storage.take(key),
        ];
        for (let round = 0; round < 15; round++) {
          await inParallel(18, (n) => verbs[(n * 7 + round) % verbs.length]?.(keys[n % keys.length] ?? ''));
          const there = new Map<string, Json | undefined>();
          for (const key of keys) there.set(key, await storage.get(key));
          const listed = new Map(
            [...(await walk(group)), ...(await walk(`${group} other`))].map(({ key, value }) => [key, value]),
          );
          for (const key of keys) expect(listed.get(key), `${key} in round ${round}`).to.equal(there.get(key));
        }
      });
    });

    describe('names and values', () => {
      it('keeps odd keys apart', async () => {
        const space = unique();
        const keys = [...ODD_NAMES, ...ODD_NAMES.map((name) => space + name), '__proto__', 'toString'];
        await Promise.all(keys.map((key) => storage.put(key, { key })));
        for (const key of keys) expect(await storage.get(key), JSON.stringify(key)).to.deep.equal({ key });
        for (const key of new Set(keys)) expect(await storage.take(key)).to.deep.equal({ key });
      });

      it('keeps odd groups apart', async () => {
        const key = unique();
        for (const group of ODD_NAMES) await storage.put(`${key} ${group}`, group, { groups: [group, `${group} too`] });
        for (const group of ODD_NAMES) {
          expect(await walk(group), JSON.stringify(group)).to.deep.equal([{ key: `${key} ${group}`, value: group }]);
        }
        for (const group of ODD_NAMES) await storage.delete(`${key} ${group}`);
        for (const group of ODD_NAMES) expect(await walk(group)).to.deep.equal([]);
      });

      it('does not take a lone surrogate for another character', async () => {
        const [key, broken] = [`${unique()}\uFFFD`, `${unique()}\uD83D`];
        await storage.put(key, 1, { groups: [key] });
        const alike = key.replace('\uFFFD', '\uD83D');
        expect(await storage.get(alike)).to.equal(undefined);
        expect(await storage.take(alike)).to.equal(undefined);
        expect(await storage.delete(alike)).to.equal(false);
        expect(await storage.list(alike)).to.deep.equal({ entries: [] });
        const writes = [
          storage.insert(broken, 1),
          storage.put(alike, 2),
          storage.update(alike, () => 2),
          storage.put(unique(), 1, { groups: [alike] }),
        ];
        for (const { code } of await Promise.all(writes.map(refusalOf))) expect(code).to.equal('invalid_request');
        expect(await walk(key)).to.deep.equal([{ key, value: 1 }]);
      });

      it('gives back every value as it was', async () => {
        const key = unique();
        for (const value of VALUES) {
          await storage.put(key, value, { groups: [key] });
          expect(await storage.get(key)).to.deep.equal(value);
          expect(await walk(key)).to.deep.equal([{ key, value }]);
          let seen: Json | undefined;
          await storage.update(key, (current) => {
            seen = current;
            return [current ?? null];
          });
          expect(seen).to.deep.equal(value);
          expect(await storage.take(key)).to.deep.equal([value]);
        }
      });

      it('keeps a megabyte', async () => {
        const key = unique();
        const value = { text: '0123456789abcdé\0'.repeat(65_536) };
        expect(await storage.insert(key, value, { ttl: 60, groups: [key] })).to.equal(true);
        expect(await storage.get(key)).to.deep.equal(value);
        await storage.update(key, (current) => ({ ...(current as object), more: true }));
        expect(await walk(key)).to.deep.equal([{ key, value: { ...value, more: true } }]);
        expect(await storage.take(key)).to.deep.equal({ ...value, more: true });
      });

      it('lets no value reach a prototype', async () => {
        const key = unique();
        const value = JSON.parse(
          '{"__proto__": {"admin": true}, "constructor": {"prototype": {"admin": true}}}',
        ) as Json;
        await storage.put(key, value, { groups: ['__proto__'] });
        const read = (await storage.take(key)) as object;
        expect(Object.keys(read)).to.deep.equal(['__proto__', 'constructor']);
        expect(Object.getPrototypeOf(read)).to.equal(Object.prototype);
        expect(({} as { admin?: boolean }).admin).to.equal(undefined);
      });
    });

    describe('two processes', () => {
      let others: [StorageProcess, StorageProcess];

      before(async function start() {
        this.timeout(20_000);
        others = await Promise.all([startStorageProcess(engine.storeUrl), startStorageProcess(engine.storeUrl)]);
      });
      after(() => Promise.all((others ?? []).map((each) => each.kill())));

      /** Ten times the same in each process, at the same moment. */
      async function race(call: Call): Promise<(Json | null)[]> {
        const calls = Array.from({ length: 10 }, () => call);
        return (await Promise.all(others.map((each) => each.perform(calls)))).flat();
      }

      it('have one winner of 20 inserts, takes and uses, round after round', async () => {
        for (let round = 0; round < 15; round++) {
          const key = unique();
          const inserted = await race({
            verb: 'insert',
            key,
            value: { round },
            options: { ttl: 60, groups: ['raced'] },
          });
          expect(inserted.filter((won) => won === true)).to.have.length(1);
          const used = await race({ verb: 'useOnce', key });
          expect(used.filter((won) => won !== null)).to.deep.equal([{ round, used: true }]);
          const taken = await race({ verb: 'take', key });
          expect(taken.filter((won) => won !== null)).to.deep.equal([{ round, used: true }]);
        }
      });

      it('lose no increment of a shared counter', async () => {
        const key = unique();
        for (let round = 0; round < 10; round++) await race({ verb: 'increment', key });
        expect(await storage.get(key)).to.equal(200);
      });

      it('see at once what the other has been told is written', async () => {
        const [one, other] = others;
        const key = unique();
        for (let n = 0; n < 20; n++) {
          await one.perform([{ verb: 'put', key, value: n }]);
          expect(await other.perform([{ verb: 'get', key }])).to.deep.equal([n]);
          expect(await storage.get(key)).to.equal(n);
        }
        await storage.delete(key);
        expect(await other.perform([{ verb: 'get', key }])).to.deep.equal([null]);
      });

      it('leave behind what was acknowledged when one is killed', async () => {
        const prefix = unique();
        const victim = await startStorageProcess(engine.storeUrl);
        const written = victim.writeOn(prefix);
        while (written.length < 200) await new Promise((resolve) => setTimeout(resolve, 5));
        await victim.kill();
        for (const n of written) expect(await storage.get(`${prefix}${n}`), `write ${n}`).to.deep.equal({ n });
      });
    });

    describe('ping and close', () => {
      it('takes a ping, and no verb after it was closed', async () => {
        const short = await openStorage(engine.storeUrl, { now });
        await short.ping();
        const key = unique();
        const last = short.put(key, 'last');
        await short.close();
        await last;
        await short.close();
        expect(await storage.get(key)).to.equal('last');
        const verbs = [short.get(key), short.put(key, 1), short.insert(key, 1), short.take(key), short.delete(key)];
        const more = [short.update(key, () => 1), short.list(key), short.ping()];
        for (const { code } of await Promise.all([...verbs, ...more].map(refusalOf))) {
          expect(code).to.equal('temporarily_unavailable');
        }
        expect(await storage.get(key)).to.equal('last');
      });
    });
  });
}

let names = 0;
/** A name that no other test uses. */
function unique(): string {
  names += 1;
  return `test ${process.pid}.${names}`;
}

function inParallel<T>(times: number, work: (n: number) => T): Promise<Awaited<T>[]> {
  return Promise.all(Array.from({ length: times }, (_, n) => work(n)));
}

export async function caughtFrom(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  return expect.fail('it should have been rejected');
}

export async function refusalOf(work: Promise<unknown>): Promise<AppError> {
  const error = await caughtFrom(work);
  expect(error).to.be.instanceOf(AppError);
  return error as AppError;
}
