import { expect } from 'chai';
import { countOf, failureOf, onBothEngines, openPeople, outcomeOf, type People, type Store } from './support/people.ts';

describe('organizations', () => {
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

    it('get a UUID, or the id they are given', async () => {
      const first = await people.organizations.create({ name: '  Müller & Söhne <Oy> ' });
      expect(first.id).to.match(/^[0-9a-f-]{36}$/);
      expect(first.name).to.equal('Müller & Söhne <Oy>');
      const second = await people.organizations.create({ name: 'Acme', id: 'acme' });
      expect(await people.organizations.get(first.id)).to.deep.equal(first);
      expect(await people.organizations.get('acme')).to.deep.equal(second);
      expect(await people.organizations.get('nobody')).to.equal(undefined);
      const { organizations } = await people.organizations.list();
      expect(organizations.map(({ id }) => id)).to.have.members([first.id, 'acme']);
    });

    it('give an id to one of many who ask for it', async () => {
      const tries = Array.from({ length: 10 }, (_, n) =>
        people.organizations.create({ name: `Org ${n}`, id: 'wanted' }),
      );
      const outcomes = await Promise.all(tries.map(outcomeOf));
      expect(countOf(outcomes, 'ok')).to.equal(1);
      expect(countOf(outcomes, 'conflict')).to.equal(9);
    });

    it('refuse names that are empty, too long, or have control or direction characters, naming the field', async () => {
      await people.organizations.create({ name: 'x'.repeat(120) });
      for (const name of ['', '   ', 'x'.repeat(121), 'a\nb', 'a\u0000b', 'a\u202eb', '\ud800']) {
        const failure = await failureOf(people.organizations.create({ name }));
        expect(failure.code, JSON.stringify(name)).to.equal('invalid_request');
        expect(failure.field).to.equal('name');
      }
      expect((await failureOf(people.organizations.create({ name: 'Acme', id: '../x' }))).field).to.equal('id');
    });

    it('are renamed, and nothing else of them changes', async () => {
      const { organizations, audit } = people;
      const first = await organizations.create({ name: 'Before' });
      const renamed = await organizations.update(first.id, { name: ' After ' }, { actorId: 'renamer' });
      expect(renamed).to.deep.equal({ ...first, name: 'After' });
      expect(await organizations.get(first.id)).to.deep.equal(renamed);
      expect((await failureOf(organizations.update(first.id, { name: 'a\nb' }))).field).to.equal('name');
      expect((await failureOf(organizations.update('nobody', { name: 'x' }))).code).to.equal('not_found');
      expect(await organizations.get('nobody')).to.equal(undefined);
      const { events } = await audit.list({ accountId: 'renamer' });
      expect(events.map(({ type }) => type)).to.deep.equal(['organization_changed']);
    });

    it('are in the audit trail from their beginning', async () => {
      await people.organizations.create({ name: 'Audited' }, { actorId: 'boss', address: '192.0.2.1' });
      const { events } = await people.audit.list({ accountId: 'boss' });
      expect(events[0]).to.include({ type: 'organization_created', actorId: 'boss', address: '192.0.2.1' });
      expect(events[0]?.detail?.name).to.equal('Audited');
    });
  });
});
