import { expect } from 'chai';
import {
  onEachEngine,
  startApp,
  startProcess,
  type TestApp,
  type TestClient,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { createFlows, type Flows, OFFLINE, titleOf } from '../support/flow.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let other: TestProcess;
  let flows: Flows;
  /** The same product seen through another process. */
  let elsewhere: Flows;
  let api: TestClient;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    other = await startProcess(store, { ISSUER: app.issuer });
    flows = createFlows(app.issuer);
    elsewhere = createFlows(app.issuer, other.url);
    api = await app.client({ redirectUris: [], introspection: true });
  }).timeout(20_000);
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await store.remove();
  });

  /** A signed-in person, an app, and everything it got. */
  async function everything() {
    const person = await app.person();
    const client = await app.client();
    const browser = elsewhere.browser();
    const tokens = await elsewhere.tokens({ client, person, browser, params: OFFLINE });
    const redirected = await flows.authorize({ client, person });
    return { person, client, browser, redirected, access: tokens.access_token, refresh: String(tokens.refresh_token) };
  }
  type Everything = Awaited<ReturnType<typeof everything>>;

  async function expectDead({ client, redirected, access, refresh }: Everything, error: string): Promise<void> {
    for (const where of [elsewhere, flows]) {
      expect((await where.userinfo(access)).status).to.equal(401);
      for (const token of [access, refresh])
        expect(await where.introspect(api, token)).to.deep.equal({ active: false });
      expect((await where.refresh(client, refresh)).body.error).to.equal(error);
      expect((await where.redeem(client, redirected)).body.error).to.equal(error);
    }
  }

  async function expectSignedOut(browser: Browser, client: TestClient): Promise<void> {
    const { url } = await flows.start({ client, params: { prompt: 'none' } });
    expect((await browser.open(url)).url.searchParams.get('error')).to.equal('login_required');
    expect((await browser.open('/account')).text).to.contain('name="password"');
  }

  describe('of a person', () => {
    const endings: Record<string, (id: string) => Promise<unknown>> = {
      disabled: (id) => app.directory.accounts.disable(id),
      deleted: (id) => app.directory.accounts.remove(id),
    };
    for (const [ending, end] of Object.entries(endings)) {
      it(`ends at once, on every process, when the account is ${ending}: code, tokens and session`, async () => {
        const all = await everything();
        expect((await elsewhere.userinfo(all.access)).status).to.equal(200);
        await end(all.person.id);
        await expectDead(all, 'invalid_grant');
        await expectSignedOut(all.browser, all.client);
      });

      it(`ends the sign-in under way when the account is ${ending}: no code comes of it`, async () => {
        const { person, client } = await everything();
        const browser = elsewhere.browser();
        const login = await browser.open((await flows.start({ client, params: { prompt: 'consent' } })).url);
        const consent = await browser.submit(login.url.pathname, person);
        expect(consent.text).to.contain('name="decision"');
        await end(person.id);
        const landing = await browser.submit(consent.url.pathname, { decision: 'allow' });
        expect(landing.url.origin).to.equal(app.issuer);
        expect(landing.response?.status).to.equal(400);
        expect(landing.url.searchParams.has('code')).to.equal(false);
        await expectSignedOut(browser, client);
      });

      it(`ends between the password and the answer to the app when the account is ${ending}`, async () => {
        const { person, client } = await everything();
        const browser = elsewhere.browser();
        const login = await browser.open((await flows.start({ client })).url);
        const signedIn = await browser.request(login.url.pathname, {
          method: 'POST',
          body: new URLSearchParams(person),
        });
        await end(person.id);
        const landing = await browser.open(String(signedIn.headers.get('location')));
        expect(landing.url.searchParams.has('code')).to.equal(false);
        expect(landing.response?.status).to.equal(400);
        await expectSignedOut(browser, client);
      });
    }

    it('does not come back when the account is enabled again', async () => {
      const all = await everything();
      const login = await all.browser.open(
        (await flows.start({ client: all.client, params: { prompt: 'consent' } })).url,
      );
      await app.directory.accounts.disable(all.person.id);
      await app.directory.accounts.enable(all.person.id);
      await expectDead(all, 'invalid_grant');
      await expectSignedOut(all.browser, all.client);
      const landing = await all.browser.submit(login.url.pathname, { decision: 'allow' });
      expect(landing.url.searchParams.has('code')).to.equal(false);
      expect((await flows.tokens({ client: all.client, person: all.person })).claims()?.sub).to.equal(all.person.id);
    });

    it('ends when the password is changed', async () => {
      const all = await everything();
      await app.directory.accounts.setPassword(all.person.id, 'another long pass phrase');
      await expectDead(all, 'invalid_grant');
      await expectSignedOut(all.browser, all.client);
    });

    it('never begins for an account that waits for approval', async () => {
      const client = await app.client();
      const person = await app.person({ status: 'pending' });
      const browser = flows.browser();
      const login = await browser.open((await flows.start({ client })).url);
      const refused = await browser.submit(login.url.pathname, person);
      expect(refused.response?.status).to.equal(401);
      await app.directory.accounts.approve(person.id);
      expect((await flows.tokens({ client, person, browser })).claims()?.sub).to.equal(person.id);
    });

    it('is not the life of whoever gets the e-mail next', async () => {
      const all = await everything();
      await app.directory.accounts.remove(all.person.id);
      const next = await app.person({ email: all.person.email });
      expect(next.id).not.to.equal(all.person.id);
      await expectDead(all, 'invalid_grant');
      await expectSignedOut(all.browser, all.client);
      const consent = await all.browser.open((await flows.start({ client: all.client })).url);
      expect((await all.browser.submit(consent.url.pathname, next)).text).to.contain('name="decision"');
    });
  });

  describe('of an app', () => {
    const endings: Record<string, (id: string) => Promise<unknown>> = {
      disabled: (id) => app.directory.clients.disable(id),
      deleted: (id) => app.directory.clients.remove(id),
    };
    for (const [ending, end] of Object.entries(endings)) {
      it(`ends at once, on every process, when it is ${ending}; the person stays signed in`, async () => {
        const all = await everything();
        await end(all.client.id);
        await expectDead(all, 'invalid_client');
        const { url } = await flows.start({ client: all.client, params: { prompt: 'none' } });
        expect((await all.browser.open(url)).response?.status).to.equal(400);
        expect((await all.browser.open('/account')).text).to.contain(all.person.email);
      });

      it(`ends the sign-in under way when it is ${ending}, with a page that says so`, async () => {
        const { person, client } = await everything();
        for (const step of ['login', 'consent']) {
          const fresh = await app.client();
          const browser = elsewhere.browser();
          let page = await browser.open((await flows.start({ client: fresh })).url);
          if (step === 'consent') page = await browser.submit(page.url.pathname, person);
          await end(fresh.id);
          const form = step === 'login' ? person : { decision: 'allow' };
          const landing = await browser.submit(page.url.pathname, { ...form });
          expect(landing.url.origin, step).to.equal(app.issuer);
          expect(landing.response?.status, step).to.equal(400);
          expect(titleOf(landing.text), step).not.to.equal('');
        }
        expect(client.id).to.be.a('string');
      });
    }

    it('does not bring anything back when it is enabled again', async () => {
      await app.directory.permissions.create({ name: 'jobs', description: 'Run jobs' });
      const all = await everything();
      const worker = await app.client({ clientCredentials: true, permissions: ['jobs'] });
      const { body } = await flows.post('token', worker, { grant_type: 'client_credentials', scope: 'jobs' });
      for (const { id } of [all.client, worker]) {
        await app.directory.clients.disable(id);
        await app.directory.clients.enable(id);
      }
      await expectDead(all, 'invalid_grant');
      expect(await flows.introspect(api, String(body.access_token))).to.deep.equal({ active: false });
      expect((await flows.tokens({ client: all.client, person: all.person })).claims()?.sub).to.equal(all.person.id);
    });
  });
});
