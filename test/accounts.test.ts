import { expect } from 'chai';
import { displayName } from '../src/accounts/account.ts';
import { createAccounts, type NewAccount } from '../src/accounts/accounts.ts';
import { createEmailClaims } from '../src/accounts/email-claims.ts';
import { failWrites, holdWrite } from './support/faulty-writes.ts';
import {
  countOf,
  failureOf,
  onBothEngines,
  openPeople,
  outcomeOf,
  PASSWORD,
  type People,
  type Store,
  startPeopleProcess,
} from './support/people.ts';

const DAY = 24 * 60 * 60;

describe('accounts', () => {
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

    let count = 0;
    const newEmail = () => `person${++count}@example.com`;
    const person = (input: Partial<NewAccount> = {}) => people.accounts.create({ email: newEmail(), ...input });

    /** Accounts as they are listed, with that e-mail. */
    async function listed(email: string) {
      const { accounts } = await people.accounts.list({ limit: 10_000 });
      return accounts.filter((account) => account.email === email);
    }

    /** The same accounts, except that something happens whenever sessions are to be ended or an event recorded. */
    function accountsThat(happens: { endSessions?: () => Promise<void>; record?: () => Promise<void> }) {
      const { storage, clock, passwords, organizations, permissions, audit } = people;
      return createAccounts({
        storage,
        passwords,
        now: () => clock.time,
        audit: {
          ...audit,
          async record(event) {
            await happens.record?.();
            await audit.record(event);
          },
        },
        endSessions: async () => happens.endSessions?.(),
        organizationName: async (id) => (await organizations.get(id))?.name,
        permissionNames: permissions.names,
      });
    }

    const dies = () => Promise.reject(new Error('killed'));

    describe('creating', () => {
      it('makes an active account without special rights, found by id and by e-mail in any case', async () => {
        const account = await people.accounts.create({ email: 'Maria.Virtanen@Example.com', givenName: 'Maria' });
        expect(account).to.deep.include({
          email: 'maria.virtanen@example.com',
          emailVerified: false,
          status: 'active',
          administrator: false,
          permissions: [],
          givenName: 'Maria',
          createdAt: people.clock.time,
        });
        expect(account.id).to.match(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        const found = await people.accounts.get(account.id);
        expect(found).to.deep.include({ id: account.id, email: account.email });
        expect(await people.accounts.findByEmail('MARIA.virtanen@example.COM')).to.deep.equal(found);
        expect(await people.accounts.getOrFail(account.id)).to.deep.equal(found);
        expect(await people.accounts.getOrFail('maria.virtanen@example.com')).to.deep.equal(found);
        expect((await failureOf(people.accounts.getOrFail('nobody@example.com'))).code).to.equal('not_found');
        expect((await failureOf(people.accounts.getOrFail('nobody'))).code).to.equal('not_found');
      });

      it('keeps every standard claim', async () => {
        const claims = {
          givenName: 'Maria',
          familyName: "O'Virtanen-Мария",
          middleName: 'J.',
          nickname: 'Mari',
          preferredUsername: 'mari',
          website: 'http://example.com/',
          birthdate: '0000-03-22',
          zoneinfo: 'Europe/Helsinki',
          locale: 'fi-FI',
          phoneNumber: '+358 (40) 123-4567',
          phoneNumberVerified: true,
          address: {
            formatted: 'Katu 1\r\n00100 Helsinki',
            streetAddress: 'Katu 1',
            locality: 'Helsinki',
            region: 'Uusimaa',
            postalCode: '00100',
            country: 'Finland',
          },
        };
        const { id } = await person(claims);
        expect(await people.accounts.get(id)).to.deep.include(claims);
      });

      it('refuses lookalikes and nonsense as e-mails, naming the field', async () => {
        await people.accounts.create({ email: 'admin@example.com' });
        await people.accounts.create({ email: 'kevin@example.com' });
        const emails = [
          'ADMİN@example.com',
          'admın@example.com',
          'ａｄｍｉｎ@example.com',
          'admin@ｅxample.com',
          '\u212Aevin@example.com',
          'admin@example.com.',
          'admin@example.com\r\n',
          'admin@example.com\r\nBcc: x@example.com',
          ' admin@example.com',
          'admin@example.com\u0000',
          'admin@evil.com@example.com',
          '"admin"@example.com',
          'admin',
          '',
          '@example.com',
          `${'a'.repeat(10_000)}@example.com`,
          `${'a'.repeat(250)}@x.fi`,
        ];
        for (const email of emails) {
          const failure = await failureOf(people.accounts.create({ email }));
          expect(failure.code, JSON.stringify(email)).to.equal('invalid_request');
          expect(failure.field).to.equal('email');
          expect(await people.accounts.findByEmail(email)).to.equal(undefined);
        }
        expect(await outcomeOf(people.accounts.create({ email: 'admin+tag@example.com' }))).to.equal('ok');
      });

      it('refuses what could harm whoever shows it, naming the field as it is spelled on the wire', async () => {
        const refused: Array<[field: string, Partial<NewAccount>]> = [
          ['given_name', { givenName: '<img src=x onerror=alert(1)>' }],
          ['given_name', { givenName: 'x'.repeat(10_000) }],
          ['family_name', { familyName: 'evil\u202etxt.exe' }],
          ['nickname', { nickname: 'a\r\nSet-Cookie: b' }],
          ['website', { website: 'javascript:alert(1)' }],
          ['website', { website: 'data:text/html,x' }],
          ['phone_number', { phoneNumber: '+1; drop' }],
          ['birthdate', { birthdate: '22.3.1990' }],
          ['password', { password: 'short' }],
          ['organization', { organizationId: 'no-such' }],
          ['permission', { permissions: ['no-such'] }],
        ];
        for (const [field, input] of refused) {
          const email = newEmail();
          const failure = await failureOf(people.accounts.create({ email, ...input }));
          expect(failure.code, field).to.equal('invalid_request');
          expect(failure.field).to.equal(field);
          expect(await people.accounts.findByEmail(email)).to.equal(undefined);
        }
      });

      it("refuses the organization's name as a password", async () => {
        const { id } = await people.organizations.create({ name: 'Blue Harbour' });
        expect((await failureOf(person({ organizationId: id, password: 'blueharbour1' }))).field).to.equal('password');
        const { id: account } = await person({ organizationId: id, password: PASSWORD });
        expect((await failureOf(people.accounts.setPassword(account, 'Blue Harbour'))).field).to.equal('password');
      });

      it('gives an e-mail to one of 40 who ask for it in two processes', async () => {
        const other = await startPeopleProcess(store.url, people.clock);
        const email = newEmail();
        const inputs = Array.from({ length: 20 }, () => ({ email }));
        const outcomes = await Promise.all([
          other.perform({ order: 'create', inputs }),
          Promise.all(inputs.map((input) => outcomeOf(people.accounts.create(input)))),
        ]);
        await other.stop();
        expect(countOf(outcomes.flat(), 'ok')).to.equal(1);
        expect(countOf(outcomes.flat(), 'conflict')).to.equal(39);
        const [only, ...others] = await listed(email);
        expect(others).to.have.lengthOf(0);
        expect(await people.accounts.findByEmail(email)).to.deep.equal(only);
      });

      it('says which field is taken', async () => {
        const { email } = await person();
        const failure = await failureOf(people.accounts.create({ email: email.toUpperCase() }));
        expect(failure.code).to.equal('conflict');
        expect(failure.field).to.equal('email');
      });

      it('lets one of many have an e-mail whose creator died before the account was written, after a while', async () => {
        const email = newEmail();
        await accountsThat({ record: dies })
          .create({ email })
          .catch(() => undefined);
        expect(await outcomeOf(people.accounts.create({ email }))).to.equal('conflict');
        people.clock.time += 10;
        const tries = Array.from({ length: 10 }, () => outcomeOf(people.accounts.create({ email })));
        expect(countOf(await Promise.all(tries), 'ok')).to.equal(1);
        expect(await listed(email)).to.have.lengthOf(1);
      });

      it('keeps an account whose creator died before confirming it', async () => {
        const { id, email } = await person();
        const claim = { accountId: id, confirmed: false, claimedAt: people.clock.time };
        await people.storage.put(`account-email:${email}`, { version: 1, data: claim });
        people.clock.time += DAY;
        expect(await outcomeOf(people.accounts.create({ email }))).to.equal('conflict');
        expect((await people.accounts.findByEmail(email))?.id).to.equal(id);
      });

      it('frees an e-mail that an app said for its owner, wherever who takes it is killed', async () => {
        const { id: organizationId } = await people.organizations.create({ name: 'Killed' });
        const said = { organizationId, emailSaidBy: 'an-app' };
        let isDone = false;
        for (let after = 0; !isDone; after++) {
          const { id, email } = await person(said);
          const ended = failWrites(people.storage, { after });
          await outcomeOf(people.accounts.create({ email }));
          isDone = !ended();
          const holder = await people.accounts.findByEmail(email);
          const named = await people.accounts.findByEmailGivenUp(email, organizationId);
          if (holder?.id === id) expect(named).to.equal(undefined);
          else expect(named).to.include({ id, email: '' });
          // An app's word makes nobody anew, and the owner comes again.
          expect(await outcomeOf(people.accounts.create({ email, ...said }))).to.equal('conflict');
          people.clock.time += 10;
          if (!isDone && holder?.id === undefined) await people.accounts.create({ email });
          const [only, ...others] = await listed(email);
          expect(others).to.deep.equal([]);
          expect(only?.id).to.equal((await people.accounts.findByEmail(email))?.id);
        }
      });

      it('gives way with an e-mail that an app said while its account is being made', async () => {
        const email = newEmail();
        const { id: organizationId } = await people.organizations.create({ name: 'Meanwhile' });
        const held = holdWrite(people.storage, 1, (key) => key.startsWith('account:'));
        const saying = people.accounts.create({ email, emailSaidBy: 'an-app', organizationId });
        await held.reached;
        const owner = await people.accounts.create({ email, emailVerified: true });
        held.release();
        const said = await saying;
        expect(said).to.include({ email: '', emailGivenUp: email, organizationId });
        expect(await people.accounts.findByEmailGivenUp(email, organizationId)).to.deep.equal(
          await people.accounts.get(said.id),
        );
        expect((await listed(email)).map(({ id }) => id)).to.deep.equal([owner.id]);
      });

      it('takes an e-mail over from the dead only, not from who was quicker in taking it over', async () => {
        const { storage, clock } = people;
        const now = () => clock.time;
        const email = newEmail();
        const pause = Promise.withResolvers<void>();
        const arrived = Promise.withResolvers<void>();
        const quick = createEmailClaims({ storage, now, isHeld: async (_, id) => id === 'second' });
        const slow = createEmailClaims({
          storage,
          now,
          async isHeld() {
            arrived.resolve();
            await pause.promise;
            return false;
          },
        });
        await quick.claim(email, 'first');
        clock.time += 10;
        const late = slow.claim(email, 'third');
        await arrived.promise;
        await quick.claim(email, 'second');
        expect(await quick.confirm(email, 'second')).to.equal(true);
        pause.resolve();
        expect((await failureOf(late)).code).to.equal('conflict');
        expect(await quick.holderOf(email)).to.equal('second');
      });

      it('leaves one account when somebody else took over from a creator that was only slow', async () => {
        const email = newEmail();
        const pause = Promise.withResolvers<void>();
        const arrived = Promise.withResolvers<void>();
        const slow = accountsThat({
          record() {
            arrived.resolve();
            return pause.promise;
          },
        }).create({ email });
        await arrived.promise;
        people.clock.time += 10;
        const winner = await people.accounts.create({ email });
        pause.resolve();
        expect((await failureOf(slow)).code).to.equal('conflict');
        expect((await listed(email)).map(({ id }) => id)).to.deep.equal([winner.id]);
      });
    });

    describe('status', () => {
      it('is written before sessions end when disabling, and after when enabling', async () => {
        const { id } = await person();
        people.ended.length = 0;
        expect((await people.accounts.disable(id)).status).to.equal('disabled');
        expect(await people.accounts.findActive(id)).to.equal(undefined);
        expect((await people.accounts.enable(id)).status).to.equal('active');
        expect((await people.accounts.findActive(id))?.id).to.equal(id);
        expect(people.ended).to.deep.equal([`${id} disabled`, `${id} disabled`]);
      });

      it('is effective although ending sessions failed, and repeating finishes the work', async () => {
        const { id } = await person();
        const dying = accountsThat({ endSessions: dies });
        expect(await outcomeOf(dying.disable(id))).to.contain('killed');
        expect(await people.accounts.findActive(id)).to.equal(undefined);
        expect(await outcomeOf(dying.enable(id))).to.contain('killed');
        expect(await people.accounts.findActive(id)).to.equal(undefined);
        people.ended.length = 0;
        await people.accounts.disable(id);
        await people.accounts.enable(id);
        expect(people.ended).to.have.lengthOf(2);
        expect((await people.accounts.findActive(id))?.id).to.equal(id);
      });

      it('of a pending account becomes active by approval only', async () => {
        const { id, status } = await person({ status: 'pending' });
        expect(status).to.equal('pending');
        expect(await people.accounts.findActive(id)).to.equal(undefined);
        expect((await failureOf(people.accounts.enable(id))).code).to.equal('conflict');
        expect((await people.accounts.approve(id)).status).to.equal('active');
        expect((await people.accounts.approve(id)).status).to.equal('active');
        await people.accounts.disable(id);
        expect((await failureOf(people.accounts.approve(id))).code).to.equal('conflict');
        expect((await failureOf(people.accounts.approve('nobody'))).code).to.equal('not_found');
      });

      it('leaves the sessions of an active account alone when it is enabled again', async () => {
        const { id } = await person();
        people.ended.length = 0;
        await people.accounts.enable(id);
        expect(people.ended).to.deep.equal([]);
      });
    });

    describe('deleting', () => {
      it('disables, ends sessions, and then nothing is left but the audit trail', async () => {
        await person({ administrator: true });
        const { id, email } = await person({ administrator: true });
        people.ended.length = 0;
        await people.accounts.remove(id, { actorId: 'boss' });
        expect(people.ended).to.deep.equal([`${id} disabled`]);
        expect(await people.accounts.get(id)).to.equal(undefined);
        expect(await people.accounts.findByEmail(email)).to.equal(undefined);
        expect(await listed(email)).to.have.lengthOf(0);
        people.clock.time += 1;
        expect(await people.storage.get(`account-email:${email}`)).to.equal(undefined);
        const { events } = await people.audit.list({ accountId: id });
        expect(events[0]).to.include({ type: 'account_deleted', accountId: id, actorId: 'boss' });
        expect((await failureOf(people.accounts.remove(id))).code).to.equal('not_found');
      });

      it('frees the e-mail at once and for good', async () => {
        const { id, email } = await person();
        await people.accounts.remove(id);
        const next = await people.accounts.create({ email });
        expect(next.id).not.to.equal(id);
        people.clock.time += 365 * DAY;
        expect((await people.accounts.findByEmail(email))?.id).to.equal(next.id);
        expect(await outcomeOf(people.accounts.create({ email }))).to.equal('conflict');
      });

      it('leaves nobody half alive when it dies in between, and can be repeated', async () => {
        const { id, email } = await person();
        expect(await outcomeOf(accountsThat({ endSessions: dies }).remove(id))).to.contain('killed');
        expect(await people.accounts.findActive(id)).to.equal(undefined);
        expect(await outcomeOf(people.accounts.create({ email }))).to.equal('conflict');
        await people.accounts.remove((await people.accounts.getOrFail(email)).id);
        expect(await outcomeOf(people.accounts.create({ email }))).to.equal('ok');
      });

      it('frees the e-mail although it died before letting go of it', async () => {
        const { id, email } = await person();
        await people.storage.delete(`account:${id}`);
        expect(await people.accounts.findByEmail(email)).to.equal(undefined);
        expect(await outcomeOf(people.accounts.create({ email }))).to.equal('ok');
      });
    });

    describe('changing', () => {
      it('changes what is named, removes what is undefined, leaves the rest', async () => {
        const { id, email } = await person({ givenName: 'Maria', familyName: 'Virtanen', nickname: 'Mari' });
        people.clock.time += 5;
        await people.accounts.update(id, { givenName: 'Marja', nickname: undefined, administrator: undefined });
        const changed = await people.accounts.getOrFail(id);
        expect(changed).to.include({ email, givenName: 'Marja', familyName: 'Virtanen', administrator: false });
        expect(changed).not.to.have.property('nickname');
        expect(changed.updatedAt).to.equal(people.clock.time);
        expect(changed.createdAt).to.equal(people.clock.time - 5);
      });

      it('loses none of many simultaneous changes', async () => {
        const { id } = await person();
        const { id: organizationId } = await people.organizations.create({ name: 'Org' });
        await Promise.all([
          people.accounts.update(id, { givenName: 'Maria' }),
          people.accounts.update(id, { familyName: 'Virtanen' }),
          people.accounts.update(id, { administrator: true }),
          people.accounts.update(id, { organizationId }),
          people.accounts.update(id, { locale: 'fi' }),
          people.accounts.setPassword(id, PASSWORD),
        ]);
        const changed = await people.accounts.getOrFail(id);
        expect(changed).to.include({ givenName: 'Maria', familyName: 'Virtanen', locale: 'fi', organizationId });
        expect(changed.administrator).to.equal(true);
        const { entries } = await people.storage.list('administrators', { limit: 10_000 });
        expect(entries.map(({ key }) => key)).to.include(`account:${id}`);
        expect(await people.passwords.verify(PASSWORD, changed.passwordHash)).to.equal(true);
        expect((await people.accounts.list({ organizationId })).accounts.map((member) => member.id)).to.deep.equal([
          id,
        ]);
      });

      it('cannot change who the account is', async () => {
        const { id, email } = await person();
        const identity =
          '"id":"x","sub":"x","email":"y@example.com","status":"disabled","passwordHash":"x","createdAt":1';
        const input = JSON.parse(
          `{${identity},"__proto__":{"administrator":true},"constructor":{"administrator":true}}`,
        );
        await people.accounts.update(id, input);
        expect(await people.accounts.getOrFail(id)).to.include({ id, email, status: 'active', administrator: false });
        expect(await people.accounts.getOrFail(id)).not.to.have.property('passwordHash');
      });

      it('moves the account from one organization to another', async () => {
        const [from, to] = await Promise.all(['A', 'B'].map((name) => people.organizations.create({ name })));
        const members = async (organizationId = '') =>
          (await people.accounts.list({ organizationId })).accounts.map(({ id }) => id);
        const { id } = await person({ organizationId: from?.id });
        expect(await members(from?.id)).to.deep.equal([id]);
        await people.accounts.update(id, { organizationId: to?.id });
        expect(await members(from?.id)).to.deep.equal([]);
        expect(await members(to?.id)).to.deep.equal([id]);
        await people.accounts.update(id, { organizationId: undefined });
        expect(await members(to?.id)).to.deep.equal([]);
      });

      it('sets a password that the policy takes, and ends sessions after it', async () => {
        const { id } = await person({ password: PASSWORD });
        people.ended.length = 0;
        expect((await failureOf(people.accounts.setPassword(id, 'password'))).field).to.equal('password');
        expect(people.ended).to.deep.equal([]);
        await people.accounts.setPassword(id, 'another fine password', { address: '192.0.2.1' });
        expect(people.ended).to.deep.equal([`${id} active`]);
        const { passwordHash } = await people.accounts.getOrFail(id);
        expect(await people.passwords.verify('another fine password', passwordHash)).to.equal(true);
        expect(await people.passwords.verify(PASSWORD, passwordHash)).to.equal(false);
        expect((await failureOf(people.accounts.setPassword('nobody', PASSWORD))).code).to.equal('not_found');
      });
    });

    it('know whether there is an administrator', async () => {
      const apart = await openStore();
      const others = await openPeople(apart.url);
      await others.accounts.create({ email: 'first@example.com' });
      expect(await others.accounts.hasAdministrator()).to.equal(false);
      const { id } = await others.accounts.create({ email: 'second@example.com', administrator: true });
      expect(await others.accounts.hasAdministrator()).to.equal(true);
      // Once there is one there always is.
      expect(await outcomeOf(others.accounts.update(id, { administrator: false }))).to.equal('conflict');
      expect(await others.accounts.hasAdministrator()).to.equal(true);
      await others.close();
      await apart.stop();
    });

    it('lose no administrator to a process that died while one was made or unmade', async () => {
      const apart = await openStore();
      const others = await openPeople(apart.url);
      const create = (email: string) => others.accounts.create({ email, administrator: true });
      const [one, two] = [await create('one@example.com'), await create('two@example.com')];
      // One that is not counted, as when its maker died before saying so.
      await others.storage.update('administrators:standing', () => ({
        version: 1,
        data: { active: [one.id], leaving: {} },
      }));
      await others.accounts.update(one.id, { administrator: false });
      expect(await outcomeOf(others.accounts.disable(two.id))).to.equal('conflict');
      await others.accounts.update(one.id, { administrator: true });
      // One who was about to stop in a process that died: for a while nobody relies on them.
      await others.storage.update('administrators:standing', () => ({
        version: 1,
        data: { active: [one.id], leaving: { [two.id]: others.clock.time } },
      }));
      expect(await outcomeOf(others.accounts.disable(one.id))).to.equal('conflict');
      others.clock.time += 11;
      expect((await others.accounts.disable(one.id)).status).to.equal('disabled');
      await others.close();
      await apart.stop();
    });

    it('are in the audit trail with all that administrators do to them', async () => {
      const origin = { actorId: 'administrator', address: '192.0.2.7', userAgent: 'Browser' };
      const { id } = await people.accounts.create({ email: newEmail(), status: 'pending', password: PASSWORD }, origin);
      await people.accounts.approve(id, origin);
      await people.accounts.update(id, { givenName: 'Maria', locale: 'fi' }, origin);
      await people.accounts.disable(id, origin);
      await people.accounts.enable(id, origin);
      await people.accounts.setPassword(id, 'another fine password', origin);
      const { events } = await people.audit.list({ accountId: id });
      expect(events.toReversed().map(({ type }) => type)).to.deep.equal([
        'account_created',
        'account_approved',
        'account_changed',
        'account_disabled',
        'account_enabled',
        'password_changed',
      ]);
      for (const event of events) expect(event).to.include({ accountId: id, ...origin });
      expect(events[3]?.detail).to.deep.equal({ changed: 'givenName locale' });
      expect(JSON.stringify(events)).not.to.match(/argon2|fine password|correct horse/);
    });

    it('are listed page by page', async () => {
      const { id: organizationId } = await people.organizations.create({ name: 'Paged' });
      const made = await Promise.all(Array.from({ length: 7 }, () => person({ organizationId })));
      const seen: string[] = [];
      let after: string | undefined;
      do {
        const page = await people.accounts.list({ organizationId, limit: 3, ...(after !== undefined && { after }) });
        seen.push(...page.accounts.map(({ id }) => id));
        after = page.next;
      } while (after !== undefined);
      expect(seen).to.deep.equal(made.map(({ id }) => id).toSorted());
    });

    it('are all there after a restart', async () => {
      const { id, email } = await person({ password: PASSWORD });
      await people.close();
      people = await openPeople(store.url, people.clock);
      const found = await people.accounts.findByEmail(email);
      expect(found?.id).to.equal(id);
      expect(await people.passwords.verify(PASSWORD, found?.passwordHash)).to.equal(true);
      expect(await outcomeOf(people.accounts.create({ email }))).to.equal('conflict');
    });

    it('are called by the best name there is', async () => {
      const account = await person();
      const named = { ...account, givenName: 'Maria', familyName: 'Virtanen', nickname: 'Mari' };
      expect(displayName(named)).to.equal('Maria Virtanen');
      expect(displayName({ ...named, middleName: 'J.' })).to.equal('Maria J. Virtanen');
      expect(displayName({ ...account, nickname: 'Mari', preferredUsername: 'm' })).to.equal('Mari');
      expect(displayName({ ...account, preferredUsername: 'm' })).to.equal('m');
      expect(displayName(account)).to.equal(account.email);
    });
  });
});
