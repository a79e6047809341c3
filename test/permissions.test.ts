import { expect } from 'chai';
import { permissionsOf } from '../src/accounts/account.ts';
import { failureOf, onBothEngines, openPeople, outcomeOf, type People, type Store } from './support/people.ts';

describe('permissions', () => {
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

    it('are created once and listed by name', async () => {
      const { permissions } = people;
      await permissions.create({ name: 'orders:write', description: 'Place orders' });
      const read = await permissions.create({ name: 'orders:read', description: 'See your orders' });
      const again = permissions.create({ name: 'orders:read', description: 'Something else' });
      const failure = await failureOf(again);
      expect(failure.code).to.equal('conflict');
      expect(failure.field).to.equal('name');
      expect(await permissions.get('orders:read')).to.deep.equal(read);
      expect(await permissions.names()).to.deep.equal(['orders:read', 'orders:write']);
    });

    it('are described anew under the same name', async () => {
      const { permissions, audit } = people;
      const first = await permissions.create({ name: 'described', description: 'Before' });
      await permissions.update('described', { description: 'After' }, { actorId: 'describer' });
      expect(await permissions.get('described')).to.deep.equal({ ...first, description: 'After' });
      expect((await failureOf(permissions.update('described', { description: '' }))).field).to.equal('description');
      expect((await failureOf(permissions.update('nothing', { description: 'x' }))).code).to.equal('not_found');
      expect(await permissions.get('nothing')).to.equal(undefined);
      const { events } = await audit.list({ accountId: 'describer' });
      expect(events.map(({ type }) => type)).to.deep.equal(['permission_changed']);
    });

    it('change the version that other processes look at', async () => {
      const elsewhere = await openPeople(store.url);
      const before = await elsewhere.permissions.version();
      expect(await people.permissions.version()).to.equal(before);
      await people.permissions.create({ name: 'version-test', description: 'Test' });
      const after = await elsewhere.permissions.version();
      expect(after).not.to.equal(before);
      expect(await elsewhere.permissions.names()).to.include('version-test');
      await elsewhere.close();
    });

    it('become known by repeating a creation that died before saying so', async () => {
      const record = { name: 'half', description: 'Half made', createdAt: people.clock.time };
      await people.storage.insert('permission:half', { version: 1, data: record }, { groups: ['permissions'] });
      const before = await people.permissions.version();
      expect(await outcomeOf(people.permissions.create({ name: 'half', description: 'Half made' }))).to.equal(
        'conflict',
      );
      expect(await people.permissions.version()).not.to.equal(before);
    });

    it('are named like a scope, and not like one that means something already', async () => {
      const reserved = ['openid', 'profile', 'email', 'address', 'phone', 'offline_access', 'tokens'];
      const malformed = ['', 'Orders', 'a b', 'a"b', 'a\\b', ':a', 'ä', 'a\n', 'x'.repeat(65), '__proto__'];
      for (const name of [...reserved, ...malformed]) {
        const failure = await failureOf(people.permissions.create({ name, description: 'Something' }));
        expect(failure.code, name).to.equal('invalid_request');
        expect(failure.field).to.equal('name');
      }
      expect(await outcomeOf(people.permissions.create({ name: 'x'.repeat(64), description: 'Long' }))).to.equal('ok');
      const undescribed = people.permissions.create({ name: 'undescribed', description: '' });
      expect((await failureOf(undescribed)).field).to.equal('description');
    });

    it('are held by accounts beside the built-in one, and only while the account is active', async () => {
      await people.permissions.create({ name: 'held', description: 'Held' });
      const account = await people.accounts.create({ email: 'holder@example.com', permissions: ['held'] });
      expect(permissionsOf(account)).to.have.members(['tokens', 'held']);
      expect(permissionsOf(await people.accounts.disable(account.id))).to.deep.equal([]);
    });

    it('can be given to accounts only when they exist', async () => {
      const failure = await failureOf(people.accounts.create({ email: 'x@example.com', permissions: ['not-made'] }));
      expect(failure.code).to.equal('invalid_request');
      expect(failure.field).to.equal('permission');
      expect(await people.accounts.findByEmail('x@example.com')).to.equal(undefined);
    });
  });
});
