import { createHmac, randomBytes } from 'node:crypto';
import { mock } from 'node:test';
import { expect } from 'chai';
import { cookieName } from '../../src/oidc/cookie-name.ts';
import { createSealing } from '../../src/secrets/sealing.ts';
import { embeddedStore, onEachEngine, PASSWORD, SECRET_KEY, type TestClient, type TestStore } from '../support/app.ts';
import type { Browser, Landing } from '../support/browser.ts';
import { formOf } from '../support/flow.ts';
import { startTarget, type Target } from './web-target.ts';

const HOUR = 3600;
const DAY = 24 * HOUR;

/** Who the app is told it is, after redeeming what came back. */
async function subjectOf(target: Target, client: TestClient, landing: Landing): Promise<string | undefined> {
  const code = landing.url.searchParams.get('code');
  if (code === null) return undefined;
  const authorization = `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}`;
  const body = { grant_type: 'authorization_code', code, redirect_uri: client.redirectUri };
  const answer = await target.send('/identity/token', { headers: { authorization, accept: '*/*' }, body });
  const [, payload = ''] = JSON.parse(answer.text).id_token.split('.');
  return JSON.parse(Buffer.from(payload, 'base64url').toString()).sub;
}

/** Whether the browser's cookies are somebody's. */
async function isSignedIn(target: Target, browser: Browser): Promise<boolean> {
  const cookies = browser.cookies().filter(({ path }) => path === '/');
  return isSomebodys(target, cookies.map(({ name, value }) => `${name}=${value}`).join('; '));
}

async function isSomebodys(target: Target, cookie: string): Promise<boolean> {
  const { status, headers } = await target.send('/account', { headers: { cookie } });
  if (status === 200) return true;
  expect(headers.location).to.match(/^\/identity\/authorize\?/);
  return false;
}

const errorOf = ({ url }: Landing) => url.searchParams.get('error');

onEachEngine((openStore) => {
  describe('an attacker of sessions', () => {
    let store: TestStore;
    let target: Target;
    /** Another server on the same store. */
    let second: Target;

    before(async () => {
      store = await openStore();
      target = await startTarget(store);
      second = await startTarget(store, { ISSUER: target.issuer });
    });
    afterEach(async () => {
      mock.timers.reset();
      await target.unharmed();
      await second.unharmed();
    });
    after(async () => {
      await Promise.all([target.close(), second.close()]);
      await store.remove();
    });

    function forward(seconds: number): void {
      mock.timers.setTime(Date.now() + seconds * 1000);
    }

    it('cannot use a session cookie that was changed, stripped of its signature or signed with another key', async () => {
      const name = cookieName(target.issuer, 'latchkey');
      const browser = target.browser();
      await target.signIn(browser, await target.person());
      const cookies = new Map(browser.cookies().map((kept) => [kept.name, kept.value]));
      const [id = '', signature = ''] = [cookies.get(name), cookies.get(`${name}.sig`)];
      const sign = (key: string) => createHmac('sha1', key).update(`${name}=${id}`).digest('base64url');
      const [ours = ''] = createSealing([Buffer.from(SECRET_KEY, 'base64url')]).cookieKeys;
      expect(sign(ours)).to.equal(signature);
      expect(id.length).to.be.greaterThan(40);

      const last = id.at(-1) === 'A' ? 'B' : 'A';
      const attempts: Record<string, boolean> = {
        [`${name}=${id}; ${name}.sig=${signature}`]: true,
        [`${name}=${id.slice(0, -1)}${last}; ${name}.sig=${signature}`]: false,
        [`${name}=${id}`]: false,
        [`${name}=${id}; ${name}.sig=`]: false,
        [`${name}=${id}; ${name}.sig=${sign(randomBytes(32).toString('base64url'))}`]: false,
        [`${name}=${id}; ${name}.sig=${createHmac('sha1', '').update(`${name}=${id}`).digest('base64url')}`]: false,
        [`${name}=; ${name}.sig=${signature}`]: false,
        [`${name}=../${id}; ${name}.sig=${signature}`]: false,
      };
      for (const [cookie, works] of Object.entries(attempts)) {
        for (const server of [target, second]) expect(await isSomebodys(server, cookie), cookie).to.equal(works);
      }
    });

    it('cannot plant a session that a person then signs in to', async () => {
      const name = cookieName(target.issuer, 'latchkey');
      const planted = target.browser();
      await planted.open('/identity/logout');
      const names = () => new Map(planted.cookies().map((kept) => [kept.name, kept.value]));
      const before = names();
      expect(before.has(name)).to.equal(true);

      await target.signIn(planted, await target.person());
      expect(await isSignedIn(target, planted)).to.equal(true);
      expect(names().get(name)).not.to.equal(before.get(name));
      const cookie = `${name}=${before.get(name)}; ${name}.sig=${before.get(`${name}.sig`)}`;
      expect(await isSomebodys(target, cookie)).to.equal(false);
    });

    it('never gets the tokens of one person in a flow of another, whatever two tabs do', async () => {
      const client = await target.client();
      const [ann, bob] = [await target.person(), await target.person()];
      const switchTo = async (browser: Browser, { email }: { email: string }) => {
        const login = await target.start(browser, await target.client({ trusted: true }), { prompt: 'login' });
        const landing = await browser.submit(login.url.pathname, { email, password: PASSWORD });
        expect(landing.url.searchParams.has('code')).to.equal(true);
      };

      const atLogin = target.browser();
      const login = await target.start(atLogin, client);
      await switchTo(atLogin, bob);
      const consent = await atLogin.submit(login.url.pathname, { email: ann.email, password: PASSWORD });
      expect(consent.text).to.contain(ann.email).and.not.to.contain(bob.email);
      const landing = await atLogin.submit(consent.url.pathname, { decision: 'allow' });
      expect(await subjectOf(target, client, landing)).to.equal(ann.id);

      const atConsent = target.browser();
      await switchTo(atConsent, ann);
      const asked = await target.start(atConsent, client, { prompt: 'consent' });
      expect(asked.text).to.contain(ann.email);
      await switchTo(atConsent, bob);
      const allowed = await atConsent.submit(asked.url.pathname, { decision: 'allow' });
      expect(allowed.response?.status).to.equal(400);

      const atChooser = target.browser();
      await switchTo(atChooser, ann);
      const chooser = await target.start(atChooser, client, { prompt: 'select_account' });
      await switchTo(atChooser, bob);
      const chosen = await atChooser.submit(chooser.url.pathname, { account: ann.id });
      expect(chosen.response?.status).to.equal(400);
    });

    it('gets nothing out of an interaction that belongs to another browser', async () => {
      const client = await target.client();
      const person = await target.person();
      const credentials = { email: person.email, password: person.password };
      const [owner, thief] = [target.browser(), target.browser()];
      await target.signIn(thief, await target.person());

      const login = await target.start(owner, client);
      for (const server of [target, second]) {
        for (const body of [undefined, credentials, { decision: 'allow' }]) {
          const answer = await server.send(login.url.pathname, { as: thief, ...(body ? { body } : {}) });
          expect(answer.status).to.equal(400);
        }
      }
      const submitted = await owner.request(login.url.pathname, {
        method: 'POST',
        body: new URLSearchParams(credentials),
      });
      const resume = new URL(submitted.headers.get('location') ?? '').pathname;
      const resumed = await target.send(resume, { as: thief });
      expect(resumed.status).to.equal(400);

      const consent = await owner.open(resume);
      const stolen = await target.send(consent.url.pathname, { as: thief, body: { decision: 'allow' } });
      expect(stolen.status).to.equal(400);
      const cancelled = await target.send(`${consent.url.pathname}/cancel`, { as: thief, body: {} });
      expect(cancelled.status).to.equal(400);
      const landing = await owner.submit(consent.url.pathname, { decision: 'allow' });
      expect(await subjectOf(target, client, landing)).to.equal(person.id);
    });

    it('signs nobody in twice by going back, reloading or sending a form again', async () => {
      const client = await target.client({ trusted: true });
      const person = await target.person();
      const browser = target.browser();
      const login = await target.start(browser, client);
      const credentials = { email: person.email, password: person.password };
      const submitted = await browser.request(login.url.pathname, {
        method: 'POST',
        body: new URLSearchParams(credentials),
      });
      const resume = submitted.headers.get('location') ?? '';
      expect((await browser.open(resume)).url.searchParams.get('code')).to.be.a('string');

      const again = [
        await browser.open(login.url.pathname),
        await browser.submit(login.url.pathname, credentials),
        await browser.submit(`${login.url.pathname}/cancel`, {}),
        await browser.open(resume),
      ];
      for (const { response, text } of again) {
        expect(response?.status).to.equal(400);
        expect(text).to.contain('This sign-in is over');
      }
      const { events } = await target.directory.audit.list({ accountId: person.id });
      expect(events.filter(({ type }) => type === 'sign_in')).to.have.length(1);
    });

    it('cannot sign a person out by a link, an image or a forged form', async () => {
      const [victim, stranger] = [target.browser(), target.browser()];
      await target.signIn(victim, await target.person());
      await target.signIn(stranger, await target.person());
      const xsrfOf = ({ text }: Landing) => /name="xsrf" value="([^"]+)"/.exec(text)?.[1] ?? '';
      const foreign = xsrfOf(await stranger.open('/identity/logout'));

      await victim.open('/identity/logout', { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'image' } });
      const own = xsrfOf(await victim.open('/identity/logout'));
      const forged = [{ logout: 'yes' }, { logout: 'yes', xsrf: '' }, { logout: 'yes', xsrf: foreign }];
      for (const body of forged) {
        expect((await target.send('/identity/logout/confirm', { as: victim, body })).status).to.equal(400);
      }
      const inQuery = await target.send(`/identity/logout/confirm?xsrf=${own}&logout=yes`, { as: victim });
      expect(inQuery.status).to.equal(404);
      const asJson = {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ xsrf: own, logout: 'yes' }),
      };
      expect((await target.send('/identity/logout/confirm', { as: victim, ...asJson })).status).to.equal(400);
      expect(await isSignedIn(target, victim)).to.equal(true);
      expect(await isSignedIn(target, stranger)).to.equal(true);

      await victim.submit('/identity/logout/confirm', { xsrf: own });
      expect(await isSignedIn(target, victim), 'stayed').to.equal(true);
    });

    it('is not followed anywhere after a sign-out', async () => {
      const client = await target.client({ postLogoutRedirectUris: ['https://app.example.com/bye'] });
      for (const evil of [
        'https://evil.example/',
        'https://app.example.com/bye/..',
        'https://app.example.com.evil/bye',
        '//evil',
        'javascript:alert(1)',
      ]) {
        const browser = target.browser();
        await target.signIn(browser, await target.person());
        const query = new URLSearchParams({ client_id: client.id, post_logout_redirect_uri: evil });
        const page = await browser.open(`/identity/logout?${query}`);
        expect(page.response?.status, evil).to.equal(200);
        expect(page.response?.headers.get('content-security-policy')).to.contain("form-action 'self';");
        expect(await isSignedIn(target, browser), evil).to.equal(true);
        const { action, fields } = formOf(page.text);
        const end = await browser.submit(action, { ...fields, logout: 'yes' });
        expect(end.url.origin, evil).to.equal(target.issuer);
      }
      const browser = target.browser();
      const page = await browser.open('/identity/logout?post_logout_redirect_uri=https://evil.example/');
      expect(page.response?.headers.get('content-security-policy')).not.to.contain('evil');
      expect(page.text).not.to.contain('<form').and.not.to.contain('evil');
    });

    it('has nothing in a cookie of a session that was signed out', async () => {
      const browser = target.browser();
      await target.signIn(browser, await target.person());
      const cookies = browser.cookies();
      const stolen = { ...browser, cookies: () => cookies };
      expect(await isSignedIn(second, stolen)).to.equal(true);
      const page = await browser.open('/identity/logout');
      const xsrf = /name="xsrf" value="([^"]+)"/.exec(page.text)?.[1] ?? '';
      await browser.submit('/identity/logout/confirm', { xsrf, logout: 'yes' });
      for (const server of [target, second]) {
        expect(await isSignedIn(server, stolen)).to.equal(false);
      }
    });

    it('has nothing in a session of somebody who was disabled, on any server', async () => {
      const person = await target.person();
      const browser = target.browser();
      await target.signIn(browser, person);
      expect(await isSignedIn(second, browser)).to.equal(true);
      await target.directory.accounts.disable(person.id);
      expect(await isSignedIn(second, browser)).to.equal(false);
      await target.directory.accounts.enable(person.id);
      expect(await isSignedIn(second, browser)).to.equal(false);
    });

    it('has nothing in a session that was left alone for three days', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const client = await target.client({ trusted: true });
      const browser = target.browser();
      await target.signIn(browser, await target.person(), client);
      forward(3 * DAY - 10);
      expect(await isSignedIn(second, browser)).to.equal(true);
      forward(11);
      expect(await isSignedIn(target, browser)).to.equal(false);
      expect(await isSignedIn(second, browser)).to.equal(false);
      expect(errorOf(await target.start(browser, client, { prompt: 'none' }))).to.equal('login_required');
    });

    it('has nothing in a session after thirty days, however it is used', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const client = await target.client({ trusted: true });
      const browser = target.browser();
      await target.signIn(browser, await target.person(), client);
      for (let day = 2; day < 30; day += 2) {
        forward(2 * DAY);
        expect(errorOf(await target.start(browser, client, { prompt: 'none' })), `day ${day}`).to.equal(null);
      }
      forward(2 * DAY - 10);
      expect(await isSignedIn(second, browser)).to.equal(true);
      forward(11);
      expect(await isSignedIn(second, browser)).to.equal(false);
      expect(errorOf(await target.start(browser, client, { prompt: 'none' }))).to.equal('login_required');
    });

    it('gains nothing from a clock that jumps, and nobody is locked out for long by it', async () => {
      mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const person = await target.person();
      const wrong = async (browser: Browser) => {
        const login = await target.start(browser, await target.client({ trusted: true }));
        return browser.submit(login.url.pathname, { email: person.email, password: 'a wrong guess' });
      };
      for (const jump of [600, -1200, -DAY]) {
        for (let guess = 0; guess < 5; guess++) await wrong(target.browser());
        expect((await wrong(target.browser())).response?.status, 'is slowed down').to.equal(429);
        forward(jump);
        forward(15 * 60 + 1);
        const landing = await target.signIn(target.browser(), person);
        expect(landing.url.searchParams.get('code'), `after ${jump} s`).to.be.a('string');
      }
    });
  });
});

describe('cookies of an https issuer', () => {
  const ISSUER = 'https://id.example.com';
  let store: TestStore;
  let target: Target;

  before(async () => {
    store = await embeddedStore();
    target = await startTarget(store, { ISSUER, TRUSTED_PROXIES: '127.0.0.1/32' });
  });
  afterEach(() => target.unharmed());
  after(async () => {
    await target.close();
    await store.remove();
  });

  it('go to this host alone, over TLS alone, to no script, and not with what other sites send', async () => {
    const person = await target.person();
    const browser = target.browser();
    const login = await target.start(browser, await target.client({ trusted: true }));
    const authorized = await browser
      .request('/account')
      .then(({ headers }) => browser.request(headers.get('location') ?? ''));
    const submitted = await browser.request(login.url.pathname, {
      method: 'POST',
      body: new URLSearchParams({ email: person.email, password: person.password }),
    });
    const landed = await browser.request(submitted.headers.get('location') ?? '');

    const set = [authorized, submitted, landed].flatMap(({ headers }) => headers.getSetCookie());
    const names = new Set(set.map((cookie) => cookie.split('=', 1)[0]));
    expect([...names]).to.have.members([
      '__Host-latchkey',
      '__Host-latchkey.sig',
      '__Host-latchkey-browser',
      '__Secure-latchkey-interaction',
      '__Secure-latchkey-interaction.sig',
      '__Secure-latchkey-resume',
      '__Secure-latchkey-resume.sig',
    ]);
    for (const cookie of set) {
      expect(cookie)
        .to.match(/; samesite=lax/i)
        .and.match(/; secure/i)
        .and.match(/; httponly/i)
        .and.not.match(/domain=/i);
      expect(cookie).to.match(
        cookie.startsWith('__Host-') ? /; path=\/;/ : /; path=\/(interaction|identity\/authorize)\/[^/;]+;/,
      );
    }
    for (const { headers } of [authorized, submitted, landed]) {
      expect(headers.get('strict-transport-security')).to.match(/^max-age=\d{8}/);
    }
  });

  it('are not made insecure, nor any address changed, by what a request says of its host', async () => {
    const lies = {
      host: 'evil.example',
      'x-forwarded-host': 'evil.example',
      'x-forwarded-proto': 'http',
      'x-forwarded-port': '81',
      forwarded: 'for=evil.example;host=evil.example;proto=http',
      'x-original-url': '/evil',
      'x-rewrite-url': '/evil',
    };
    const discovery = await target.send('/.well-known/openid-configuration', { headers: lies });
    const urls = Object.values(JSON.parse(discovery.text)).filter((value) => /^https?:/.test(String(value)));
    expect(urls).to.have.length.greaterThan(6);
    for (const url of urls) expect(url).to.match(/^https:\/\/id\.example\.com(\/|$)/);

    const client = await target.client({ postLogoutRedirectUris: ['https://app.example.com/bye'] });
    const query = new URLSearchParams({
      client_id: client.id,
      redirect_uri: client.redirectUri,
      response_type: 'code',
      scope: 'openid',
    });
    const { headers, cookies } = await target.send(`/identity/authorize?${query}`, { headers: lies });
    expect(headers.location).to.match(/^(https:\/\/id\.example\.com)?\/interaction\/[^/]+$/);
    for (const cookie of cookies)
      expect(cookie)
        .to.match(/; secure/i)
        .and.match(/^__Secure-/);

    const account = await target.send('/account', { headers: lies });
    expect(new URLSearchParams(account.headers.location).get('redirect_uri')).to.equal(`${ISSUER}/account/callback`);
    const leave = new URLSearchParams({
      client_id: client.id,
      post_logout_redirect_uri: 'https://app.example.com/bye',
    });
    const logout = await target.send(`/identity/logout?${leave}`, { headers: lies });
    expect(logout.text).to.contain(`action="${ISSUER}/identity/logout/confirm"`);
    for (const { text, headers } of [discovery, account, logout]) {
      expect(`${text}${JSON.stringify(headers)}`).not.to.contain('evil');
    }
  });
});
