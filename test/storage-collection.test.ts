import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { z } from 'zod';
import { collection } from '../src/storage/collection.ts';
import { openStorage } from '../src/storage/open.ts';
import type { Storage } from '../src/storage/storage.ts';
import { caughtFrom, refusalOf } from './storage.contract.ts';

const Thing = z.object({ name: z.string().max(10), size: z.int().optional() });

describe('storage: a collection', () => {
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-store-'));
  let storage: Storage;
  const thingsOf = (version: number) => collection(storage, { kind: 'thing', version, schema: Thing });

  before(async () => {
    storage = await openStorage(`file:${directory}`, { now: () => 1_800_000_000 });
  });
  after(async () => {
    await storage?.close();
    rmSync(directory, { recursive: true });
  });

  it('keeps records of one kind apart from those of another', async () => {
    const others = collection(storage, { kind: 'other', version: 1, schema: Thing });
    expect(await thingsOf(1).insert('same', { name: 'a' })).to.equal(true);
    expect(await others.insert('same', { name: 'b' })).to.equal(true);
    expect(await thingsOf(1).insert('same', { name: 'c' })).to.equal(false);
    expect(await thingsOf(1).take('same')).to.deep.equal({ name: 'a' });
    expect(await others.get('same')).to.deep.equal({ name: 'b' });
    expect(await others.delete('same')).to.equal(true);
    expect(await others.get('same')).to.equal(undefined);
  });

  it('takes in and gives out only what fits the schema', async () => {
    const things = thingsOf(1);
    expect(await caughtFrom(things.put('long', { name: 'far too long' }))).to.be.instanceOf(z.ZodError);
    expect(await things.get('long')).to.equal(undefined);
    await storage.put('thing:bent', { version: 1, data: { name: 5 } });
    expect(await caughtFrom(things.get('bent'))).to.be.instanceOf(z.ZodError);
  });

  it('lets everybody else have their turn while it walks a long list', async () => {
    const things = thingsOf(1);
    const names = Array.from({ length: 1_000 }, (_, n) => `many-${n}`);
    await Promise.all(names.map((name) => things.insert(name, { name: name.slice(0, 10) }, { groups: ['many'] })));
    let turns = 0;
    const others = setInterval(() => (turns += 1), 0);
    const walked = await Array.fromAsync(things.all('many'));
    clearInterval(others);
    expect(walked).to.have.length(1_000);
    expect(turns).to.be.at.least(3);
  });

  it('reads records of an older version and refuses those of a newer one, without touching them', async () => {
    await thingsOf(2).put('versioned', { name: 'two' });
    expect(await thingsOf(3).get('versioned')).to.deep.equal({ name: 'two' });
    expect((await refusalOf(thingsOf(1).get('versioned'))).code).to.equal('server_error');
    expect((await refusalOf(thingsOf(1).update('versioned', () => ({ name: 'one' })))).code).to.equal('server_error');
    expect(await thingsOf(2).get('versioned')).to.deep.equal({ name: 'two' });
  });

  it('updates what is there and creates nothing', async () => {
    const things = thingsOf(1);
    expect(await things.update('none', () => ({ name: 'new' }))).to.equal(undefined);
    expect(await things.get('none')).to.equal(undefined);
    await things.put('some', { name: 'a', size: 1 });
    const grown = await things.update('some', (thing) => ({ ...thing, size: (thing.size ?? 0) + 1 }));
    expect(grown).to.deep.equal({ name: 'a', size: 2 });
    expect(await things.update('some', () => undefined)).to.equal(undefined);
    expect(await things.get('some')).to.deep.equal({ name: 'a', size: 2 });
  });

  it('walks a whole group, page by page', async () => {
    const things = thingsOf(1);
    await Promise.all(
      Array.from({ length: 250 }, (_, n) => things.put(`${1000 + n}`, { name: `${n}` }, { groups: ['things'] })),
    );
    const names: string[] = [];
    for await (const { name } of things.all('things')) names.push(name);
    expect(names).to.deep.equal(Array.from({ length: 250 }, (_, n) => `${n}`));
    const page = await things.list('things', { limit: 2, descending: true });
    expect(page).to.deep.equal({ records: [{ name: '249' }, { name: '248' }], next: 'thing:1248' });
  });
});
