import { expect } from 'chai';
import { embeddedStore, PASSWORD, type TestStore } from '../support/app.ts';
import { startTarget, type Target } from './web-target.ts';

const SCRIPT = '"><svg onload=alert(1)><script>alert(1)</script>';
const ELSEWHERE = [
  '//evil.example',
  '/\\evil.example',
  '\\\\evil.example',
  '/%09/evil.example',
  '/\t/evil.example',
  '/%2f%2fevil.example',
  '/a/..//evil.example',
  '/a/../..//evil.example',
  '/.//evil.example',
  '/./\\evil.example',
  '/a/%2e%2e//evil.example',
  'https:evil.example',
  'https:/evil.example',
  'https://localhost@evil.example',
  'https://localhost.evil.example',
  'http://localhost:1/',
  'javascript:alert(1)',
  'data:text/html,x',
  '/account\r\nSet-Cookie: a=b',
  '/account%0d%0aSet-Cookie:%20a=b',
  '@evil.example',
  '.evil.example',
  '?x',
  '',
];

describe('an attacker of what pages show and where they lead', () => {
  let store: TestStore;
  let target: Target;

  before(async () => {
    store = await embeddedStore();
    target = await startTarget(store);
  });
  afterEach(() => target.unharmed());
  after(async () => {
    await target.close();
    await store.remove();
  });

  it('cannot send anybody elsewhere with a return address', async () => {
    for (const state of ELSEWHERE) {
      const once = new URLSearchParams({ state });
      const twice = new URLSearchParams(`state=/account&${once}`);
      for (const query of [once, twice]) {
        const { status, headers } = await target.send(`/account/callback?${query}`);
        expect(status).to.be.oneOf([302, 303]);
        expect(new URL(String(headers.location), target.issuer).origin, state).to.equal(target.issuer);
        expect(headers).not.to.have.property('set-cookie');
      }
    }
    const { headers } = await target.send('/account/callback?state=/account/tokens?a=b');
    expect(headers.location, 'a page of ours').to.equal('/account/tokens?a=b');
  });

  it('cannot send anybody elsewhere through parameters nobody reads', async () => {
    const names = ['next', 'return_to', 'returnTo', 'redirect', 'redirect_uri', 'url', 'post_logout_redirect_uri'];
    const query = new URLSearchParams(Object.fromEntries(names.map((name) => [name, 'https://evil.example/'])));
    const headers = { referer: 'https://evil.example/' };
    for (const path of ['/', '/account', '/account/callback', '/setup', '/identity/logout', '/interaction/x']) {
      const answer = await target.send(`${path}?${query}`, { headers });
      const { origin } = new URL(answer.headers.location ?? '/', target.issuer);
      expect(origin, path).to.equal(target.issuer);
      if (!answer.headers.location) expect(answer.text, path).not.to.contain('evil');
    }
  });

  it('cannot have anything run that it makes a page repeat', async () => {
    const client = await target.client();
    const login = await target.start(target.browser(), client, {
      login_hint: SCRIPT,
      display: SCRIPT,
      ui_locales: SCRIPT,
    });
    expect(login.response?.status).to.equal(200);
    expect(login.text).to.contain('&lt;svg');

    const valid = { client_id: client.id, redirect_uri: client.redirectUri, response_type: 'code', scope: 'openid' };
    const pages = [
      login,
      ...(await Promise.all(
        [
          { ...valid, client_id: SCRIPT },
          { ...valid, redirect_uri: `https://evil.example/${SCRIPT}` },
          { ...valid, redirect_uri: 'javascript:alert(1)' },
        ].map((query) => target.browser().open(`/identity/authorize?${new URLSearchParams(query)}`)),
      )),
      await target
        .browser()
        .open(`/account/callback?${new URLSearchParams({ error: SCRIPT, error_description: SCRIPT })}`),
      await target.browser().open(`/setup?${new URLSearchParams({ code: SCRIPT })}`),
      await target.browser().open(`/identity/logout?${new URLSearchParams({ id_token_hint: SCRIPT, state: SCRIPT })}`),
      await target.browser().open(`/${encodeURIComponent(SCRIPT)}`),
    ];
    for (const { text, response } of pages) {
      expect(text)
        .to.match(/<!doctype html>/i)
        .and.not.contain('<svg')
        .and.not.contain('<script>alert')
        .and.not.contain('javascript:');
      expect(response?.headers.get('content-type')).to.equal('text/html; charset=utf-8');
    }
  });

  it('cannot have anything run by a name, of a person, an app, an organization or a permission', async () => {
    const { directory } = target;
    // Angle brackets are refused in a person's name; an administrator's words are not, so pages must escape them.
    await directory.permissions.create({ name: 'evil', description: SCRIPT });
    const organization = await directory.organizations.create({ name: SCRIPT.slice(0, 60) });
    const client = await target.client({
      name: SCRIPT,
      permissions: ['evil'],
      clientUri: 'https://app.example.com/?"><svg onload=1>',
      policyUri: 'https://app.example.com/"><svg>',
    });
    const person = await target.person({
      organizationId: organization.id,
      permissions: ['evil'],
      givenName: '"onfocus="x',
      familyName: "'&amp;{{x}}<%=1%>".replace(/[<>]/g, ''),
    });
    const browser = target.browser();
    const login = await target.start(browser, client, { scope: 'openid evil' });
    const consent = await browser.submit(login.url.pathname, { email: person.email, password: PASSWORD });
    await browser.submit(consent.url.pathname, { decision: 'allow' });
    const chooser = await target.start(browser, client, { prompt: 'select_account' });
    const account = await browser.open('/account');
    const logout = await browser.open(`/identity/logout?client_id=${client.id}`);
    for (const { text } of [login, consent, chooser, account, logout]) {
      expect(text).not.to.match(/<svg|<script>|<[^>]*"onfocus="/);
      expect(text).to.match(/&lt;svg|onfocus/);
    }
  });

  it('cannot choose a file through a language', async () => {
    const names = [
      '../../etc/passwd',
      '..%2f..%2fetc',
      '__proto__',
      'constructor',
      'en/../../x',
      'xx',
      '\0',
      '*',
      'fi'.repeat(2_000),
    ];
    for (const name of names) {
      const query = new URLSearchParams({ ui_locales: name });
      const { text, status } = await target.send(`/setup?${query}`, {
        headers: { 'accept-language': encodeURI(name).slice(0, 4_000) },
      });
      expect(status, name).to.equal(403);
      expect(text, name).to.contain('<html lang="en" ');
    }
    const { text } = await target.send('/setup?ui_locales=xx%20fi-FI', { headers: { 'accept-language': 'en' } });
    expect(text, 'the first that is known').to.contain('<html lang="fi" ');
  });

  it('cannot add a header by a line break in anything that is sent back', async () => {
    const client = await target.client({ trusted: true });
    const state = 'x\r\nSet-Cookie: evil=1\r\n\r\n<script>';
    const browser = target.browser();
    const landing = await target.start(browser, client, { state });
    const done = await browser.submit(landing.url.pathname, {
      email: (await target.person()).email,
      password: PASSWORD,
    });
    expect(done.url.searchParams.get('state')).to.equal(state);
    const refused = await target.start(target.browser(), client, { state, prompt: 'none' });
    expect(refused.url.searchParams.get('state')).to.equal(state);
    expect(browser.cookies().map(({ name }) => name)).not.to.include('evil');
  });

  it('reads no other answer than the page an error asks for', async () => {
    for (const accept of [
      'text/html',
      'application/json',
      '*/*',
      'image/*',
      'text/html;q=0',
      'x/y',
      SCRIPT,
      'text/html,'.repeat(1_000),
    ]) {
      const { status, headers } = await target.send('/nothing', { headers: { accept } });
      expect(status).to.equal(404);
      expect(headers['content-type']).to.match(/^(text\/html|application\/json); charset=utf-8$/);
    }
  });
});
