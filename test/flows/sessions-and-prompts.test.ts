import { mock } from 'node:test';
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import { cookieName } from '../../src/oidc/cookie-name.ts';
import { onEachEngine, startApp, startProcess, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import type { Browser, Landing } from '../support/browser.ts';
import { createFlows, type Flows, formOf, walk } from '../support/flow.ts';

const DAY = 24 * 60 * 60 * 1000;

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let person: Awaited<ReturnType<TestApp['person']>>;
  let client: TestClient;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    person = await app.person();
    client = await app.client();
  });
  afterEach(() => mock.timers.reset());
  after(async () => {
    await app.close();
    await store.remove();
  });

  const sessionCookie = () => cookieName(app.issuer, 'latchkey');
  const isLogin = ({ text }: Landing) => text.includes('name="password"');
  const errorOf = ({ url }: Landing) => url.searchParams.get('error');

  async function open(browser: Browser, params: Record<string, string> = {}): Promise<Landing> {
    return browser.open((await flows.start({ client, params })).url);
  }

  async function signIn(browser: Browser = flows.browser()) {
    const tokens = await flows.tokens({ client, person, browser });
    return { browser, hint: String(tokens.id_token), authTime: Number(tokens.claims()?.auth_time) };
  }

  async function authTimeAfter(browser: Browser, params: Record<string, string> = {}): Promise<number> {
    return Number((await flows.tokens({ client, person, browser, params })).claims()?.auth_time);
  }

  describe('prompt', () => {
    it('none never shows a page: an answer when signed in, login_required when not', async () => {
      const state = 'x'.repeat(128);
      const anonymous = await open(flows.browser(), { prompt: 'none', state });
      expect(Object.fromEntries(anonymous.url.searchParams)).to.include({
        error: 'login_required',
        state,
        iss: app.issuer,
      });
      const { browser } = await signIn();
      expect((await open(browser, { prompt: 'none' })).url.searchParams.get('code')).to.be.a('string');
    });

    it('login shows the form again, and the new sign-in has a later time', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const { browser, authTime } = await signIn();
      expect(isLogin(await open(browser, { prompt: 'login' }))).to.equal(true);
      mock.timers.tick(1_000);
      expect(await authTimeAfter(browser, { prompt: 'login' })).to.be.above(authTime);
    });

    it('login that is cancelled changes nothing', async () => {
      const { browser, authTime } = await signIn();
      const login = await open(browser, { prompt: 'login' });
      expect(errorOf(await browser.submit(`${login.url.pathname}/cancel`, {}))).to.equal('access_denied');
      expect(await authTimeAfter(browser, { prompt: 'none' })).to.equal(authTime);
    });

    it('select_account offers who is signed in, and another', async () => {
      const { browser } = await signIn();
      const choice = await open(browser, { prompt: 'select_account' });
      expect(choice.text).to.contain(person.email).and.to.contain('value="other"');
      const stranger = await browser.submit(choice.url.pathname, { account: crypto.randomUUID() });
      expect(stranger.response?.status).to.equal(400);
      const landing = await browser.submit(choice.url.pathname, { account: person.id });
      expect(landing.url.searchParams.get('code')).to.be.a('string');
    });

    it('create, or anything else unknown, is refused', async () => {
      expect(errorOf(await open(flows.browser(), { prompt: 'create' }))).to.equal('invalid_request');
    });
  });

  describe('max_age', () => {
    it('that has passed asks again, one that has not does not', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const { browser, authTime } = await signIn();
      expect(await authTimeAfter(browser, { max_age: '10000', prompt: 'none' })).to.equal(authTime);
      mock.timers.tick(2_000);
      expect(errorOf(await open(browser, { max_age: '1', prompt: 'none' }))).to.equal('login_required');
      expect(isLogin(await open(browser, { max_age: '1' }))).to.equal(true);
      expect(await authTimeAfter(browser, { max_age: '1' })).to.be.above(authTime);
    });
  });

  describe('id_token_hint', () => {
    it('of who is signed in goes through without a page', async () => {
      const { browser, hint } = await signIn();
      const landing = await open(browser, { prompt: 'none', id_token_hint: hint });
      expect(landing.url.searchParams.get('code')).to.be.a('string');
    });

    it('of another person, or one that we did not sign, never signs in', async () => {
      const { browser, hint } = await signIn();
      const other = await flows.tokens({ client, person: await app.person() });
      expect(errorOf(await open(browser, { prompt: 'none', id_token_hint: String(other.id_token) }))).to.equal(
        'login_required',
      );
      const [, payload = '', signature = ''] = hint.split('.');
      const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${payload}.`;
      const foreign = { ...decodeJwt(hint), iss: 'https://evil.example' };
      const forged = `${hint.split('.')[0]}.${Buffer.from(JSON.stringify(foreign)).toString('base64url')}.${signature}`;
      for (const id_token_hint of [none, forged, 'x']) {
        for (const someone of [browser, flows.browser()])
          expect(errorOf(await open(someone, { prompt: 'none', id_token_hint }))).to.be.oneOf([
            'invalid_request',
            'login_required',
          ]);
      }
    });
  });

  describe('a session', () => {
    it('ends three days after its last use, and after thirty in any case', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const [idle, { browser, authTime }] = [await signIn(), await signIn()];
      mock.timers.tick(2.9 * DAY);
      expect(await authTimeAfter(idle.browser, { prompt: 'none' })).to.equal(idle.authTime);
      expect(await authTimeAfter(browser, { prompt: 'none' })).to.equal(authTime);
      for (let day = 5.8; day < 29.5; day += 2.9) {
        mock.timers.tick(2.9 * DAY);
        expect((await open(browser, { prompt: 'none' })).url.searchParams.get('code'), `day ${day}`).to.be.a('string');
      }
      expect(errorOf(await open(idle.browser, { prompt: 'none' }))).to.equal('login_required');
      mock.timers.tick(1.1 * DAY);
      expect(errorOf(await open(browser, { prompt: 'none' }))).to.equal('login_required');
    });

    it('has a new id after signing in, and the old one is worth nothing', async () => {
      const browser = flows.browser();
      const login = await open(browser);
      const before = browser.cookies().map(({ value }) => value);
      await walk(browser, login.url.href, person);
      const after = browser.cookies().find(({ name }) => name === sessionCookie())?.value ?? '';
      expect(after).to.have.length.above(21);
      expect(before).not.to.include(after);
    });

    it('is kept in cookies that scripts, other sites and other hosts do not get', async () => {
      const { browser } = await signIn();
      const response = await browser.request((await flows.start({ client })).url);
      const [session = ''] = response.headers.getSetCookie().filter((line) => line.startsWith(`${sessionCookie()}=`));
      expect(session)
        .to.match(/; httponly/i)
        .and.to.match(/; samesite=lax/i)
        .and.to.match(/; path=\/(;|$)/i);
      expect(session)
        .not.to.match(/; domain=/i)
        .and.not.to.match(/; secure/i);
    });

    it('is kept in a Secure cookie of this host alone when the issuer is https', async () => {
      const issuer = 'https://id.example.com';
      const secure = await startProcess(store, { ISSUER: issuer });
      const browser = createFlows(issuer, secure.url).browser();
      const { url } = await createFlows(issuer, secure.url).start({ client });
      const login = await walk(browser, url, person);
      expect(login.url.searchParams.get('code')).to.be.a('string');
      const lines = (await browser.request(url)).headers.getSetCookie();
      await secure.kill('SIGKILL');
      const session = lines.filter((line) => line.startsWith('__Host-'));
      expect(session).to.have.length.above(0);
      for (const line of lines)
        expect(line)
          .to.match(/; secure/i)
          .and.not.to.match(/; domain=/i);
      for (const line of session) expect(line).to.match(/; path=\/(;|$)/i);
    });

    it('is not recognised by a cookie that was changed, lacks its signature, or was signed by somebody else', async () => {
      const { browser } = await signIn();
      const cookies = Object.fromEntries(browser.cookies().map(({ name, value }) => [name, value]));
      const { [sessionCookie()]: latchkey = '', [`${sessionCookie()}.sig`]: signature = '' } = cookies;
      const header = (value: string, sig?: string) =>
        `${sessionCookie()}=${value}${sig === undefined ? '' : `; ${sessionCookie()}.sig=${sig}`}`;
      const ask = async (cookie: string) => {
        const { url } = await flows.start({ client, params: { prompt: 'none' } });
        const response = await fetch(url, { redirect: 'manual', headers: { cookie } });
        return new URL(String(response.headers.get('location'))).searchParams;
      };
      expect((await ask(header(latchkey, signature))).get('code')).to.be.a('string');
      const wrong = [
        header(latchkey),
        header(`${latchkey.slice(0, -1)}${latchkey.endsWith('x') ? 'y' : 'x'}`, signature),
        header(latchkey, `${signature.slice(0, -1)}${signature.endsWith('x') ? 'y' : 'x'}`),
        header(latchkey, ''),
        header('', signature),
      ];
      for (const cookie of wrong) expect((await ask(cookie)).get('error'), cookie).to.equal('login_required');
    });
  });

  describe('a sign-in under way', () => {
    it('belongs to the browser it began in', async () => {
      const browser = flows.browser();
      const login = await open(browser);
      const thief = flows.browser();
      expect((await thief.open(login.url.href)).response?.status).to.equal(400);
      const posted = await thief.submit(login.url.pathname, person);
      expect(posted.response?.status).to.equal(400);
      expect(posted.url.searchParams.has('code')).to.equal(false);
      expect(thief.cookies().some(({ name }) => name === sessionCookie())).to.equal(false);
      expect((await walk(browser, login.url.href, person)).url.searchParams.get('code')).to.be.a('string');
    });

    it('cannot be repeated by the back button, nor be resumed twice', async () => {
      const browser = flows.browser();
      const login = await open(browser);
      const posted = await browser.request(login.url.pathname, { method: 'POST', body: new URLSearchParams(person) });
      const resume = String(posted.headers.get('location'));
      await walk(browser, resume, person);
      for (const again of [resume, login.url.href]) {
        const landing = await browser.open(again);
        expect(landing.response?.status, again).to.equal(400);
        expect(landing.url.searchParams.has('code')).to.equal(false);
      }
      expect((await browser.submit(login.url.pathname, person)).response?.status).to.equal(400);
    });

    it('in a second tab of the same person comes to its end as well', async () => {
      const browser = flows.browser();
      const starts = [await flows.start({ client }), await flows.start({ client })];
      const tabs = [];
      for (const { url } of starts) tabs.push(await browser.open(url));
      for (const [index, tab] of tabs.entries()) {
        const landing = await finish(browser, await browser.submit(tab.url.pathname, person));
        expect(await subjectOf(landing, String(starts[index]?.verifier))).to.equal(person.id);
      }
    });

    it('ends with the session that it belongs to', async () => {
      const browser = flows.browser();
      await signIn(browser);
      const consent = await open(browser, { prompt: 'consent' });
      const logout = await browser.open(`${app.issuer}/identity/logout`);
      await browser.submit(formOf(logout.text).action, { ...formOf(logout.text).fields, logout: 'yes' });
      const landing = await browser.submit(consent.url.pathname, { decision: 'allow' });
      expect(landing.response?.status).to.equal(400);
      expect(landing.url.searchParams.has('code')).to.equal(false);
    });

    it('may be taken over by somebody else at the consent page, who is then asked', async () => {
      const browser = flows.browser();
      await signIn(browser);
      const second = await app.person();
      const { url, verifier } = await flows.start({ client, params: { prompt: 'consent' } });
      const consent = await browser.open(url);
      const login = await browser.submit(consent.url.pathname, { decision: 'switch' });
      expect(isLogin(login)).to.equal(true);
      let landing = await browser.submit(login.url.pathname, second);
      while (!landing.text.includes('name="decision"')) landing = await goOn(browser, landing);
      expect(landing.text).to.contain(second.email).and.not.to.contain(person.email);
      const allowed = await browser.submit(landing.url.pathname, { decision: 'allow' });
      expect(await subjectOf(allowed, verifier)).to.equal(second.id);
    });

    it('lasts an hour', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const browser = flows.browser();
      const login = await open(browser);
      mock.timers.tick(3_601_000);
      expect((await browser.submit(login.url.pathname, person)).response?.status).to.equal(400);
    });

    it('of two people in two tabs never gives one the other’s tokens', async () => {
      const browser = flows.browser();
      const second = await app.person();
      const [one, two] = [await flows.start({ client }), await flows.start({ client })];
      const tabs = [await browser.open(one.url), await browser.open(two.url)];
      const first = await finish(browser, await browser.submit(String(tabs[0]?.url.pathname), person));
      expect(await subjectOf(first, one.verifier)).to.equal(person.id);
      const other = await finish(browser, await browser.submit(String(tabs[1]?.url.pathname), second));
      expect(await subjectOf(other, two.verifier)).to.equal(second.id);
    });
  });

  /** Goes on where a page would submit itself, and allows what it is asked. */
  async function finish(browser: Browser, landing: Landing): Promise<Landing> {
    let current = landing;
    for (let page = 0; page < 4 && current.response?.status === 200; page++) {
      const isConsent = current.text.includes('name="decision"');
      current = await (isConsent
        ? browser.submit(current.url.pathname, { decision: 'allow' })
        : goOn(browser, current));
    }
    return current;
  }

  function goOn(browser: Browser, { text, url }: Landing): Promise<Landing> {
    const { action, fields } = formOf(text);
    if (action === '') throw new Error(`nothing to go on with at ${url}`);
    return browser.submit(new URL(action, url).href, fields);
  }

  async function subjectOf({ url }: Landing, verifier: string): Promise<unknown> {
    const { body } = await flows.redeem(client, { code: String(url.searchParams.get('code')), verifier });
    return decodeJwt(String(body.id_token)).sub;
  }
});
