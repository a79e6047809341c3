/** Signing in with GitHub, GitLab, Google and an OpenID provider, and what becomes of people who come from there. */
import { mock } from 'node:test';
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import type { FakePerson } from '../examples/fake-providers/fake-provider.ts';
import { AppError } from '../src/errors.ts';
import type { NewPeople } from '../src/identity-providers/identity-provider.ts';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from './support/app.ts';
import { type Browser, createBrowser, type Landing } from './support/browser.ts';
import { FAKES_ALLOWED } from './support/exchange.ts';
import { createFlows, type Flows, formOf, titleOf } from './support/flow.ts';
import { type MailServer, startMailServer } from './support/mail.ts';
import {
  agreeThere,
  goThere,
  openLogin,
  type ProviderId,
  type Providers,
  signInWith,
  startProviders,
} from './support/provider-sign-in.ts';

const IDS: readonly ProviderId[] = ['github', 'gitlab', 'google', 'openid'];
const NAMES = { github: 'GitHub', gitlab: 'GitLab', google: 'Google', openid: 'Acme' };
const SCOPES = {
  github: 'user:email',
  gitlab: 'read_user',
  google: 'openid profile email',
  openid: 'openid profile email',
};

/** Who signs in with what at an app's request. */
interface Visit {
  person: FakePerson;
  provider?: ProviderId;
  visitor?: Browser;
  params?: Record<string, string>;
}

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let providers: Providers;
  let mails: MailServer;
  let flows: Flows;
  let client: TestClient;

  before(async () => {
    [store, providers, mails] = await Promise.all([openStore(), startProviders(), startMailServer()]);
    app = await startApp(store, { ...FAKES_ALLOWED, SMTP_URL: mails.url });
    await providers.register(app.directory);
    flows = createFlows(app.issuer);
    client = await app.client({ trusted: true });
  });
  afterEach(() => {
    mock.timers.reset();
    for (const id of IDS) providers[id].misbehave = undefined;
    providers.openid.otherwise = {};
  });
  after(async () => {
    await app.close();
    await Promise.all([providers.close(), mails.stop()]);
    await store.remove();
  });

  const browser = () => createBrowser(app.issuer);
  const pathOf = ({ url }: Landing) => url.pathname;
  const actionOf = (landing: Landing, name: string) => `/interaction/${landing.url.pathname.split('/')[2]}/${name}`;

  /** A person with an account here, linked to theirs at every provider. */
  async function linkedPerson(account: Parameters<TestApp['person']>[0] = {}) {
    const person = providers.somebody();
    const made = await app.person(account);
    for (const identityProviderId of IDS)
      await app.directory.links.add({ identityProviderId, subject: person.subject, accountId: made.id });
    return { person, ...made };
  }

  async function takeNewPeople(newPeople: NewPeople): Promise<void> {
    for (const id of IDS) await app.directory.identityProviders.update(id, { newPeople });
  }

  const accountOf = async (identityProviderId: ProviderId, { subject }: FakePerson) =>
    (await app.directory.links.find({ identityProviderId, subject }))?.accountId;

  async function eventsOf(accountId: string, type: string) {
    const { events } = await app.directory.audit.list({ accountId });
    return events.filter((event) => event.type === type);
  }

  /** Who is signed in, by what the profile page shows. */
  async function emailIn(visitor: Browser): Promise<string | undefined> {
    const { url, text } = await visitor.open('/account');
    return url.pathname === '/account' ? /[\w.+-]+@[\w.-]+\.(example|com)/.exec(text)?.[0] : undefined;
  }

  /** From the app's request, with this provider, to the app's callback. */
  async function authorize({ person, provider = 'github', visitor = browser(), params = {} }: Visit) {
    const { url, request, verifier } = await flows.start({ client, params });
    const there = await goThere(visitor, await openLogin(visitor, url), provider);
    const landing = await visitor.open((await agreeThere(there, person)).href);
    return { landing, request, verifier, there };
  }

  describe('the sign-in page', () => {
    it('has a button for each provider that is set up for it, by its name', async () => {
      const { text } = await openLogin(browser());
      for (const id of IDS) {
        expect(text).to.contain(`Continue with ${NAMES[id]}`);
        expect(text).to.contain(`name="identity_provider" value="${id}"`);
      }
    });

    it('has none for a provider that is disabled, not offered, or without a secret, at the next request', async () => {
      const { identityProviders } = app.directory;
      await identityProviders.create({ id: 'hub2', kind: 'github', clientId: 'x', clientSecret: 'y', name: 'Hub Two' });
      await identityProviders.create({ id: 'bare', kind: 'oidc', issuer: 'https://bare.example', clientId: 'x' });
      const shown = async () => (await openLogin(browser())).text;
      expect(await shown())
        .to.contain('Continue with Hub Two')
        .and.not.to.contain('Continue with bare');
      await identityProviders.update('hub2', { signIn: false });
      expect(await shown()).not.to.contain('Hub Two');
      await identityProviders.update('hub2', { signIn: true });
      expect(await shown()).to.contain('Hub Two');
      await identityProviders.disable('hub2');
      expect(await shown()).not.to.contain('Hub Two');
      const login = await openLogin(browser());
      const refused = await browser().request(actionOf(login, 'provider'), { method: 'POST' });
      expect(refused.status).to.equal(415);
      await identityProviders.remove('hub2');
      await identityProviders.remove('bare');
    });

    it('tells two providers of one name apart', async () => {
      const { identityProviders } = app.directory;
      await identityProviders.create({ id: 'hub3', kind: 'github', clientId: 'x', clientSecret: 'y' });
      const { text } = await openLogin(browser());
      expect(text).to.contain('Continue with GitHub (github)').and.to.contain('Continue with GitHub (hub3)');
      await identityProviders.remove('hub3');
    });

    it('begins ten sign-ins at providers and no more, until somebody comes back from one', async () => {
      const visitor = browser();
      const login = await openLogin(visitor);
      const again = (id: string) => visitor.submit(actionOf(login, 'provider'), { identity_provider: id });
      let there = await goThere(visitor, login, 'github');
      for (let n = 1; n < 10; n++) there = await goThere(visitor, login, n % 2 === 0 ? 'github' : 'openid');
      for (const id of IDS) expect((await again(id)).response?.status, id).to.equal(429);
      const other = browser();
      await goThere(other, await openLogin(other), 'github');
      await visitor.open(
        `${there.searchParams.get('redirect_uri')}?error=access_denied&state=${there.searchParams.get('state')}`,
      );
      await goThere(visitor, login, 'github');
    });

    it('sends nobody to a provider that it does not offer', async () => {
      const visitor = browser();
      const login = await openLogin(visitor);
      for (const id of ['nobody', '__proto__', 'GITHUB ']) {
        const { response } = await visitor.submit(actionOf(login, 'provider'), { identity_provider: id });
        expect(response?.status).to.equal(400);
      }
    });
  });

  describe('somebody whose account is linked', () => {
    for (const provider of IDS) {
      it(`signs in with ${NAMES[provider]}, and it is written down`, async () => {
        const { person, id, email } = await linkedPerson();
        const visitor = browser();
        expect(pathOf(await signInWith({ browser: visitor, person, provider }))).to.equal('/account');
        expect(await emailIn(visitor)).to.equal(email);
        const [event] = await eventsOf(id, 'sign_in');
        expect(event).to.deep.include({ accountId: id, detail: { identity_provider: provider } });
      });
    }

    it('gets on to the app, which learns how they signed in', async () => {
      const { person, id } = await linkedPerson();
      const { landing, verifier } = await authorize({ person });
      expect(landing.url.origin).to.equal('https://app.example.com');
      const code = String(landing.url.searchParams.get('code'));
      const { body } = await flows.redeem(client, { code, verifier });
      expect(decodeJwt(String(body.id_token))).to.deep.include({
        sub: id,
        amr: ['fed'],
        acr: 'urn:latchkey:acr:federated',
      });
    });

    it('is not signed in any more when the provider ends on their way back; who is signed in stays', async () => {
      const { identityProviders } = app.directory;
      const ends: Record<string, (id: string) => Promise<unknown>> = {
        disabled: (id) => identityProviders.disable(id),
        'disabled for a moment': async (id) => {
          await identityProviders.disable(id);
          await identityProviders.enable(id);
        },
        'not for signing in': (id) => identityProviders.update(id, { signIn: false }),
        deleted: (id) => identityProviders.remove(id),
      };
      for (const [name, end] of Object.entries(ends)) {
        const id = `ending-${name.replaceAll(' ', '-')}`;
        await identityProviders.create({
          id,
          kind: 'github',
          baseUrl: providers.github.url,
          clientId: 'latchkey-there',
          clientSecret: 'secret of latchkey there',
        });
        const person = providers.somebody();
        const account = await app.person();
        await app.directory.links.add({ identityProviderId: id, subject: person.subject, accountId: account.id });
        const [inside, late] = [browser(), browser()];
        const comeBack = async (visitor: Browser) => {
          const back = await agreeThere(await goThere(visitor, await openLogin(visitor), id), person);
          let response = await visitor.request(back.href);
          let location = String(response.headers.get('location'));
          while (!location.includes('/identity/authorize/')) {
            response = await visitor.request(location);
            location = String(response.headers.get('location'));
          }
          return location;
        };
        await inside.open(await comeBack(inside));
        expect(await emailIn(inside), name).to.equal(account.email);
        const parked = await comeBack(late);
        await end(id);
        expect((await late.open(parked)).response?.status, name).to.equal(400);
        expect(await emailIn(late), name).to.equal(undefined);
        expect(await emailIn(inside), name).to.equal(account.email);
        if (name !== 'deleted') await identityProviders.remove(id);
      }
    });

    it('asks the provider for no more than it needs, with PKCE, state and nonce of one use', async () => {
      const seen = new Set<string | null>();
      for (const provider of IDS) {
        for (let turn = 0; turn < 2; turn++) {
          const visitor = browser();
          const { searchParams } = await goThere(visitor, await openLogin(visitor), provider);
          expect(searchParams.get('redirect_uri')).to.equal(`${app.issuer}/interaction/callback/${provider}`);
          expect(searchParams.get('code_challenge_method')).to.equal('S256');
          expect(searchParams.get('scope')).to.equal(SCOPES[provider]);
          const secrets = ['state', 'code_challenge', ...(SCOPES[provider].includes('openid') ? ['nonce'] : [])];
          for (const name of secrets) {
            expect(searchParams.get(name)).to.match(/^[\w-]{43}$/);
            expect(seen.has(searchParams.get(name))).to.equal(false);
            seen.add(searchParams.get(name));
          }
        }
      }
    });

    for (const [status, title] of [
      ['pending', 'Your account waits for approval'],
      ['disabled', 'This account is switched off'],
    ] as const) {
      it(`is told so when the account is ${status}, and is not let in`, async () => {
        const { person, id } = await linkedPerson({ status: 'pending' });
        if (status === 'disabled') await app.directory.accounts.disable(id);
        const visitor = browser();
        const landing = await signInWith({ browser: visitor, person });
        expect(landing.response?.status).to.equal(403);
        expect(titleOf(landing.text)).to.equal(title);
        expect(await emailIn(visitor)).to.equal(undefined);
        expect(await eventsOf(id, 'sign_in')).to.deep.equal([]);
        expect((await eventsOf(id, 'sign_in_refused'))[0]?.detail).to.include({ problem: status });
      });
    }
  });

  describe('somebody who is new', () => {
    it('is refused where the provider is set so, and may link an account that is theirs', async () => {
      await takeNewPeople({ policy: 'refuse' });
      const person = providers.somebody();
      const landing = await signInWith({ browser: browser(), person, provider: 'openid' });
      expect(titleOf(landing.text)).to.equal('Link Acme to your account');
      expect(await app.directory.accounts.findByEmail(String(person.email))).to.equal(undefined);
    });

    it('waits for approval where it is set so, and signs in once approved', async () => {
      const { id: organizationId } = await app.directory.organizations.create({ name: 'Harbor' });
      await takeNewPeople({ policy: 'pending', organizationId });
      const person = providers.somebody();
      const visitor = browser();
      const landing = await signInWith({ browser: visitor, person });
      expect(landing.response?.status).to.equal(403);
      expect(titleOf(landing.text)).to.equal('Your account waits for approval');
      const account = await app.directory.accounts.getOrFail(String(person.email));
      expect(account).to.include({ status: 'pending', organizationId, emailVerified: true });
      await app.directory.accounts.approve(account.id);
      expect(pathOf(await signInWith({ browser: visitor, person }))).to.equal('/account');
    });

    for (const provider of IDS) {
      it(`has an account at once where ${NAMES[provider]} is set so, and the same one the next time`, async () => {
        await takeNewPeople({ policy: 'active' });
        const person = providers.somebody({ givenName: 'Ben', familyName: 'Okafor' });
        const visitor = browser();
        expect(pathOf(await signInWith({ browser: visitor, person, provider }))).to.equal('/account');
        const account = await app.directory.accounts.getOrFail(String(person.email));
        expect(account).to.include({ status: 'active' }).and.not.to.have.property('passwordHash', '');
        expect(await accountOf(provider, person)).to.equal(account.id);
        await signInWith({ browser: browser(), person, provider });
        expect(await eventsOf(account.id, 'account_created')).to.have.lengthOf(1);
      });
    }

    it('gets one account, also when the store failed while it was made', async () => {
      await takeNewPeople({ policy: 'active' });
      const { storage } = app.directory;
      const { insert } = storage;
      for (const kind of ['identity-link', 'account']) {
        for (const isWritten of [false, true]) {
          const person = providers.somebody();
          storage.insert = async (key, ...rest) => {
            if (!key.startsWith(`${kind}:`)) return insert.call(storage, key, ...rest);
            if (isWritten) await insert.call(storage, key, ...rest);
            throw new AppError('temporarily_unavailable', 'gone');
          };
          const failed = await signInWith({ browser: browser(), person }).finally(() => {
            storage.insert = insert;
          });
          expect(failed.response?.status, kind).to.equal(503);
          // Long enough for an e-mail whose account was never written to be free again.
          mock.timers.enable({ apis: ['Date'], now: Date.now() + 10_000 });
          expect(pathOf(await signInWith({ browser: browser(), person })), `${kind}, ${isWritten}`).to.equal(
            '/account',
          );
          const account = await app.directory.accounts.getOrFail(String(person.email));
          expect(await accountOf('github', person)).to.equal(account.id);
          mock.timers.reset();
        }
      }
    });

    it('gets no account by an e-mail that the provider has not verified, and learns nothing of whose it is', async () => {
      await takeNewPeople({ policy: 'active' });
      const known = await app.person();
      for (const provider of IDS) {
        const pages = [known.email, 'nobody-here@elsewhere.example'].map(async (email) => {
          const person = providers.somebody({ email, unverified: true, login: 'mallory' });
          const { text } = await signInWith({ browser: browser(), person, provider });
          return text.replaceAll(/\/interaction\/[\w-]+/g, '');
        });
        const [theirs, nobodys] = await Promise.all(pages);
        expect(theirs).to.equal(nobodys);
        expect(theirs).not.to.contain(known.email);
      }
      expect(await app.directory.accounts.findByEmail('nobody-here@elsewhere.example')).to.equal(undefined);
      expect(await app.directory.links.list(known.id)).to.deep.equal([]);
    });
  });

  describe('an e-mail that an account here has', () => {
    /** Somebody who has shown at the provider that the e-mail of an account here is theirs. */
    async function claimant(policy: NewPeople['policy']) {
      await takeNewPeople({ policy });
      const owner = await app.person();
      const person = providers.somebody({ email: owner.email });
      const visitor = browser();
      const page = await signInWith({ browser: visitor, person });
      return { owner, person, visitor, page };
    }

    for (const policy of ['refuse', 'pending', 'active'] as const) {
      it(`links nothing by itself, whatever the provider’s setting: ${policy}`, async () => {
        const { owner, person, visitor, page } = await claimant(policy);
        expect(titleOf(page.text)).to.equal('Link GitHub to your account');
        expect(page.text).to.contain(`There is an account with the e-mail ${owner.email}`);
        expect(await accountOf('github', person)).to.equal(undefined);
        expect(await emailIn(visitor)).to.equal(undefined);
      });
    }

    it('is linked by whoever proves the account by its password, who is signed in and told by mail', async () => {
      const { owner, person, visitor, page } = await claimant('active');
      const { action } = formOf(page.text);
      const landing = await visitor.submit(action, { email: owner.email, password: owner.password });
      expect(pathOf(landing)).to.equal('/account');
      expect(await emailIn(visitor)).to.equal(owner.email);
      expect(await accountOf('github', person)).to.equal(owner.id);
      expect((await eventsOf(owner.id, 'account_linked'))[0]?.detail).to.deep.equal({ identity_provider: 'github' });
      expect(pathOf(await signInWith({ browser: browser(), person }))).to.equal('/account');
      const mail = await mailTo(owner.email);
      expect(mail?.header('Subject')).to.equal('A new way to sign in was added to your account');
      expect(mail?.text).to.contain(person.login).and.to.contain(`${app.issuer}/account/security`);
    });

    it('is not linked by a wrong password, which is counted like any other', async () => {
      const { owner, person, visitor, page } = await claimant('active');
      const { action } = formOf(page.text);
      for (let guess = 0; guess < 5; guess++) {
        const { response, text } = await visitor.submit(action, { email: owner.email, password: 'wrong password' });
        expect(response?.status).to.equal(401);
        expect(titleOf(text)).to.equal('Link GitHub to your account');
      }
      const { response } = await visitor.submit(action, { email: owner.email, password: owner.password });
      expect(response?.status).to.equal(429);
      expect(await accountOf('github', person)).to.equal(undefined);
    });

    it('is linked only in the sign-in in which both were proven', async () => {
      const { owner, person, page } = await claimant('active');
      const other = browser();
      const login = await openLogin(other);
      const form = { email: owner.email, password: owner.password };
      expect((await other.submit(formOf(page.text).action, form)).response?.status).to.equal(400);
      expect((await other.submit(actionOf(login, 'link'), form)).response?.status).to.equal(400);
      expect(await accountOf('github', person)).to.equal(undefined);
    });

    it('is linked only while the provider is one to sign in with', async () => {
      const { identityProviders } = app.directory;
      const { owner, person, visitor, page } = await claimant('active');
      const link = () => visitor.submit(formOf(page.text).action, { email: owner.email, password: owner.password });
      await identityProviders.update('github', { signIn: false });
      expect((await link()).response?.status).to.equal(400);
      await identityProviders.update('github', { signIn: true });
      await identityProviders.disable('github');
      expect((await link()).response?.status).to.equal(400);
      expect(await accountOf('github', person)).to.equal(undefined);
      await identityProviders.enable('github');
      expect(pathOf(await link())).to.equal('/account');
    });

    async function mailTo(address: string) {
      for (let look = 0; look < 50; look++) {
        const found = mails.received.find(({ to }) => to.includes(address));
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return undefined;
    }
  });

  describe('a provider that fails', () => {
    it('leaves the sign-in where it was: a page that says so, and another try that works', async () => {
      const { person, email, password } = await linkedPerson();
      for (const provider of IDS) {
        const visitor = browser();
        const login = await openLogin(visitor);
        const back = await agreeThere(await goThere(visitor, login, provider), person);
        providers[provider].misbehave = (_request, response) => response.writeHead(500).end();
        const failed = await visitor.open(back.href);
        expect(failed.response?.status).to.equal(503);
        expect(failed.response?.headers.get('retry-after')).to.match(/^\d+$/);
        expect(failed.text).to.contain(`${NAMES[provider]} does not answer`);
        providers[provider].misbehave = undefined;
        const again = await agreeThere(await goThere(visitor, login, provider), person);
        expect(pathOf(await visitor.open(again.href))).to.equal('/account');
      }
      providers.github.misbehave = (_request, response) => response.writeHead(500).end();
      const visitor = browser();
      const back = await agreeThere(await goThere(visitor, await openLogin(visitor), 'openid'), person);
      providers.openid.misbehave = (_request, response) => response.writeHead(200).end('<html>');
      const failed = await visitor.open(back.href);
      const landing = await visitor.submit(`/interaction/${failed.url.pathname.split('/')[2]}`, { email, password });
      expect(pathOf(landing)).to.equal('/account');
    });

    it('at codes that somebody made up goes on for everybody else, and is asked about no more than 30 of them', async () => {
      const { person } = await linkedPerson();
      const { openid } = providers;
      openid.misbehave = undefined;
      const statuses: number[] = [];
      for (let n = 0; n < 8; n++) {
        const visitor = browser();
        const back = await agreeThere(await goThere(visitor, await openLogin(visitor), 'openid'), person);
        back.searchParams.set('code', `made-up-${n}`);
        openid.misbehave = (_request, response) => response.writeHead(_request.url === '/' ? 404 : 500).end();
        statuses.push((await visitor.open(back.href)).response?.status ?? 0);
        openid.misbehave = undefined;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      expect(new Set(statuses)).to.deep.equal(new Set([503]));
      const visitor = browser();
      const back = await agreeThere(await goThere(visitor, await openLogin(visitor), 'openid'), person);
      expect(pathOf(await visitor.open(back.href))).to.equal('/account');
    });

    it('that never answers is waited for a few seconds', async () => {
      const person = providers.somebody();
      const visitor = browser();
      const back = await agreeThere(await goThere(visitor, await openLogin(visitor), 'github'), person);
      providers.github.misbehave = () => undefined;
      const startedAt = Date.now();
      expect((await visitor.open(back.href)).response?.status).to.equal(503);
      expect(Date.now() - startedAt).to.be.lessThan(7_000);
    }).timeout(15_000);

    it('whose metadata are another issuer’s, or lead to where nothing may be reached, is not gone to', async () => {
      const { identityProviders } = app.directory;
      const credentials = { clientId: 'x', clientSecret: 'y' };
      await identityProviders.create({ id: 'liar', kind: 'oidc', issuer: `${providers.google.url}/`, ...credentials });
      await identityProviders.create({ id: 'inside', kind: 'oidc', issuer: 'http://10.255.255.1', ...credentials });
      for (const id of ['liar', 'inside']) {
        const visitor = browser();
        const login = await openLogin(visitor);
        const landing = await visitor.submit(actionOf(login, 'provider'), { identity_provider: id });
        expect(landing.response?.status).to.equal(503);
        expect(landing.text).to.contain(`${id} does not answer`);
        await identityProviders.remove(id);
      }
    });

    it('that does not take our secret is named in the audit trail, with what it says', async () => {
      const { identityProviders, audit } = app.directory;
      for (const [id, kind] of [
        ['hub4', { kind: 'github', baseUrl: providers.github.url }],
        ['lab4', { kind: 'gitlab', baseUrl: providers.gitlab.url }],
        ['corp4', { kind: 'oidc', issuer: providers.openid.url }],
      ] as const) {
        const own = { clientId: 'latchkey-there', clientSecret: 'wrong' };
        await identityProviders.create({ id, ...kind, ...own });
        const visitor = browser();
        const there = await goThere(visitor, await openLogin(visitor), id as ProviderId);
        const landing = await visitor.open((await agreeThere(there, providers.somebody())).href);
        expect(landing.response?.status).to.equal(400);
        // Not the newest by its time: other tests have set the clock ahead.
        const { events } = await audit.list({ limit: 1_000 });
        const ofProvider = events.filter(({ detail }) => detail?.identity_provider === id);
        const event = ofProvider.find(({ type }) => type === 'sign_in_refused');
        expect(event?.detail?.problem).to.match(id === 'hub4' ? /access_token/ : /invalid_client/);
        await identityProviders.remove(id);
      }
    });

    it('where the person says no is no failure: the sign-in page again', async () => {
      for (const provider of IDS) {
        const visitor = browser();
        const there = await goThere(visitor, await openLogin(visitor), provider);
        const response = await fetch(`${there}&cancel=yes`, { redirect: 'manual' });
        const landing = await visitor.open(String(response.headers.get('location')));
        expect(landing.response?.status).to.equal(200);
        expect(landing.text).to.contain('You are not signed in yet').and.to.contain(`Continue with ${NAMES[provider]}`);
        const reloaded = await visitor.open(landing.url.href);
        expect(reloaded.response?.status).to.equal(400);
        expect(reloaded.text).to.contain('Please start again').and.to.contain(`Continue with ${NAMES[provider]}`);
      }
    });
  });

  describe('being asked again', () => {
    for (const params of [{ prompt: 'login' }, { max_age: '60' }] as Record<string, string>[]) {
      const name = Object.entries(params).join().replace(',', '=');

      it(`with ${name} is done by the provider that can, and checked`, async () => {
        const { person } = await linkedPerson();
        const { landing, there } = await authorize({ person, provider: 'openid', params });
        expect(Object.fromEntries(there.searchParams)).to.include({ prompt: 'login', max_age: '0' });
        expect(landing.url.searchParams.get('code')).to.be.a('string');
      });

      it(`with ${name} is not taken from a provider that has not asked`, async () => {
        const { person, id } = await linkedPerson();
        for (const auth_time of [Math.floor(Date.now() / 1000) - 3600, undefined]) {
          providers.openid.otherwise = { auth_time };
          const { landing } = await authorize({ person, provider: 'openid', params });
          expect(landing.response?.status).to.equal(400);
          expect(landing.text).to.contain('Acme did not ask you again');
        }
        expect(await eventsOf(id, 'sign_in')).to.deep.equal([]);
      });

      it(`with ${name} is not done by GitHub, GitLab or Google, which cannot`, async () => {
        const { url } = await flows.start({ client, params });
        const visitor = browser();
        const login = await openLogin(visitor, url);
        expect(login.text).to.contain('Continue with Acme').and.not.to.contain('Continue with GitHub');
        expect(login.text).to.contain('GitHub, GitLab, and Google cannot be asked for that');
        for (const identity_provider of ['github', 'gitlab', 'google']) {
          const { response } = await visitor.submit(actionOf(login, 'provider'), { identity_provider });
          expect(response?.status).to.equal(400);
        }
      });
    }

    it('is not begun where a password is the only thing that will do', async () => {
      const claims = JSON.stringify({ id_token: { acr: { essential: true, value: 'urn:latchkey:acr:password' } } });
      const { url } = await flows.start({ client, params: { claims } });
      expect((await openLogin(browser(), url)).text).not.to.contain('Continue with');
    });
  });
});
