import { mock } from 'node:test';
import { expect } from 'chai';
import { decodeJwt, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose';
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

  /** Asks, names nobody it could not verify, and ends on a page of ours. */
  async function isOnlyAQuestion(params: Record<string, string>): Promise<void> {
    const { browser } = await signIn();
    const page = await browser.open(logoutUrl(params));
    expect(page.response?.status, JSON.stringify(params)).to.equal(200);
    expect(page.text).to.contain('could not verify').and.not.to.contain('Sample app');
    expect(page.response?.headers.get('content-security-policy')).to.contain("form-action 'self';");
    expect(await isSignedIn(browser)).to.equal(true);
    const landing = await confirm(browser, await browser.open(logoutUrl(params)));
    expect(landing.url.origin, JSON.stringify(params)).to.equal(app.issuer);
    expect(titleOf(landing.text)).to.equal('You are signed out');
    expect(await isSignedIn(browser)).to.equal(false);
  }

  it('never goes to a URI that is not registered, to the letter: it becomes a question', async () => {
    const { hint } = await signIn();
    for (const wrong of [
      'https://evil.example/',
      `${GOODBYE}?extra=1`,
      `${GOODBYE}/`,
      'javascript:alert(1)',
      '//evil.example',
      client.redirectUri,
    ]) {
      await isOnlyAQuestion({ id_token_hint: hint, post_logout_redirect_uri: wrong, state: 's' });
      await isOnlyAQuestion({ client_id: client.id, post_logout_redirect_uri: wrong });
    }
  });

  it('makes a question of hints that we did not sign, or that contradict the app', async () => {
    const { hint } = await signIn();
    const [header = '', payload = ''] = hint.split('.');
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const foreign = await new SignJWT({ sub: person.id })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuer('https://evil.example')
      .setAudience(client.id)
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(client.secret));
    const retired = await new SignJWT({ ...decodeJwt(hint) })
      .setProtectedHeader({ alg: 'RS256', kid: 'retired' })
      .sign((await generateKeyPair('RS256')).privateKey);
    const wrong: Record<string, string>[] = [
      { id_token_hint: `${encode({ alg: 'none' })}.${payload}.` },
      { id_token_hint: `${header}.${payload}.${'A'.repeat(342)}` },
      { id_token_hint: foreign },
      { id_token_hint: retired },
      { id_token_hint: 'not.a.token' },
      { id_token_hint: '' },
      { id_token_hint: hint, client_id: (await app.client()).id },
      { id_token_hint: foreign, client_id: client.id },
      { client_id: 'unknown' },
    ];
    for (const params of wrong) await isOnlyAQuestion({ ...params, post_logout_redirect_uri: GOODBYE });
  });

  it('makes a question of the hint of a former issuer, and of an app that is gone', async () => {
    const former = await startApp(store, { ISSUER: 'https://former.example' });
    const gone = await app.client();
    const { url } = await flows.start({ client: gone });
    const hints = [String((await flows.tokens({ client: gone, person })).id_token)];
    expect(url).to.contain(gone.id);
    await app.directory.clients.remove(gone.id);
    const key = await former.directory.signingKeys.load();
    const jwk = key.keys[0];
    if (!jwk) throw new Error('there is no key');
    hints.push(
      await new SignJWT({ sub: person.id })
        .setProtectedHeader({ alg: 'RS256', kid: String(jwk.kid) })
        .setIssuer('https://former.example')
        .setAudience([client.id])
        .setIssuedAt()
        .setExpirationTime('1h')
        .sign(await importJWK(jwk as JWK, 'RS256')),
    );
    await former.close();
    for (const id_token_hint of hints) await isOnlyAQuestion({ id_token_hint, post_logout_redirect_uri: GOODBYE });
  });

  it('makes a question of what was sent more than once', async () => {
    const { browser } = await signIn();
    const page = await browser.open(`${logoutUrl({ client_id: client.id })}&client_id=${client.id}`);
    expect((await confirm(browser, page)).url.origin).to.equal(app.issuer);
    expect(await isSignedIn(browser)).to.equal(false);
  });

  describe('by an app that is trusted', () => {
    let trusted: TestClient;
    before(async () => {
      trusted = await app.client({ trusted: true, postLogoutRedirectUris: [GOODBYE] });
    });
    const url = (id_token_hint: string) =>
      logoutUrl({ id_token_hint, post_logout_redirect_uri: GOODBYE, state: 'a state' });

    async function enter(who = person, browser = flows.browser()) {
      const tokens = await flows.tokens({ client: trusted, person: who, browser });
      return { browser, hint: String(tokens.id_token), token: tokens.access_token };
    }

    it('with the hint of this session asks nothing and returns', async () => {
      const { browser, hint, token } = await enter();
      const landing = await browser.open(url(hint));
      expect(landing.url.href).to.equal(`${GOODBYE}?state=a+state`);
      expect(await isSignedIn(browser)).to.equal(false);
      expect((await flows.userinfo(token)).status).to.equal(401);
      const { events } = await app.directory.audit.list({ accountId: person.id, limit: 3 });
      expect(events.map(({ type }) => type)).to.include('sign_out');
    });

    it('with nowhere to return to ends on a page of ours', async () => {
      const { browser, hint } = await enter();
      const landing = await browser.open(logoutUrl({ id_token_hint: hint }));
      expect(titleOf(landing.text)).to.equal('You are signed out');
      expect(await isSignedIn(browser)).to.equal(false);
    });

    it('asks when the hint is another person’s, or of a browser in which this app was not opened', async () => {
      const other = await enter(await app.person());
      const { browser } = await enter();
      const stranger = await signIn();
      const { hint } = await enter();
      for (const [who, whose] of [
        [browser, other.hint],
        [stranger.browser, hint],
      ] as const) {
        expect(titleOf((await who.open(url(whose))).text)).to.equal('Sign out?');
        expect(await isSignedIn(who)).to.equal(true);
        expect((await confirm(who, await who.open(url(whose)))).url.href).to.equal(`${GOODBYE}?state=a+state`);
      }
    });

    it('without a hint asks', async () => {
      const { browser } = await enter();
      const page = await browser.open(logoutUrl({ client_id: trusted.id, post_logout_redirect_uri: GOODBYE }));
      expect((await confirm(browser, page)).url.href).to.equal(GOODBYE);
    });
  });

  it('of nobody, without an app, says so and where to sign in', async () => {
    for (const params of [{}, { client_id: 'unknown', post_logout_redirect_uri: GOODBYE }]) {
      const page = await flows.browser().open(logoutUrl(params as Record<string, string>));
      expect(page.response?.status).to.equal(200);
      expect(titleOf(page.text)).to.equal('Nobody is signed in');
      expect(page.text).to.contain('href="/account"').and.not.to.contain('<form');
    }
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
