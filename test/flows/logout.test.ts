import { mock } from 'node:test';
import { expect } from 'chai';
import { SignJWT } from 'jose';
import * as oidc from 'openid-client';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import type { Browser, Landing } from '../support/browser.ts';
import { createFlows, type Flows, formOf, titleOf } from '../support/flow.ts';

const GOODBYE = 'https://app.example.com/goodbye';

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
    client = await app.client({ postLogoutRedirectUris: [GOODBYE] });
  });
  afterEach(() => mock.timers.reset());
  after(async () => {
    await app.close();
    await store.remove();
  });

  async function signIn() {
    const browser = flows.browser();
    const tokens = await flows.tokens({ client, person, browser });
    return { browser, hint: String(tokens.id_token), token: tokens.access_token };
  }

  const logoutUrl = (params: Record<string, string>) => `${app.issuer}/identity/logout?${new URLSearchParams(params)}`;

  /** Presses "sign out" on the page that asks. */
  function confirm(browser: Browser, page: Landing): Promise<Landing> {
    expect(titleOf(page.text)).to.equal('Sign out?');
    const { action, fields } = formOf(page.text);
    return browser.submit(action, { ...fields, logout: 'yes' });
  }

  async function isSignedIn(browser: Browser): Promise<boolean> {
    const { url } = await flows.start({ client, params: { prompt: 'none' } });
    const answer = (await browser.open(url)).url.searchParams;
    if (!answer.has('code')) expect(answer.get('error')).to.equal('login_required');
    return answer.has('code');
  }

  it('asks, signs out, and comes back to the app with its state', async () => {
    const { browser, hint, token } = await signIn();
    const copy = browser
      .cookies()
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
    const url = oidc.buildEndSessionUrl(await flows.configure(client), {
      id_token_hint: hint,
      post_logout_redirect_uri: GOODBYE,
      state: 'x'.repeat(128),
    });
    const page = await browser.open(url.href);
    expect(page.text).to.contain('Sample app').and.to.contain(person.email);
    expect(await isSignedIn(browser)).to.equal(true);

    const landing = await confirm(browser, await browser.open(url.href));
    expect(landing.url.href).to.equal(`${GOODBYE}?state=${'x'.repeat(128)}`);
    expect(await isSignedIn(browser)).to.equal(false);
    expect((await flows.userinfo(token)).status).to.equal(401);
    const { url: silent } = await flows.start({ client, params: { prompt: 'none' } });
    const replayed = await fetch(silent, { redirect: 'manual', headers: { cookie: copy } });
    expect(replayed.headers.get('location')).to.contain('error=login_required');
    const { events } = await app.directory.audit.list({ accountId: person.id, limit: 10 });
    expect(events.map(({ type }) => type)).to.include('sign_out');
  });

  it('knows the app by the hint alone, and needs no state', async () => {
    const { browser, hint } = await signIn();
    const page = await browser.open(logoutUrl({ id_token_hint: hint, post_logout_redirect_uri: GOODBYE }));
    expect((await confirm(browser, page)).url.href).to.equal(GOODBYE);
    expect(await isSignedIn(browser)).to.equal(false);
  });

  it('knows the app by its id alone', async () => {
    const { browser } = await signIn();
    const page = await browser.open(logoutUrl({ client_id: client.id, post_logout_redirect_uri: GOODBYE, state: 's' }));
    expect((await confirm(browser, page)).url.href).to.equal(`${GOODBYE}?state=s`);
  });

  it('takes an ID token that has expired as a hint', async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const { browser, hint } = await signIn();
    mock.timers.tick(2 * 60 * 60 * 1000);
    const page = await browser.open(logoutUrl({ id_token_hint: hint, post_logout_redirect_uri: GOODBYE }));
    expect((await confirm(browser, page)).url.href).to.equal(GOODBYE);
  });

  it('takes its parameters by POST as well', async () => {
    const { browser, hint } = await signIn();
    const params = { id_token_hint: hint, client_id: client.id, post_logout_redirect_uri: GOODBYE, state: 's' };
    const page = await browser.submit('/identity/logout', params);
    expect((await confirm(browser, page)).url.href).to.equal(`${GOODBYE}?state=s`);
  });

  it('never goes to a URI that is not registered, to the letter', async () => {
    const { browser, hint } = await signIn();
    for (const wrong of [
      'https://evil.example/',
      `${GOODBYE}?extra=1`,
      `${GOODBYE}/`,
      'javascript:alert(1)',
      '//evil.example',
      client.redirectUri,
    ]) {
      const page = await browser.open(logoutUrl({ id_token_hint: hint, post_logout_redirect_uri: wrong, state: 's' }));
      expect(page.response?.status, wrong).to.equal(400);
      expect(page.response?.headers.get('content-type')).to.contain('text/html');
    }
    expect(await isSignedIn(browser)).to.equal(true);
  });

  it('refuses hints that we did not sign, or that contradict the app', async () => {
    const { browser, hint } = await signIn();
    const [header = '', payload = ''] = hint.split('.');
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const foreign = await new SignJWT({ sub: person.id })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuer('https://evil.example')
      .setAudience(client.id)
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(client.secret));
    const wrong: Record<string, string>[] = [
      { id_token_hint: `${encode({ alg: 'none' })}.${payload}.` },
      { id_token_hint: `${header}.${payload}.${'A'.repeat(342)}` },
      { id_token_hint: foreign },
      { id_token_hint: 'not.a.token' },
      { id_token_hint: hint, client_id: (await app.client()).id },
      { client_id: 'unknown' },
    ];
    for (const params of wrong) {
      const page = await browser.open(logoutUrl({ ...params, post_logout_redirect_uri: GOODBYE }));
      expect(page.response?.status, JSON.stringify(params)).to.equal(400);
    }
    expect(await isSignedIn(browser)).to.equal(true);
  });

  it('without parameters, or with a state or a URI alone, ends on a page of ours', async () => {
    for (const params of [{}, { state: 's' }, { post_logout_redirect_uri: GOODBYE }]) {
      const { browser } = await signIn();
      const landing = await confirm(browser, await browser.open(logoutUrl(params as Record<string, string>)));
      expect(landing.url.origin).to.equal(app.issuer);
      expect(landing.response?.status).to.equal(200);
      expect(await isSignedIn(browser)).to.equal(false);
    }
  });

  it('of nobody comes back to the app all the same', async () => {
    const { hint } = await signIn();
    const stranger = flows.browser();
    const page = await stranger.open(logoutUrl({ id_token_hint: hint, post_logout_redirect_uri: GOODBYE, state: 's' }));
    const { action, fields } = formOf(page.text);
    expect(page.response?.headers.get('content-security-policy')).to.contain("form-action 'self' https:");
    expect((await stranger.submit(action, fields)).url.href).to.equal(`${GOODBYE}?state=s`);
  });

  it('may be declined: the person stays signed in, the app alone is left', async () => {
    const { browser, hint, token } = await signIn();
    const page = await browser.open(logoutUrl({ id_token_hint: hint, post_logout_redirect_uri: GOODBYE }));
    const { action, fields } = formOf(page.text);
    expect((await browser.submit(action, fields)).url.href).to.equal(GOODBYE);
    expect((await flows.userinfo(token)).status).to.equal(401);
    expect(await isSignedIn(browser)).to.equal(true);
  });

  it('needs the person’s own page: neither a link, nor a form of another site or session, signs anybody out', async () => {
    const { browser, hint } = await signIn();
    await browser.open(logoutUrl({ id_token_hint: hint, post_logout_redirect_uri: GOODBYE }));
    const other = await signIn();
    const theirs = formOf((await other.browser.open(logoutUrl({}))).text).fields;
    for (const fields of [{}, { xsrf: 'x' }, theirs]) {
      const landing = await browser.submit('/identity/logout/confirm', { ...fields, logout: 'yes' } as Record<
        string,
        string
      >);
      expect(landing.response?.status).to.equal(400);
    }
    const got = await browser.open('/identity/logout/confirm?logout=yes');
    expect(got.response?.status).to.be.oneOf([400, 404, 405]);
    expect(await isSignedIn(browser)).to.equal(true);
  });
});
