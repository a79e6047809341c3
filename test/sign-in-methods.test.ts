/** The sign-in methods in the account console: what is linked, linking another one, and unlinking. */
import { mock } from 'node:test';
import { expect } from 'chai';
import type { FakePerson } from '../examples/fake-providers/fake-provider.ts';
import { AppError } from '../src/errors.ts';
import { onEachEngine, startApp, startProcess, type TestApp, type TestProcess, type TestStore } from './support/app.ts';
import { type Browser, createBrowser, type Landing } from './support/browser.ts';
import { FAKES_ALLOWED } from './support/exchange.ts';
import { holdWrite } from './support/faulty-writes.ts';
import { formOf, titleOf } from './support/flow.ts';
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

const SECURITY = '/account/security';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let other: TestProcess;
  let providers: Providers;
  let mails: MailServer;

  before(async () => {
    [store, providers, mails] = await Promise.all([openStore(), startProviders(), startMailServer()]);
    const settings = { ...FAKES_ALLOWED, SMTP_URL: mails.url };
    app = await startApp(store, settings);
    other = await startProcess(store, { ...settings, ISSUER: app.issuer });
    await providers.register(app.directory);
    await app.directory.identityProviders.update('github', { newPeople: { policy: 'active' } });
    await app.directory.identityProviders.update('openid', { newPeople: { policy: 'active' } });
  });
  afterEach(() => {
    mock.timers.reset();
    providers.github.misbehave = undefined;
  });
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await Promise.all([providers.close(), mails.stop()]);
    await store.remove();
  });

  interface Somebody {
    id: string;
    email: string;
    browser: Browser;
  }

  async function signedIn(): Promise<Somebody & { password: string }> {
    const made = await app.person();
    return { ...made, browser: await signIn(made) };
  }

  async function signIn({ email, password }: { email: string; password: string }): Promise<Browser> {
    const browser = createBrowser(app.issuer);
    const landing = await browser.submit((await openLogin(browser, SECURITY)).url.pathname, { email, password });
    expect(landing.url.pathname).to.equal(SECURITY);
    return browser;
  }

  /** Somebody whose only way in is a provider. */
  async function without(provider: ProviderId = 'github'): Promise<Somebody & { person: FakePerson }> {
    const person = providers.somebody();
    const browser = createBrowser(app.issuer);
    await signInWith({ browser, person, provider, path: SECURITY });
    const { id, email } = await app.directory.accounts.getOrFail(String(person.email));
    return { id, email, browser, person };
  }

  async function link(browser: Browser, person: FakePerson, provider: ProviderId = 'github'): Promise<Landing> {
    const { url } = await browser.submit(`${SECURITY}/link/${provider}`, {});
    return browser.open((await agreeThere(url, person)).href);
  }

  const linksOf = async ({ id }: { id: string }) =>
    (await app.directory.links.list(id)).map(({ identityProviderId }) => identityProviderId);

  const unlinkPaths = ({ text }: { text: string }) =>
    [...text.matchAll(/\/account\/security\/unlink\/[\w-]+/g)].map(([path]) => path);

  async function eventOf({ id }: { id: string }, type: string) {
    const { events } = await app.directory.audit.list({ accountId: id });
    return events.find((event) => event.type === type);
  }

  async function mailTo(address: string, subject: RegExp) {
    for (let look = 0; look < 50; look++) {
      const found = mails.received.find(
        ({ to, header }) => to.includes(address) && subject.test(header('Subject') ?? ''),
      );
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return undefined;
  }

  it('lists what is linked, with what one is called there, and offers what may be', async () => {
    const somebody = await signedIn();
    const before = await somebody.browser.open(SECURITY);
    expect(unlinkPaths(before)).to.deep.equal([]);
    for (const name of ['GitHub', 'Google', 'Acme']) expect(before.text).to.contain(`Link ${name}`);
    const person = providers.somebody();
    const landing = await link(somebody.browser, person);
    expect(landing.url.pathname).to.equal(SECURITY);
    expect(landing.text).to.contain('It is linked.').and.to.contain(person.login).and.to.contain('linked since');
    expect(unlinkPaths(landing)).to.have.lengthOf(1);
  });

  it('links each provider: it signs in at once, in another process too; a mail and an event say so', async () => {
    const somebody = await signedIn();
    for (const provider of ['github', 'gitlab', 'google', 'openid'] as const) {
      const person = providers.somebody();
      await link(somebody.browser, person, provider);
      expect(
        (await app.directory.links.find({ identityProviderId: provider, subject: person.subject }))?.accountId,
      ).to.equal(somebody.id);
      const elsewhere = createBrowser(app.issuer, other.url);
      expect((await signInWith({ browser: elsewhere, person, provider })).url.pathname).to.equal('/account');
    }
    expect(await eventOf(somebody, 'account_linked')).to.deep.include({ detail: { identity_provider: 'openid' } });
    const mail = await mailTo(somebody.email, /new way to sign in/);
    expect(mail?.text).to.contain(`${app.issuer}${SECURITY}`).and.not.to.contain('API token');
    expect(mail?.html).to.contain('Open your security settings');
  });

  it('lets people choose among the accounts they have at GitHub or Google', async () => {
    const somebody = await signedIn();
    for (const [provider, prompt] of [
      ['github', 'select_account'],
      ['gitlab', null],
      ['google', 'select_account'],
      ['openid', null],
    ]) {
      const { url } = await somebody.browser.submit(`${SECURITY}/link/${provider}`, {});
      expect(url.searchParams.get('prompt')).to.equal(prompt);
    }
  });

  it('links nobody who has another account here, and says so', async () => {
    const [one, two] = [await signedIn(), await signedIn()];
    const person = providers.somebody();
    await link(one.browser, person);
    const landing = await link(two.browser, person);
    expect(landing.response?.status).to.equal(409);
    expect(landing.text).to.contain('is linked to another account here');
    expect(await linksOf(two)).to.deep.equal([]);
    expect(await linksOf(one)).to.deep.equal(['github']);
  });

  it('links one of two accounts that link the same person at the same time', async () => {
    const people = await Promise.all([signedIn(), signedIn()]);
    const person = providers.somebody();
    const backs = await Promise.all(
      people.map(async ({ browser }) => agreeThere((await browser.submit(`${SECURITY}/link/github`, {})).url, person)),
    );
    const landings = await Promise.all(people.map(({ browser }, index) => browser.open(String(backs[index]))));
    expect(landings.map(({ response }) => response?.status).sort()).to.deep.equal([200, 409]);
    expect((await Promise.all(people.map(linksOf))).flat()).to.deep.equal(['github']);
  });

  it('wants a recent sign-in, for linking and for unlinking', async () => {
    const somebody = await signedIn();
    await link(somebody.browser, providers.somebody());
    const [path = ''] = unlinkPaths(await somebody.browser.open(SECURITY));
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 11 * 60 * 1000 });
    for (const wanted of [path, `${SECURITY}/link/openid`]) {
      for (const landing of [await somebody.browser.open(wanted), await somebody.browser.submit(wanted, {})])
        expect(landing.text).to.contain('please enter your password again');
    }
    expect(await linksOf(somebody)).to.deep.equal(['github']);
  });

  it('says when the provider does not answer, or the person says no, and links nothing', async () => {
    const somebody = await signedIn();
    const { url } = await somebody.browser.submit(`${SECURITY}/link/github`, {});
    const no = await fetch(`${url}&cancel=yes`, { redirect: 'manual' });
    const cancelled = await somebody.browser.open(String(no.headers.get('location')));
    expect(cancelled.text).to.contain('was cancelled');
    const again = await somebody.browser.submit(formOf(cancelled.text.slice(cancelled.text.indexOf('<h1'))).action, {});
    const back = await agreeThere(again.url, providers.somebody());
    providers.github.misbehave = (_request, response) => response.writeHead(500).end();
    const failed = await somebody.browser.open(back.href);
    expect(failed.response?.status).to.equal(503);
    expect(failed.text).to.contain('GitHub does not answer');
    expect(await linksOf(somebody)).to.deep.equal([]);
  });

  it('unlinks: it signs nobody in any more, the other sessions end, and a mail and an event say so', async () => {
    const somebody = await signedIn();
    const person = providers.somebody();
    await link(somebody.browser, person);
    const elsewhere = createBrowser(app.issuer, other.url);
    await signInWith({ browser: elsewhere, person });
    expect((await elsewhere.open('/account')).url.pathname).to.equal('/account');
    const [path = ''] = unlinkPaths(await somebody.browser.open(SECURITY));
    expect(titleOf((await somebody.browser.open(path)).text)).to.equal('Unlink GitHub?');
    const landing = await somebody.browser.submit(path, {});
    expect(landing.url.pathname).to.equal(SECURITY);
    expect(landing.text).to.contain('It is unlinked');
    expect(await linksOf(somebody)).to.deep.equal([]);
    expect((await elsewhere.open('/account')).url.pathname).to.match(/^\/interaction\//);
    expect((await somebody.browser.open('/account')).url.pathname).to.equal('/account');
    expect(await eventOf(somebody, 'account_unlinked')).to.deep.include({ detail: { identity_provider: 'github' } });
    expect(await mailTo(somebody.email, /was removed/)).not.to.equal(undefined);
    await app.directory.identityProviders.update('github', { newPeople: { policy: 'refuse' } });
    const stranger = await signInWith({ browser: createBrowser(app.issuer), person });
    await app.directory.identityProviders.update('github', { newPeople: { policy: 'active' } });
    expect(titleOf(stranger.text)).to.equal('Link GitHub to your account');
  });

  it('ends the other sessions also when the store fails as it unlinks, and so cannot be asked again', async () => {
    const somebody = await signedIn();
    const person = providers.somebody();
    await link(somebody.browser, person);
    const elsewhere = createBrowser(app.issuer);
    await signInWith({ browser: elsewhere, person });
    const [path = ''] = unlinkPaths(await somebody.browser.open(SECURITY));
    const { storage } = app.directory;
    const remove = storage.delete;
    storage.delete = async (key) => {
      const isDeleted = await remove.call(storage, key);
      if (key.startsWith('identity-link:')) throw new AppError('temporarily_unavailable', 'gone after this write');
      return isDeleted;
    };
    const failed = await somebody.browser.submit(path, {}).finally(() => {
      storage.delete = remove;
    });
    expect(failed.response?.status).to.equal(503);
    expect(await linksOf(somebody)).to.deep.equal([]);
    expect((await elsewhere.open('/account')).url.pathname).to.match(/^\/interaction\//);
  });

  it('links nobody whose sign-in has ended by the time they are back, wherever that is held', async () => {
    for (let n = 1; ; n++) {
      const somebody = await signedIn();
      const person = providers.somebody();
      const { url } = await somebody.browser.submit(`${SECURITY}/link/github`, {});
      const back = await agreeThere(url, person);
      const hold = holdWrite(app.directory.storage, n, (key) => key.startsWith('identity-link:'));
      const linking = somebody.browser.open(back.href);
      const isHeld = await Promise.race([hold.reached.then(() => true), linking.then(() => false)]);
      if (isHeld) await app.directory.accounts.endProven(somebody.id, 'sign-ins');
      hold.release();
      const landing = await linking;
      const link = await app.directory.links.find({ identityProviderId: 'github', subject: person.subject });
      if (!isHeld) {
        expect(link?.accountId).to.equal(somebody.id);
        return;
      }
      // What was linked before the end, and only waits to be used, stays linked.
      if (n > 1) continue;
      expect([landing.response?.status, link]).to.deep.equal([401, undefined]);
      expect(await linksOf(somebody)).to.deep.equal([]);
    }
  });

  it('links nobody who was sent there before something ended, although the session itself goes on', async () => {
    const somebody = await signedIn();
    const { url } = await somebody.browser.submit(`${SECURITY}/link/github`, {});
    const back = await agreeThere(url, providers.somebody());
    await somebody.browser.submit('/account/sessions/end-others', {});
    const landing = await somebody.browser.open(back.href);
    expect(landing.response?.status).to.equal(400);
    expect(await linksOf(somebody)).to.deep.equal([]);
    expect((await somebody.browser.open('/account')).url.pathname).to.equal('/account');
  });

  it('unlinks nothing of anybody else’s', async () => {
    const [owner, stranger] = [await signedIn(), await signedIn()];
    await link(owner.browser, providers.somebody());
    const [path = ''] = unlinkPaths(await owner.browser.open(SECURITY));
    expect((await stranger.browser.open(path)).response?.status).to.equal(404);
    expect((await stranger.browser.submit(path, {})).response?.status).to.equal(404);
    expect(await linksOf(owner)).to.deep.equal(['github']);
  });

  it('keeps the only way in, also when another provider is linked that lets nobody in', async () => {
    const { identityProviders } = app.directory;
    const somebody = await without();
    const [path = ''] = unlinkPaths(await somebody.browser.open(SECURITY));
    const refused = async () => {
      const { response, text } = await somebody.browser.submit(path, {});
      expect(response?.status).to.equal(409);
      expect(text).to.contain('the only way to sign in');
    };
    await refused();
    await link(somebody.browser, providers.somebody(), 'openid');
    await identityProviders.disable('openid');
    await refused();
    await identityProviders.enable('openid');
    await identityProviders.update('openid', { signIn: false });
    await refused();
    await identityProviders.update('openid', { signIn: true });
    expect((await somebody.browser.submit(path, {})).response?.status).to.equal(200);
    expect(await linksOf(somebody)).to.deep.equal(['openid']);
  });

  it('keeps one of two ways in that are removed at the same time in two processes', async () => {
    for (let turn = 0; turn < 3; turn++) {
      const somebody = await without();
      await link(somebody.browser, providers.somebody(), 'openid');
      const paths = unlinkPaths(await somebody.browser.open(SECURITY));
      expect(paths).to.have.lengthOf(2);
      const cookie = somebody.browser
        .cookies()
        .filter(({ path }) => path === '/')
        .map(({ name, value }) => `${name}=${value}`)
        .join('; ');
      const origins = [app.issuer, other.url];
      const answers = await Promise.all(
        paths.map((path, index) =>
          fetch(`${origins[index]}${path}`, {
            method: 'POST',
            redirect: 'manual',
            headers: { cookie, origin: app.issuer, accept: 'text/html' },
            body: new URLSearchParams(),
          }),
        ),
      );
      expect(answers.map(({ status }) => status).sort()).to.deep.equal([303, 409]);
      expect(await linksOf(somebody)).to.have.lengthOf(1);
    }
  });

  it('offers to sign out to whoever has no password and a provider that cannot ask again', async () => {
    const somebody = await without();
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 11 * 60 * 1000 });
    const landing = await somebody.browser.open(`${SECURITY}/link/openid`);
    expect(landing.text).to.contain('Without a password, sign out and sign in again.');
    expect(landing.text).to.contain('Continue with Acme').and.not.to.contain('Continue with GitHub');
    const signOut = await somebody.browser.open('/identity/logout');
    expect(landing.text).to.contain('href="/identity/logout"');
    await somebody.browser.submit(formOf(signOut.text).action, { ...formOf(signOut.text).fields, logout: 'yes' });
    const again = await signInWith({
      browser: somebody.browser,
      person: somebody.person,
      path: `${SECURITY}/link/openid`,
    });
    expect(titleOf(again.text)).to.equal('Link Acme');
  });

  it('of an OpenID provider confirms anew who one is, by signing in there again', async () => {
    const somebody = await without('openid');
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 11 * 60 * 1000 });
    const login = await openLogin(somebody.browser, `${SECURITY}/link/github`);
    const there = await goThere(somebody.browser, login, 'openid');
    expect(there.searchParams.get('prompt')).to.equal('login');
    const landing = await somebody.browser.open((await agreeThere(there, somebody.person)).href);
    expect(titleOf(landing.text)).to.equal('Link GitHub');
  });
});
