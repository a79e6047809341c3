import { mock } from 'node:test';
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import { AppError } from '../../src/errors.ts';
import { cookieName } from '../../src/oidc/cookie-name.ts';
import { onEachEngine, PASSWORD, startApp, type TestApp, type TestStore } from '../support/app.ts';
import type { Browser, Landing } from '../support/browser.ts';
import { createFlows, type Flows, formOf, fragmentOf, OFFLINE, titleOf, walk } from '../support/flow.ts';
import {
  arrive,
  ask,
  askAsPartner,
  type Fields,
  formFields,
  loginPath,
  type Partner,
  type PartnerOptions,
  partnerApp,
  ssoToken,
} from '../support/partner.ts';

const REDIRECT_URI = 'https://portal.example.com/callback';
const ACR = 'urn:latchkey:acr:sso';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  /** An app of a partner with both flows; it may give `users` and `reports`. */
  let partner: Partner;
  let people = 0;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    for (const name of ['users', 'reports', 'settings'])
      await app.directory.permissions.create({ name, description: `May use ${name}` });
    partner = await newPartner();
  });
  afterEach(() => mock.timers.reset());
  after(async () => {
    await app.close();
    await store.remove();
  });

  const newPartner = (options: PartnerOptions = {}) =>
    partnerApp(app.directory, {
      redirectUris: [REDIRECT_URI],
      implicit: true,
      permissions: ['users', 'reports'],
      ...options,
    });

  /** Somebody whom nobody here knows yet. */
  function user(more: Fields = {}): Fields & { email: string } {
    people += 1;
    return { email: `user${people}@partner.example`, first_name: 'Uma', last_name: 'User', ...more };
  }

  const accountOf = ({ email }: { email: string }) => app.directory.accounts.findByEmail(email);
  const tokenFor = (person: Fields, who = partner) => ssoToken(app.issuer, who, person);
  const cookie = () => cookieName(app.issuer, 'latchkey');
  const sessionCookie = (browser: Browser) => browser.cookies().find(({ name }) => name === cookie())?.value;
  const sessionsOf = async (person: { email: string }) =>
    app.directory.sessions.list(String((await accountOf(person))?.id));

  const cookiesOf = (browser: Browser) =>
    browser
      .cookies()
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');

  /** Whether whoever has these cookies is somebody. */
  async function isSignedIn(cookie: string): Promise<boolean> {
    return (await fetch(`${app.issuer}/account`, { redirect: 'manual', headers: { cookie } })).status === 200;
  }

  /** A browser that a partner has signed its user in to. */
  async function signedIn(person: Fields & { email: string }, who = partner): Promise<Browser> {
    const browser = flows.browser();
    const landing = await arrive(browser, loginPath(await tokenFor(person, who)));
    expect(landing.url.pathname).to.equal('/account');
    return browser;
  }

  const IMPLICIT = { response_type: 'id_token token', redirect_uri: REDIRECT_URI, nonce: 'a nonce', state: 'a state' };

  /** Where an authorization request of the app leads that must not show a page. */
  function silently(browser: Browser, params: Fields = {}, who = partner): Promise<Landing> {
    const request = { ...IMPLICIT, scope: 'openid profile email', prompt: 'none', ...params };
    return browser.open(flows.authorizeUrl(who, request));
  }

  /** The whole of the other door: one request with the token, from a browser that has no cookies. */
  async function atOnce(person: Fields, params: Fields = {}, browser = flows.browser()): Promise<Landing> {
    const request = { ...IMPLICIT, scope: 'openid profile email', sso_token: await tokenFor(person), ...params };
    return browser.open(flows.authorizeUrl(partner, request));
  }

  const idTokenOf = ({ url }: Landing) => decodeJwt(String(fragmentOf(url).get('id_token')));

  describe("giosg's sequence", () => {
    it('makes the person in the organization, signs the browser in, and completes the implicit flow silently', async () => {
      const person = user({ permissions: 'users reports' });
      const answer = await askAsPartner(app.issuer, 'token', partner, person);
      expect(answer.status).to.equal(200);
      expect(answer.headers.get('content-type')).to.match(/^application\/json/);
      expect(answer.headers.get('cache-control')).to.equal('no-store');
      expect(answer.body).to.include({ token_type: 'N_A', expires_in: 60 });
      expect(answer.body.access_token).to.match(/^lk_sso_[0-9A-Za-z]{36}$/);
      const account = await accountOf(person);
      expect(account).to.deep.include({
        givenName: 'Uma',
        familyName: 'User',
        organizationId: partner.organizationId,
        permissions: ['users', 'reports'],
        status: 'active',
        administrator: false,
        emailVerified: false,
      });

      const browser = flows.browser();
      const before = Math.floor(Date.now() / 1000);
      const path = loginPath(String(answer.body.access_token), 'https://portal.example.com/welcome');
      const landing = await arrive(browser, path);
      expect(landing.url.href).to.equal('https://portal.example.com/welcome');
      const done = await silently(browser, { scope: 'openid profile email users' });
      const claims = idTokenOf(done);
      expect(claims).to.deep.include({
        sub: account?.id,
        aud: [partner.id],
        email: person.email,
        given_name: 'Uma',
        organization: { id: partner.organizationId, name: 'Acme' },
        nonce: 'a nonce',
        amr: ['sso'],
        acr: ACR,
      });
      expect(claims.auth_time).to.be.within(before, Math.floor(Date.now() / 1000));
      const userinfo = await flows.userinfo(String(fragmentOf(done.url).get('access_token')));
      expect(await userinfo.json()).to.include({ sub: account?.id, email: person.email });
    });

    it('completes the code flow silently as well', async () => {
      const person = user();
      const browser = await signedIn(person);
      const { url, request, verifier } = await flows.start({ client: partner, params: { prompt: 'none' } });
      const { url: callback } = await browser.open(url);
      expect(callback.searchParams.get('state')).to.equal(request.state);
      const { status, body } = await flows.redeem(partner, {
        code: String(callback.searchParams.get('code')),
        verifier,
      });
      expect(status).to.equal(200);
      const claims = decodeJwt(String(body.id_token));
      expect(claims).to.deep.include({ sub: (await accountOf(person))?.id, amr: ['sso'], acr: ACR });
    });

    it('takes an urlencoded form and HTTP Basic as well', async () => {
      const person = user();
      const url = `${app.issuer}/sso/token`;
      const urlencoded = await ask(url, { body: new URLSearchParams(formFields(partner, person)) });
      expect(urlencoded.status).to.equal(200);
      const { client_id: _, client_secret: __, ...fields } = formFields(partner, person);
      const authorization = `Basic ${Buffer.from(`${partner.id}:${partner.secret}`).toString('base64')}`;
      for (const body of [new URLSearchParams(fields), new URLSearchParams({ ...fields, client_id: partner.id })]) {
        const basic = await ask(url, { headers: { authorization }, body });
        expect(basic.status).to.equal(200);
        expect((await arrive(flows.browser(), loginPath(String(basic.body.access_token)))).url.pathname).to.equal(
          '/account',
        );
      }
    });

    it('knows the same person again by the e-mail in any case, and their new name', async () => {
      const person = user();
      await tokenFor(person);
      const first = await accountOf(person);
      await tokenFor({ ...person, email: person.email.toUpperCase(), first_name: 'Ulla' });
      expect(await accountOf(person)).to.include({ id: first?.id, givenName: 'Ulla', familyName: 'User' });
      await tokenFor({ email: person.email, first_name: ' ' });
      expect(await accountOf(person)).to.include({ id: first?.id, givenName: 'Ulla', familyName: 'User' });
    });
  });

  describe('permissions', () => {
    const held = async (person: { email: string }) => (await accountOf(person))?.permissions.toSorted();

    it('that the app gave it can take back; those that others gave stay', async () => {
      const person = user();
      await app.person({
        email: person.email,
        organizationId: partner.organizationId,
        permissions: ['settings', 'reports'],
      });
      await tokenFor({ ...person, permissions: 'users reports' });
      expect(await held(person)).to.deep.equal(['reports', 'settings', 'users']);
      await tokenFor(person);
      expect(await held(person)).to.deep.equal(['reports', 'settings', 'users']);
      await tokenFor({ ...person, permissions: '' });
      expect(await held(person)).to.deep.equal(['reports', 'settings']);
    });

    it('that an administrator has taken away come back only when the app gives them again', async () => {
      const person = user({ permissions: 'users' });
      await tokenFor(person);
      const { id = '' } = (await accountOf(person)) ?? {};
      await app.directory.accounts.update(id, { permissions: [] });
      await tokenFor({ email: person.email });
      expect(await held(person)).to.deep.equal([]);
      await tokenFor(person);
      expect(await held(person)).to.deep.equal(['users']);
    });

    it('can be taken back also when they were given as the store failed', async () => {
      const { storage } = app.directory;
      const { insert, update } = storage;
      const goneAfter =
        <Rest extends unknown[], Result>(write: (key: string, ...rest: Rest) => Promise<Result>) =>
        async (key: string, ...rest: Rest) => {
          const written = await write(key, ...rest);
          if (key.startsWith('account:')) throw new AppError('temporarily_unavailable', 'gone after this write');
          return written;
        };
      const failing = { insert: goneAfter(insert), update: goneAfter(update) };
      for (const verb of ['insert', 'update'] as const) {
        const person = user({ permissions: 'users' });
        Object.assign(storage, { [verb]: failing[verb] });
        const { status } = await askAsPartner(app.issuer, 'token', partner, person);
        Object.assign(storage, { insert, update });
        expect(status, verb).to.equal(503);
        await tokenFor({ email: person.email, permissions: '' });
        expect(await held(person), verb).to.deep.equal([]);
        await tokenFor(person);
        expect(await held(person), verb).to.deep.equal(['users']);
      }
    });

    it('beyond the ceiling are refused by name, and nothing is written', async () => {
      const narrow = await newPartner({
        organizationId: partner.organizationId,
        permissions: ['users'],
        sso: { permissions: ['users', 'reports'] },
      });
      const person = user();
      for (const permissions of ['settings', 'users reports', 'tokens', 'openid', 'users\tusers,reports']) {
        const { status, body } = await askAsPartner(app.issuer, 'token', narrow, { ...person, permissions });
        expect([status, body.error], permissions).to.deep.equal([400, 'invalid_scope']);
      }
      expect(await accountOf(person)).to.equal(undefined);
      await tokenFor({ ...person, permissions: ' users  users ' }, narrow);
      expect(await held(person)).to.deep.equal(['users']);
    });
  });

  describe('the session', () => {
    it('has another id than before, and goes on when the same person arrives again', async () => {
      const person = user();
      const browser = flows.browser();
      await walk(browser, flows.authorizeUrl(partner, { ...IMPLICIT, scope: 'openid' }), { email: '', password: '' });
      const anonymous = sessionCookie(browser);
      await arrive(browser, loginPath(await tokenFor(person)));
      const first = sessionCookie(browser);
      expect(first).to.be.a('string').and.not.equal(anonymous);
      const ofFirst = cookiesOf(browser);
      expect(await isSignedIn(ofFirst)).to.equal(true);
      const [session] = await sessionsOf(person);

      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const earlier = idTokenOf(await silently(browser));
      mock.timers.tick(5_000);
      await arrive(browser, loginPath(await tokenFor(person)));
      expect(sessionCookie(browser)).to.be.a('string').and.not.equal(first);
      const now = await sessionsOf(person);
      expect(now.map(({ uid }) => uid)).to.deep.equal([session?.uid]);
      const later = idTokenOf(await silently(browser));
      expect(Number(later.auth_time)).to.be.at.least(Number(earlier.auth_time) + 5);
      expect(await isSignedIn(ofFirst), 'the id of before').to.equal(false);
    });

    it('satisfies max_age as long as it is young enough', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const browser = await signedIn(user());
      mock.timers.tick(10_000);
      expect(fragmentOf((await silently(browser, { max_age: '60' })).url).get('error')).to.equal(null);
      mock.timers.tick(60_000);
      expect(fragmentOf((await silently(browser, { max_age: '60' })).url).get('error')).to.equal('login_required');
    });

    it('is listed with the app that began it, and so is the sign-in in the audit trail', async () => {
      const person = user();
      const browser = await signedIn(person);
      expect((await browser.open('/account/sessions')).text).to.contain('Acme Portal');
      const apps = await browser.open('/account/apps');
      expect(apps.text).to.contain('Acme Portal').and.contain('127.0.0.1');
      const { events } = await app.directory.audit.list({ accountId: String((await accountOf(person))?.id) });
      const signIns = events.filter(({ type }) => type === 'partner_sign_in');
      expect(signIns).to.have.length(1);
      expect(signIns[0]).to.include({ clientId: partner.id, address: '127.0.0.1' });
    });

    it('is no proof for what wants a recent one of somebody with a password', async () => {
      const person = user();
      await app.person({ email: person.email, organizationId: partner.organizationId });
      const browser = await signedIn(person);
      const { url } = await browser.open('/account/tokens/new');
      expect(url.pathname).to.match(/^\/interaction\//);
    });

    it('makes nothing that would outlive the word of the app, by a page, the API or another app', async () => {
      const person = user();
      const browser = await signedIn(person);
      for (const path of ['/account/tokens/new', '/account/tokens/new?description=x']) {
        const page = await browser.open(path);
        expect([page.response?.status, titleOf(page.text)]).to.deep.equal([403, 'This wants a sign-in of your own']);
        expect((await browser.submit(path, { description: 'x', form: 'x' })).response?.status).to.equal(403);
      }
      const make = (headers: Fields) => ({
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json', ...headers },
        body: JSON.stringify({ description: 'for a script' }),
      });
      const bySession = await browser.request('/api/tokens', make({}));
      expect([bySession.status, ((await bySession.json()) as Fields).error]).to.deep.equal([401, 'login_required']);

      const other = await app.client({ trusted: true, permissions: ['tokens'] });
      const given = await flows.tokens({
        client: other,
        person: { ...person, password: '' },
        browser,
        params: { ...OFFLINE, scope: `${OFFLINE.scope} tokens` },
      });
      expect(given.scope).to.contain('tokens').and.to.contain('offline_access');
      const byApp = await fetch(`${app.issuer}/api/tokens`, make({ authorization: `Bearer ${given.access_token}` }));
      expect(byApp.status).to.equal(401);
      expect(await app.directory.personalTokens.list(String((await accountOf(person))?.id))).to.deep.equal([]);

      await app.directory.clients.update(partner.id, { sso: undefined });
      await app.directory.clients.update(partner.id, { sso: partner.record.sso });
      expect((await flows.refresh(other, String(given.refresh_token))).body.error).to.equal('invalid_grant');
      expect((await flows.userinfo(given.access_token)).status).to.equal(401);
      expect(await isSignedIn(cookiesOf(browser))).to.equal(false);
    });

    it('ends at the word of the app that began it; others and those that people began themselves stay', async () => {
      const person = user();
      await app.person({ email: person.email, organizationId: partner.organizationId });
      const rival = await newPartner({ organizationId: partner.organizationId });
      const [ours, theirs] = [await signedIn(person), await signedIn(person, rival)];
      const own = flows.browser();
      await walk(own, flows.authorizeUrl(partner, { ...IMPLICIT, scope: 'openid' }), {
        email: person.email,
        password: PASSWORD,
      });
      // The partner's word in a session that somebody began themselves makes it no session of the partner's.
      await arrive(own, loginPath(await tokenFor(person)));

      const { status, text } = await askAsPartner(app.issuer, 'logout', partner, { email: person.email });
      expect([status, text]).to.deep.equal([204, '']);
      const answers = await Promise.all([ours, theirs, own].map((browser) => silently(browser)));
      const errors = answers.map(({ url }) => fragmentOf(url).get('error'));
      expect(errors).to.deep.equal(['login_required', null, null]);
      expect((await sessionsOf(person)).map(({ signedInBy }) => signedInBy)).to.have.members([rival.id, undefined]);
      const nobody = await askAsPartner(app.issuer, 'logout', partner, { email: 'nobody@partner.example' });
      expect(nobody.status).to.equal(204);
    });
  });

  describe('the session of somebody whom an app signed in', () => {
    const ends: [string, (id: string) => Promise<unknown>][] = [
      ['loses the right to it', (id) => app.directory.clients.update(id, { sso: undefined })],
      ['is disabled', (id) => app.directory.clients.disable(id)],
      ['is deleted', (id) => app.directory.clients.remove(id)],
    ];
    for (const [what, end] of ends) {
      it(`ends when the app ${what}; those that people began themselves stay`, async () => {
        const who = await newPartner({ organizationId: partner.organizationId });
        const person = user();
        await app.person({ email: person.email, organizationId: partner.organizationId });
        const [theirs, others] = [await signedIn(person, who), await signedIn(person)];
        const own = flows.browser();
        await walk(own, `${app.issuer}/account`, { email: person.email, password: PASSWORD });
        await app.directory.clients.update(who.id, { name: 'Renamed' });
        expect(await isSignedIn(cookiesOf(theirs)), 'whatever else is changed').to.equal(true);
        await end(who.id);
        const signedInNow = await Promise.all([theirs, others, own].map((each) => isSignedIn(cookiesOf(each))));
        expect(signedInNow).to.deep.equal([false, true, true]);
      });
    }

    it('ends when the person stops that app, from there as well, and does not come back when the app may again', async () => {
      const rival = await newPartner({ organizationId: partner.organizationId });
      const person = user();
      await app.person({ email: person.email, organizationId: partner.organizationId });
      const own = flows.browser();
      await walk(own, `${app.issuer}/account`, { email: person.email, password: PASSWORD });
      const [here, elsewhere, theirs] = [await signedIn(person), await signedIn(person), await signedIn(person, rival)];
      // That the app, or another one, signs somebody in who is there already makes it no other session.
      await arrive(here, loginPath(await tokenFor(person)));
      await arrive(here, loginPath(await tokenFor(person, rival)));
      const given = fragmentOf((await silently(here)).url).get('access_token');
      const userinfo = async () => (await flows.userinfo(String(given))).status;
      const signedInNow = () => Promise.all([here, elsewhere, theirs, own].map((each) => isSignedIn(cookiesOf(each))));
      expect([await userinfo(), await signedInNow()]).to.deep.equal([200, [true, true, true, true]]);
      await here.submit(`/account/apps/${partner.id}/sign-in/refuse`, {});
      expect([await userinfo(), await signedInNow()]).to.deep.equal([401, [false, false, true, true]]);
      expect((await askAsPartner(app.issuer, 'token', rival, person)).status).to.equal(200);
      await own.submit(`/account/apps/${partner.id}/sign-in/allow`, {});
      expect([await userinfo(), await signedInNow()]).to.deep.equal([401, [false, false, true, true]]);
      expect(await isSignedIn(cookiesOf(await signedIn(person)))).to.equal(true);
    });

    it('ends everywhere when the person ends everything, and the apps sign them in no more', async () => {
      const rival = await newPartner({ organizationId: partner.organizationId });
      const person = user();
      const [here, theirs] = [await signedIn(person), await signedIn(person, rival)];
      await here.submit('/account/security/everything', {});
      const signedInNow = await Promise.all([here, theirs].map((each) => isSignedIn(cookiesOf(each))));
      expect(signedInNow).to.deep.equal([false, false]);
      expect((await askAsPartner(app.issuer, 'token', rival, person)).status).to.equal(403);
    });

    it('ends when they leave the organization, and so does what came of it and an access token by its word', async () => {
      const { id: other } = await app.directory.organizations.create({ name: 'Elsewhere' });
      for (const organizationId of [other, undefined]) {
        const person = user();
        await app.person({ email: person.email, organizationId: partner.organizationId });
        const own = flows.browser();
        await walk(own, `${app.issuer}/account`, { email: person.email, password: PASSWORD });
        const theirs = await signedIn(person);
        const tokens = [
          fragmentOf((await silently(theirs)).url).get('access_token'),
          (await askAsPartner(app.issuer, 'access-token', partner, person)).body.access_token,
        ];
        const now = async () => [
          ...(await Promise.all([theirs, own].map((each) => isSignedIn(cookiesOf(each))))),
          ...(await Promise.all(tokens.map(async (token) => (await flows.introspect(partner, String(token))).active))),
        ];
        expect(await now()).to.deep.equal([true, true, true, true]);
        await app.directory.accounts.update(String((await accountOf(person))?.id), { organizationId });
        expect(await now()).to.deep.equal([false, true, false, false]);
      }
    });

    it('is ended once, however often that is asked for at the same time', async () => {
      const person = user();
      for (let count = 0; count < 3; count++) await signedIn(person);
      const end = () => askAsPartner(app.issuer, 'logout', partner, { email: person.email });
      const answers = await Promise.all([end(), end(), end(), end()]);
      expect(answers.map(({ status }) => status)).to.deep.equal([204, 204, 204, 204]);
      expect(await sessionsOf(person)).to.deep.equal([]);
    });
  });

  describe('somebody else who is signed in to the browser', () => {
    async function shared() {
      const [first, second] = [user({ first_name: 'Fay' }), user({ first_name: 'Sid' })];
      return { first, second, browser: await signedIn(first) };
    }

    it('is asked first, and until then nothing has happened', async () => {
      const { first, second, browser } = await shared();
      const cookie = sessionCookie(browser);
      const token = await tokenFor(second);
      const page = await browser.open(loginPath(token));
      expect(titleOf(page.text)).to.equal('Switch account?');
      for (const email of [first.email, second.email]) expect(page.text).to.contain(email);
      expect(page.text).not.to.contain('data-autosubmit');
      const { action, fields } = formOf(page.text);
      const unanswered = await browser.submit(action, { token: String(fields.token), next: String(fields.next) });
      expect(titleOf(unanswered.text)).to.equal('Switch account?');

      expect(/href="([^"]+)">Stay as Fay User/.exec(page.text)?.[1]).to.equal('/account');
      expect((await browser.open('/account')).text).to.contain(first.email);
      expect(sessionCookie(browser)).to.equal(cookie);
      expect(await sessionsOf(second)).to.deep.equal([]);
      expect((await arrive(flows.browser(), loginPath(token))).url.pathname, 'still good').to.equal('/account');
    });

    it('is signed out on the server when the answer is to switch', async () => {
      const { first, second, browser } = await shared();
      const copy = cookiesOf(browser);
      const tokens = fragmentOf((await silently(browser)).url);
      const landing = await arrive(browser, loginPath(await tokenFor(second)), { switch: 'yes' });
      expect(landing.text).to.contain(second.email);
      expect(await sessionsOf(first)).to.deep.equal([]);
      expect(await isSignedIn(copy), 'a copy of the cookies').to.equal(false);
      expect((await flows.userinfo(String(tokens.get('access_token')))).status, 'the tokens of the session').to.equal(
        401,
      );
      expect(idTokenOf(await silently(browser)).email).to.equal(second.email);
    });

    it('is asked at an authorization request too, which then goes on', async () => {
      const { second, browser } = await shared();
      const page = await atOnce(second, { prompt: 'login' }, browser);
      expect(titleOf(page.text)).to.equal('Switch account?');
      expect(page.response?.headers.get('content-security-policy')).to.match(/form-action [^;]*https:/);
      const { action, fields } = formOf(page.text);
      const done = await browser.submit(action, { ...fields, switch: 'yes' });
      expect(`${done.url.origin}${done.url.pathname}`).to.equal(REDIRECT_URI);
      expect(idTokenOf(done)).to.include({ email: second.email, nonce: 'a nonce' });
    });

    it('is an error to an app that wants no page, and nothing has happened', async () => {
      const { first, second, browser } = await shared();
      const token = await tokenFor(second);
      const cookie = sessionCookie(browser);
      const { url } = await atOnce(second, { prompt: 'none', sso_token: token }, browser);
      expect(Object.fromEntries(fragmentOf(url))).to.include({ error: 'account_selection_required', state: 'a state' });
      expect(sessionCookie(browser)).to.equal(cookie);
      expect(idTokenOf(await silently(browser)).email).to.equal(first.email);
      expect((await arrive(flows.browser(), loginPath(token))).url.pathname, 'still good').to.equal('/account');
    });
  });

  describe('an authorization request with sso_token', () => {
    it('answers in one redirect to a browser without cookies, and leaves it signed in', async () => {
      const person = user();
      const token = await tokenFor(person);
      const browser = flows.browser();
      const url = flows.authorizeUrl(partner, { ...IMPLICIT, scope: 'openid profile email', sso_token: token });
      const response = await browser.request(url);
      expect(response.status).to.be.oneOf([302, 303]);
      expect(response.headers.get('cache-control')).to.equal('no-store');
      const location = new URL(String(response.headers.get('location')));
      expect(`${location.origin}${location.pathname}`).to.equal(REDIRECT_URI);
      expect(location.href).not.to.contain(token);
      const claims = decodeJwt(String(fragmentOf(location).get('id_token')));
      expect(claims).to.deep.include({ email: person.email, amr: ['sso'], acr: ACR, nonce: 'a nonce' });
      expect(browser.cookies().map(({ name }) => name)).to.have.members([cookie(), `${cookie()}.sig`]);
      expect((await silently(browser)).url.hash).to.contain('id_token=');
      const [session] = await sessionsOf(person);
      expect(session).to.include({ signedInBy: partner.id, address: '127.0.0.1' });
    });

    it('answers with a code, also where no page is wanted and where a new sign-in is', async () => {
      for (const params of [{}, { prompt: 'none' }, { prompt: 'login' }, { max_age: '0' }] as Fields[]) {
        const person = user();
        const sso_token = await tokenFor(person);
        const { url, verifier } = await flows.start({ client: partner, params: { ...params, sso_token } });
        const { url: callback } = await flows.browser().open(url);
        const code = String(callback.searchParams.get('code'));
        const { body } = await flows.redeem(partner, { code, verifier });
        expect(decodeJwt(String(body.id_token)).email, JSON.stringify(params)).to.equal(person.email);
      }
    });

    it('answers by a form that posts itself', async () => {
      const person = user();
      const params = { response_type: 'id_token', response_mode: 'form_post' };
      const page = await atOnce(person, params);
      expect(page.response?.status).to.equal(200);
      expect(page.response?.headers.get('content-security-policy')).to.contain('form-action');
      const { action, fields } = formOf(page.text);
      expect(action).to.equal(REDIRECT_URI);
      expect(decodeJwt(String(fields.id_token)).email).to.equal(person.email);
      expect(fields.state).to.equal('a state');
    });

    it('may come as a form, and then no URL has the token', async () => {
      const person = user();
      const sso_token = await tokenFor(person);
      const browser = flows.browser();
      const body = new URLSearchParams({ ...IMPLICIT, client_id: partner.id, scope: 'openid email', sso_token });
      const headers = { origin: 'https://portal.example.com', 'sec-fetch-site': 'cross-site' };
      const response = await browser.request('/identity/authorize', { method: 'POST', headers, body });
      const [page, location] = [await response.text(), response.headers.get('location')];
      expect([response.status, location]).to.deep.equal([200, null]);
      const { action, fields } = formOf(page);
      expect(action).to.equal('/sso/login');
      expect(fields.next).not.to.contain('lk_sso_');
      const done = await browser.submit(action, fields);
      expect(idTokenOf(done)).to.include({ email: person.email, nonce: 'a nonce' });
    });

    it('goes on when the same person is signed in already', async () => {
      const person = user();
      const browser = await signedIn(person);
      const [session] = await sessionsOf(person);
      expect(idTokenOf(await atOnce(person, { prompt: 'none' }, browser)).email).to.equal(person.email);
      expect((await sessionsOf(person)).map(({ uid }) => uid)).to.deep.equal([session?.uid]);
    });

    it('that was used already is an error to the app, and signs nobody out', async () => {
      const person = user();
      const browser = flows.browser();
      const token = await tokenFor(person);
      await atOnce(person, { sso_token: token }, browser);
      for (const someone of [browser, flows.browser()]) {
        const cookie = sessionCookie(someone);
        const again = await atOnce(person, { sso_token: token }, someone);
        expect(Object.fromEntries(fragmentOf(again.url))).to.include({ error: 'access_denied', state: 'a state' });
        expect(sessionCookie(someone)).to.equal(cookie);
      }
      expect(idTokenOf(await silently(browser)).email).to.equal(person.email);
    });

    it('whose request is wrong uses nothing up', async () => {
      const person = user();
      const sso_token = await tokenFor(person);
      const wrong: Fields[] = [
        { redirect_uri: 'https://evil.example/' },
        { response_type: 'token' },
        { response_type: 'code', code_challenge_method: 'plain', code_challenge: 'x' },
        { scope: 'profile' },
        { client_id: 'nobody' },
        { state: 'x'.repeat(5_000) },
        { prompt: 'create' },
        { prompt: 'none login' },
      ];
      for (const params of wrong) {
        const landing = await atOnce(person, { ...params, sso_token });
        const error = fragmentOf(landing.url).get('error') ?? landing.url.searchParams.get('error');
        expect(error ?? landing.response?.status, JSON.stringify(params).slice(0, 80)).to.be.oneOf([
          'invalid_request',
          'unsupported_response_type',
          'unauthorized_client',
          400,
        ]);
      }
      expect(idTokenOf(await atOnce(person, { sso_token })).email).to.equal(person.email);
    });
  });

  describe('consent', () => {
    it('is not asked for what the app may give, and for all else', async () => {
      const person = user({ permissions: 'users' });
      const browser = await signedIn(person);
      const granted = fragmentOf((await silently(browser, { scope: 'openid profile email users' })).url);
      expect(granted.get('error')).to.equal(null);
      const refused = fragmentOf((await silently(browser, { scope: 'openid phone' })).url);
      expect(refused.get('error')).to.equal('consent_required');
      const page = await silently(browser, { scope: 'openid phone', prompt: '' });
      expect(page.text).to.contain('name="decision"');
    });

    it('that nobody gave counts only for as long as the app may sign this person in', async () => {
      const elsewhere = (await app.directory.organizations.create({ name: 'Elsewhere' })).id;
      const { accounts, clients } = app.directory;
      const cases: [string, string | null, (who: Partner, id: string) => Promise<unknown>][] = [
        ['nothing changed', null, async () => {}],
        ['the right is gone', 'consent_required', (who) => clients.update(who.id, { sso: undefined })],
        [
          'the ceiling is lower',
          'consent_required',
          async (who) => {
            const { sso } = (await clients.get(who.id)) ?? {};
            await clients.update(who.id, { sso: sso && { ...sso, permissions: ['reports'] } });
          },
        ],
        ['another organization', 'consent_required', (_, id) => accounts.update(id, { organizationId: elsewhere })],
        ['an administrator', 'consent_required', (_, id) => accounts.update(id, { administrator: true })],
      ];
      for (const [what, error, change] of cases) {
        const who = await newPartner({ organizationId: partner.organizationId });
        const { id, email } = await app.person({ organizationId: partner.organizationId, permissions: ['users'] });
        await signedIn({ email }, who);
        await change(who, id);
        const own = flows.browser();
        await walk(own, `${app.issuer}/account`, { email, password: PASSWORD });
        const answer = fragmentOf((await silently(own, { scope: 'openid users' }, who)).url);
        expect(answer.get('error'), what).to.equal(error);
      }
    });

    it('that is missing is an error to an app that wants no page, and a page to others, who are signed in by then', async () => {
      const person = user();
      const quiet = await atOnce(person, { scope: 'openid phone', prompt: 'none' });
      expect(fragmentOf(quiet.url).get('error')).to.be.oneOf(['consent_required', 'interaction_required']);

      const browser = flows.browser();
      const page = await atOnce(person, { scope: 'openid phone' }, browser);
      expect(page.text).to.contain('name="decision"').and.contain(person.email);
      const done = await browser.submit(page.url.pathname, { decision: 'allow' });
      expect(idTokenOf(done).amr).to.deep.equal(['sso']);
      const offline = await atOnce(person, {
        response_type: 'code',
        scope: 'openid offline_access',
        prompt: 'consent',
        code_challenge: 'x'.repeat(43),
        code_challenge_method: 'S256',
      });
      expect(offline.text, 'prompt=consent').to.contain('name="decision"');
    });
  });

  describe('next', () => {
    it('may be ours, or under an origin that the app has registered', async () => {
      const who = await newPartner({
        organizationId: partner.organizationId,
        redirectUris: [REDIRECT_URI, 'com.example.portal:/callback'],
        sso: { nextOrigins: ['https://help.example.com'] },
      });
      const places: Record<string, string> = {
        '': `${app.issuer}/account`,
        '/account/tokens?a=b': `${app.issuer}/account/tokens?a=b`,
        [`${app.issuer}/account/apps`]: `${app.issuer}/account/apps`,
        'https://portal.example.com/deep?a=b#c': 'https://portal.example.com/deep?a=b#c',
        'https://PORTAL.example.com:443/x': 'https://portal.example.com/x',
        'https://help.example.com': 'https://help.example.com/',
      };
      const person = user();
      for (const [next, expected] of Object.entries(places)) {
        const browser = flows.browser();
        const { text } = await browser.open(loginPath(await tokenFor(person, who), next));
        const { action, fields } = formOf(text);
        const response = await browser.request(action, { method: 'POST', body: new URLSearchParams(fields) });
        expect(response.status, next).to.equal(303);
        expect(new URL(String(response.headers.get('location')), app.issuer).href, next).to.equal(expected);
      }
    });
  });

  describe('an access token', () => {
    const accessToken = async (person: Fields, who = partner) =>
      (await askAsPartner(app.issuer, 'access-token', who, person)).body;
    const me = (token: string) => fetch(`${app.issuer}/api/me`, { headers: { authorization: `Bearer ${token}` } });
    const verdict = async (token: string, scope = '') =>
      (await fetch(`${app.issuer}/verify?scope=${scope}`, { headers: { authorization: `Bearer ${token}` } })).status;

    it('speaks for the person at APIs, within what app and person may do', async () => {
      const person = user({ permissions: 'users reports' });
      const body = await accessToken(person);
      const token = String(body.access_token);
      expect(body).to.deep.equal({
        access_token: token,
        token_type: 'Bearer',
        expires_in: 3600,
        scope: 'users reports',
      });
      const account = await accountOf(person);
      expect(await (await me(token)).json()).to.deep.include({
        sub: account?.id,
        email: person.email,
        organization: { id: partner.organizationId, name: 'Acme' },
        scope: 'users reports',
      });
      expect(await flows.introspect(partner, token)).to.include({
        active: true,
        sub: account?.id,
        client_id: partner.id,
        scope: 'users reports',
        token_type: 'Bearer',
      });
      expect([await verdict(token, 'users'), await verdict(token, 'settings')]).to.deep.equal([200, 403]);
      await app.directory.accounts.update(String(account?.id), { permissions: ['users'] });
      expect([await verdict(token, 'users'), await verdict(token, 'reports')]).to.deep.equal([200, 403]);
      expect((await accessToken({ email: person.email })).scope).to.equal('users');
      expect((await accessToken({ email: person.email, permissions: '' })).scope).to.equal('');
      const { events } = await app.directory.audit.list({ accountId: String(account?.id) });
      expect(events.map(({ type }) => type)).to.include('partner_sign_in');
    });

    it('signs nobody in, dies when it is revoked, and with the person or the app', async () => {
      const person = user();
      const id = async () => String((await accountOf(person))?.id);
      const ends: Record<string, (token: string, who: Partner) => Promise<unknown>> = {
        revocation: (token, who) => flows.post('revoke', who, { token }),
        'the account disabled': async () => app.directory.accounts.disable(await id()),
        'the app disabled': (_token, who) => app.directory.clients.disable(who.id),
      };
      for (const [name, end] of Object.entries(ends)) {
        const who = await newPartner({ organizationId: partner.organizationId });
        const token = String((await accessToken(person, who)).access_token);
        expect([await verdict(token), (await me(token)).status], name).to.deep.equal([200, 200]);
        expect((await flows.browser().open(loginPath(token))).response?.status, name).to.equal(400);
        await end(token, who);
        expect([await verdict(token), (await me(token)).status], name).to.deep.equal([401, 401]);
        expect(await flows.introspect(partner, token), name).to.deep.equal({ active: false });
        await app.directory.accounts.enable(await id());
      }
    });

    it('ends with the right of the app to sign people in', async () => {
      const who = await newPartner({ organizationId: partner.organizationId });
      const token = String((await accessToken(user({ permissions: 'users' }), who)).access_token);
      expect((await me(token)).status).to.equal(200);
      await app.directory.clients.update(who.id, { name: 'Renamed' });
      expect((await me(token)).status, 'whatever else is changed').to.equal(200);
      await app.directory.clients.update(who.id, { sso: undefined });
      expect([(await me(token)).status, await verdict(token)]).to.deep.equal([401, 401]);
    });

    it('and sessions end when the organization is taken from the app', async () => {
      const { clients, organizations } = app.directory;
      const who = await newPartner({ organizationId: partner.organizationId });
      const person = user({ permissions: 'users' });
      const token = String((await accessToken(person, who)).access_token);
      const cookies = cookiesOf(await signedIn(person, who));
      expect([(await me(token)).status, await isSignedIn(cookies)]).to.deep.equal([200, true]);
      const { id: other } = await organizations.create({ name: 'Elsewhere' });
      await clients.update(who.id, { sso: { ...who.record.sso, organizationIds: [other] } });
      expect([(await me(token)).status, await isSignedIn(cookies)]).to.deep.equal([401, false]);
    });

    it('is seen and taken back by the person, who need never have signed in by the app', async () => {
      const person = user({ permissions: 'users' });
      await app.person({ email: person.email, organizationId: partner.organizationId });
      const token = String((await accessToken(person)).access_token);
      const browser = flows.browser();
      const login = await browser.open('/account/apps');
      const page = await browser.submit(login.url.pathname, { email: person.email, password: PASSWORD });
      expect(page.text).to.contain('May use users').and.contain(`href="/account/apps/${partner.id}/remove"`);
      expect(await verdict(token, 'users')).to.equal(200);
      await browser.submit(`/account/apps/${partner.id}/remove`, {});
      expect(await verdict(token)).to.equal(401);
    });

    it('is not made possible again by whoever the app itself has signed in', async () => {
      const person = user();
      await app.person({ email: person.email, organizationId: partner.organizationId });
      const browser = await signedIn(person);
      await app.directory.ssoConnections.refuse(String((await accountOf(person))?.id), partner.id);
      const rival = await newPartner({ organizationId: partner.organizationId });
      await arrive(browser, loginPath(await tokenFor(person, rival)));
      const asked = await browser.submit(`/account/apps/${partner.id}/sign-in/allow`, {});
      expect(asked.url.pathname).to.match(/^\/interaction\//);
      expect((await askAsPartner(app.issuer, 'token', partner, person)).status).to.equal(403);
    });

    it('is not taken back without knowing that one is signed out by it, and has no other way in', async () => {
      const [stranger, colleague] = [user(), user()];
      const only = (await (await signedIn(stranger)).open('/account/apps')).text;
      expect(only).to.contain('stopping it signs you out, and you have no other way in');
      await app.person({ email: colleague.email, organizationId: partner.organizationId });
      const browser = await signedIn(colleague);
      const page = (await browser.open('/account/apps')).text;
      expect(page).to.contain('stopping it signs you out.').and.not.to.contain('no other way in');
      await browser.submit(`/account/apps/${partner.id}/sign-in/refuse`, {});
      expect((await browser.open('/account')).url.pathname).to.match(/^\/interaction\//);
    });

    it('is seen and taken back by the person, together with the right to make another', async () => {
      const person = user();
      const browser = await signedIn(person);
      const token = String((await accessToken(person)).access_token);
      expect((await browser.open('/account/apps')).text).to.contain(`/account/apps/${partner.id}/sign-in/refuse`);
      const refused = await browser.submit(`/account/apps/${partner.id}/sign-in/refuse`, {});
      expect(refused.response?.status).to.equal(200);
      expect(await verdict(token)).to.equal(401);
      for (const path of ['token', 'access-token']) {
        const { status, body } = await askAsPartner(app.issuer, path, partner, person);
        expect([status, body.error], path).to.deep.equal([403, 'access_denied']);
      }
      const rival = await newPartner({ organizationId: partner.organizationId });
      await (await signedIn(person, rival)).submit(`/account/apps/${partner.id}/sign-in/allow`, {});
      expect(await tokenFor(person)).to.match(/^lk_sso_/);
    });
  });

  describe('the ceilings', () => {
    const refusal = async (who: Partner, person: Fields, path = 'token') => {
      const { status, body } = await askAsPartner(app.issuer, path, who, person);
      return [status, body.error];
    };

    it('are the organizations, the e-mail domains, and whether people may be made', async () => {
      const { id: second } = await app.directory.organizations.create({ name: 'Subsidiary' });
      const { id: third } = await app.directory.organizations.create({ name: 'Stranger' });
      const who = await newPartner({
        organizationId: partner.organizationId,
        sso: { organizationIds: [partner.organizationId, second], emailDomains: ['partner.example'] },
      });
      const [here, there] = [user(), user()];
      await tokenFor(here, who);
      await tokenFor(there, { ...who, organizationId: second });
      expect((await accountOf(there))?.organizationId).to.equal(second);
      expect(await refusal({ ...who, organizationId: third }, user())).to.deep.equal([401, 'invalid_client']);
      expect(await refusal(who, there), 'of the other organization').to.deep.equal([403, 'access_denied']);
      for (const email of ['a@elsewhere.example', 'a@sub.partner.example', 'a@notpartner.example']) {
        expect(await refusal(who, { email }), email).to.deep.equal([403, 'access_denied']);
        expect(await accountOf({ email })).to.equal(undefined);
      }
      const careful = await newPartner({ organizationId: partner.organizationId, sso: { createsPeople: false } });
      const stranger = user();
      expect(await refusal(careful, stranger)).to.deep.equal([403, 'access_denied']);
      expect(await refusal(careful, stranger, 'access-token')).to.deep.equal([403, 'access_denied']);
      expect(await accountOf(stranger)).to.equal(undefined);
      expect(await tokenFor(here, careful)).to.match(/^lk_sso_/);
    });

    it('are how many sign-ins a minute, which is said with how long to wait', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const who = await newPartner({ organizationId: partner.organizationId, sso: { ratePerMinute: 2 } });
      const person = user();
      await tokenFor(person, who);
      await askAsPartner(app.issuer, 'access-token', who, person);
      const { status, body, headers } = await askAsPartner(app.issuer, 'token', who, person);
      expect([status, body.error]).to.deep.equal([429, 'too_many_requests']);
      expect(Number(headers.get('retry-after'))).to.be.within(1, 60);
      expect(await tokenFor(person), 'of another app').to.match(/^lk_sso_/);
      mock.timers.tick(60_000);
      expect(await tokenFor(person, who)).to.match(/^lk_sso_/);
    });

    it('hold for sign-ins that were given out before they were lowered', async () => {
      const { clients } = app.directory;
      const lower: Record<string, (who: Partner) => Promise<unknown>> = {
        'switched off': ({ id }) => clients.update(id, { sso: undefined }),
        disabled: ({ id }) => clients.disable(id),
        deleted: ({ id }) => clients.remove(id),
        'without the organization': async ({ id, record }) => {
          const { id: other } = await app.directory.organizations.create({ name: 'Other' });
          return clients.update(id, { sso: { ...record.sso, organizationIds: [other] } });
        },
        'without the e-mail domain': ({ id, record, organizationId }) =>
          clients.update(id, {
            sso: { ...record.sso, organizationIds: [organizationId], emailDomains: ['other.example'] },
          }),
      };
      for (const [name, change] of Object.entries(lower)) {
        const who = await newPartner({ organizationId: partner.organizationId });
        const person = user();
        const token = await tokenFor(person, who);
        await change(who);
        const { response } = await flows.browser().open(loginPath(token));
        expect(response?.status, name).to.be.oneOf([400, 403]);
        const posted = await flows.browser().submit('/sso/login', { token });
        expect(posted.response?.status, name).to.be.oneOf([400, 403]);
        expect(await sessionsOf(person), name).to.deep.equal([]);
        expect((await refusal(who, person))[0], name).to.be.oneOf([401, 403]);
      }
    });
  });
});
