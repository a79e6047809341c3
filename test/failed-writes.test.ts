/** Whatever fails because a write did takes nothing with it: no place, no room, and no token that somebody relies on. */
import { expect } from 'chai';
import type { Storage } from '../src/storage/storage.ts';
import { onEachEngine, startApp, type TestApp, type TestStore } from './support/app.ts';
import { createBrowser } from './support/browser.ts';
import { FAKES_ALLOWED } from './support/exchange.ts';
import { failOneWrite } from './support/faulty-writes.ts';
import { aMail, openPost } from './support/mail.ts';
import { outcomeOf } from './support/people.ts';
import { goThere, openLogin, type Providers, startProviders } from './support/provider-sign-in.ts';

interface Act<T> {
  /** What it is done to, new each time. */
  prepare(): Promise<T>;
  run(thing: T): Promise<unknown>;
  /** After a failure, with the store in reach again. */
  check(thing: T, failed: string): Promise<void>;
}

/** Does something with its n-th write failing, for each n until it needs no more writes. How many there were. */
async function failEachWrite<T>(storage: Storage, { prepare, run, check }: Act<T>): Promise<number> {
  for (let after = 0; ; after++) {
    const thing = await prepare();
    const restore = failOneWrite(storage, { after });
    const outcome = await outcomeOf(run(thing));
    if (!restore()) return after;
    expect(outcome, `write ${after}`).to.equal('temporarily_unavailable');
    await check(thing, `after write ${after} failed`);
  }
}

onEachEngine((openStore) => {
  describe('a write that fails', () => {
    let store: TestStore;
    let app: TestApp;
    let providers: Providers;
    let storage: Storage;

    before(async () => {
      [store, providers] = await Promise.all([openStore(), startProviders()]);
      app = await startApp(store, FAKES_ALLOWED);
      ({ storage } = app.directory);
      await providers.register(app.directory);
    });
    after(async () => {
      await app.close();
      await providers.close();
      await store.remove();
    });

    async function somebody() {
      const { id } = await app.person();
      const account = await app.directory.accounts.get(id);
      if (!account) throw new Error('there is no such account');
      return account;
    }

    async function works(token: string): Promise<boolean> {
      const { status } = await fetch(`${app.issuer}/api/me`, { headers: { authorization: `Token ${token}` } });
      return status === 200;
    }

    it('leaves a personal token that is being exchanged as it was, to be exchanged at once', async () => {
      const { personalTokens } = app.directory;
      const account = await somebody();
      const writes = await failEachWrite(storage, {
        prepare: () => personalTokens.create(account, { description: 'a script' }),
        run: ({ record }) => personalTokens.rotate(account, record.id, { overlap: 0 }),
        async check({ token, record }, failed) {
          expect(await works(token), failed).to.equal(true);
          const made = await personalTokens.rotate(account, record.id, { overlap: 60 });
          expect(await works(made.token), failed).to.equal(true);
        },
      });
      expect(writes).to.be.at.least(4);
    });

    it('takes no place of a personal token', async () => {
      const { personalTokens } = app.directory;
      const account = await somebody();
      for (let n = 0; n < 199; n++) await personalTokens.create(account, { description: `script ${n}` });
      const writes = await failEachWrite(storage, {
        prepare: async () => undefined,
        run: () => personalTokens.create(account, { description: 'the last one' }),
        async check(_, failed) {
          const { token, record } = await personalTokens.create(account, { description: 'the last one' });
          expect(await works(token), failed).to.equal(true);
          await personalTokens.revoke(account.id, record.id);
        },
      });
      expect(writes).to.be.at.least(3);
    }).timeout(30_000);

    it('takes no place of a sign-in at a provider', async () => {
      const visitor = createBrowser(app.issuer);
      const login = await openLogin(visitor);
      for (let n = 0; n < 9; n++) await goThere(visitor, login, 'github');
      const submit = () =>
        visitor.submit(`/interaction/${login.url.pathname.split('/')[2]}/provider`, { identity_provider: 'github' });
      // Its own place is the first write, what it began the second.
      const restore = failOneWrite(storage, { after: 1 });
      const { response } = await submit();
      expect(restore()).to.equal(true);
      expect(response?.status).to.equal(503);
      await goThere(visitor, login, 'github');
      expect((await submit()).response?.status).to.equal(429);
    });

    it('takes no room of a mailbox', async () => {
      const post = await openPost({ storeUrl: store.storeUrl, smtpUrl: 'smtp://127.0.0.1:9' });
      try {
        for (let n = 0; n < 20; n++) {
          const restore = failOneWrite(post.storage, { after: 2 });
          expect(await outcomeOf(post.send(aMail('ada@example.com')))).to.equal('temporarily_unavailable');
          expect(restore()).to.equal(true);
        }
        for (let n = 0; n < 20; n++) await post.send(aMail('ada@example.com'));
        expect(await post.waiting()).to.have.lengthOf(20);
      } finally {
        await post.close();
      }
    });
  });
});
