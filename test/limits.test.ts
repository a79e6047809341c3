/** The page that says what everybody can make us keep names every kind of record that there is in the source. */
import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { expect } from 'chai';
import { createOneTimeForms } from '../src/console/one-time-forms.ts';
import { openStorage } from '../src/storage/open.ts';
import { createThrottle } from '../src/throttle.ts';
import { failureOf, onBothEngines } from './support/people.ts';

/** Who writes to the store without a collection, and under which kinds. */
const WRITTEN_AS_THEY_ARE: Readonly<Record<string, readonly string[]>> = {
  'mail/queue.ts': ['mail-queue'],
  'oidc/adapter.ts': [], // the models of the engine
  'oidc/session-records.ts': ['Session', 'Session-uid'],
  'oidc/token-families.ts': ['ended-family'],
  'permissions/permissions.ts': ['permissions-version'],
  'resource-server/revocations.ts': ['withdrawals'],
  'schedule.ts': ['schedule'],
  'setup/setup.ts': ['setup-claim'],
  'storage/collection.ts': [],
  'storage/observed.ts': [],
  'storage/places.ts': ['places'],
  'throttle.ts': ['throttle'],
};

const sources = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => ({ name, text: readFileSync(posix.join('src', name), 'utf8') }));

describe('the page of limits', () => {
  const page = readFileSync('docs/limits.md', 'utf8').split('## Every kind of record')[1] ?? '';
  const named = new Set([...page.matchAll(/`([\w-]+)`/g)].map(([, kind]) => kind));

  it('names every kind of record that is in the source', () => {
    const kinds = sources.flatMap(({ text }) =>
      text
        .split('collection(storage, {')
        .slice(1)
        .map((rest) => /^\s*kind: '([\w-]+)'/.exec(rest)?.[1]),
    );
    expect(kinds.length).to.be.at.least(30);
    expect(kinds).not.to.include(undefined);
    expect([...kinds, ...Object.values(WRITTEN_AS_THEY_ARE).flat()].filter((kind) => !named.has(kind))).to.deep.equal(
      [],
    );
  });

  it('knows who else writes to the store', () => {
    const writers = sources.filter(({ text }) => /\bstorage\.(insert|put|update)\(/.test(text)).map(({ name }) => name);
    expect(writers.toSorted()).to.deep.equal(Object.keys(WRITTEN_AS_THEY_ARE));
    for (const { name, text } of sources)
      for (const kind of WRITTEN_AS_THEY_ARE[name] ?? []) expect(text, name).to.contain(kind);
  });

  it('names every model of the engine', () => {
    const models = readFileSync('node_modules/oidc-provider/lib/models/index.js', 'utf8');
    const kinds = [...models.matchAll(/import get(\w+) from/g)].map(([, name]) => name);
    expect(kinds).to.include('Grant');
    expect(kinds.filter((kind) => !named.has(kind) && !kind?.startsWith('Base'))).to.deep.equal([]);
  });
});

describe('forms that may be sent once', () => {
  onBothEngines((openStore) => {
    it('are open to a person so many at a time: who opens pages without end fills no store', async () => {
      const store = await openStore();
      const now = () => 1_800_000_000;
      const storage = await openStorage(store.url, { now });
      const forms = createOneTimeForms({ storage, throttle: createThrottle({ storage, now }) });
      try {
        const first = await forms.open('pat');
        for (let opened = 1; opened < 500; opened += 1) await forms.open('pat');
        expect((await failureOf(forms.open('pat'))).code).to.equal('too_many_requests');
        await forms.open('somebody else');
        expect(await forms.take('pat', first)).to.equal(true);
        await forms.open('pat');
        expect((await failureOf(forms.open('pat'))).code).to.equal('too_many_requests');
      } finally {
        await storage.close();
        await store.stop();
      }
    });
  });
});
