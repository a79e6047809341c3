/** Somebody else signs in to a browser in which a person is signed in: in a real one, for each way in which that can happen. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import type { Browser, Page } from 'playwright-core';
import { onEachEngine, PASSWORD, startApp, type TestApp, type TestClient, type TestStore } from './support/app.ts';
import { launchChromium, openProfile } from './support/chromium.ts';
import { createFlows, type Flows, walk } from './support/flow.ts';
import { type Providers, startProviders } from './support/provider-sign-in.ts';

onEachEngine((openStore) => {
  let browser: Browser;
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let server: Server;
  let providers: Providers;
  let origin: string;
  let ada: Awaited<ReturnType<TestApp['person']>>;
  let ben: Awaited<ReturnType<TestApp['person']>>;
  let trusted: TestClient;
  const told: string[] = [];

  before(async function begin() {
    this.timeout(30_000);
    store = await openStore();
    [browser, app] = await Promise.all([
      launchChromium(),
      startApp(store, { OUTBOUND_ALLOW: '127.0.0.0/8,::1/128', LOG_LEVEL: 'silent' }),
    ]);
    flows = createFlows(app.issuer);
    providers = await startProviders();
    await providers.register(app.directory);
    server = createServer((request, response) => {
      if (request.method === 'POST') told.push(String(request.url));
      response.setHeader('Content-Type', 'text/html').end('<h1>the app</h1>');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    origin = `http://localhost:${(server.address() as AddressInfo).port}`;
    [ada, ben] = [await app.person({ givenName: 'Ada' }), await app.person({ givenName: 'Ben' })];
    const { subject } = providers.somebody({ givenName: 'Ben', familyName: 'Okafor' });
    for (const identityProviderId of ['github', 'openid'])
      await app.directory.links.add({ identityProviderId, subject, accountId: ben.id });
    trusted = await app.client({
      name: 'Orders',
      trusted: true,
      redirectUris: [`${origin}/callback`],
      backchannelLogoutUri: `${origin}/signed-out`,
    });
  });
  after(async () => {
    server.close().closeAllConnections();
    await Promise.all([browser.close(), app.close(), providers.close()]);
    await store.remove();
  });

  async function signIn(page: Page, { email }: { email: string }): Promise<void> {
    await page.fill('[name=email]', email);
    await page.fill('[name=password]', PASSWORD);
    await page.click('main form button.button--primary');
  }

  /** What the app learns at its callback. */
  async function arrival(page: Page, redirectUri: string): Promise<URLSearchParams> {
    await page.waitForURL(`${redirectUri}?**`);
    await page.waitForSelector('text=the app');
    return new URL(page.url()).searchParams;
  }

  async function subjectOf(client: TestClient, code: string | null, verifier: string): Promise<unknown> {
    const { body } = await flows.redeem(client, { code: String(code), verifier });
    return decodeJwt(String(body.id_token)).sub;
  }

  /** Ada is signed in at the app; then it asks again, and what follows is done on its pages. */
  async function change(
    { client, javaScriptEnabled = true }: { client: TestClient; javaScriptEnabled?: boolean },
    params: Record<string, string>,
    answer: (page: Page) => Promise<void>,
  ): Promise<void> {
    const { context, problems } = await openProfile(browser, { javaScriptEnabled });
    // An app on the web, for a browser without a network.
    await context.route('https://app.example.com/**', (route) =>
      route.fulfill({ contentType: 'text/html', body: '<h1>the app</h1>' }),
    );
    const page = await context.newPage();
    page.setDefaultTimeout(5_000);
    await page.goto((await flows.start({ client })).url);
    await signIn(page, ada);
    if (!client.record.trusted) await page.click('[name=decision][value=allow]');
    await arrival(page, client.redirectUri);
    const [before] = await app.directory.sessions.list(ada.id);
    // A sign-in is older than `max_age=0` only when the second is over.
    if (params.max_age) await new Promise((resolve) => setTimeout(resolve, 1_100));

    const { url, verifier } = await flows.start({ client, params });
    await page.goto(url);
    await answer(page);
    const answered = await arrival(page, client.redirectUri);
    expect(await subjectOf(client, answered.get('code'), verifier)).to.equal(ben.id);
    expect(await app.directory.sessions.list(ada.id)).not.to.deep.include(before);
    const sessions = await app.directory.sessions.list(ben.id);
    expect(sessions.length).to.be.above(0);
    await page.goto(`${app.issuer}/account`);
    expect(await page.textContent('h1')).to.contain('Ben');
    expect(problems).to.deep.equal([]);
    await context.close();
    await app.directory.sessions.endAll(ben.id);
  }

  async function chooseAnother(page: Page): Promise<void> {
    await page.click('[name=account][value=other]');
    await signIn(page, ben);
  }

  async function comeFrom(page: Page, provider: string): Promise<void> {
    await page.getByRole('button', { name: `Continue with ${provider}` }).click();
    await page.getByRole('link', { name: 'Ben Okafor' }).click();
  }

  const ways: Record<string, [Record<string, string>, (page: Page) => Promise<void>]> = {
    'after prompt=login': [{ prompt: 'login' }, (page) => signIn(page, ben)],
    'after max_age=0': [{ max_age: '0' }, (page) => signIn(page, ben)],
    'by another account of the chooser': [{ prompt: 'select_account' }, chooseAnother],
    'from a provider that is asked again': [{ prompt: 'login' }, (page) => comeFrom(page, 'Acme')],
    'by the chooser and a provider': [
      { prompt: 'select_account' },
      async (page) => {
        await page.click('[name=account][value=other]');
        await comeFrom(page, 'GitHub');
      },
    ],
  };

  for (const [name, [params, answer]] of Object.entries(ways)) {
    for (const javaScriptEnabled of [true, false]) {
      it(`${name} arrives at the app, ${javaScriptEnabled ? 'with' : 'without'} JavaScript`, async function arrives() {
        this.timeout(30_000);
        await change({ client: trusted, javaScriptEnabled }, params, answer);
      });
    }
  }

  it('is asked for consent, and arrives at an app on the web', async function web() {
    this.timeout(30_000);
    const client = await app.client();
    await change({ client }, { prompt: 'login' }, async (page) => {
      await signIn(page, ben);
      expect(await page.textContent('.identity')).to.contain(ben.email);
      await page.click('[name=decision][value=allow]');
    });
  });

  it('from the consent page of the other arrives as well', async function atConsent() {
    this.timeout(30_000);
    const client = await app.client();
    await change({ client }, { prompt: 'consent' }, async (page) => {
      await page.click('[name=decision][value=switch]');
      await signIn(page, ben);
      await page.click('[name=decision][value=allow]');
    });
  });

  it('leaves the apps of the other told, and the trail with a sign-out', async () => {
    told.length = 0;
    const visitor = flows.browser();
    await flows.authorize({ client: trusted, person: ada, browser: visitor });
    await flows.authorize({ client: trusted, person: ben, browser: visitor, params: { prompt: 'login' } });
    while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 100));
    expect(told).to.include('/signed-out');
    const { events } = await app.directory.audit.list({ accountId: ada.id, limit: 3 });
    expect(events.map(({ type }) => type)).to.include('sign_out');
  });

  it('reaches apps on a phone, and on an IPv6 loopback address, as far as our policy has a say', async () => {
    for (const redirectUri of ['com.example.orders:/callback', 'http://[::1]:8123/callback']) {
      const client = await app.client({ redirectUris: [redirectUri], public: true, trusted: true });
      const visitor = flows.browser();
      await flows.authorize({ client: trusted, person: ada, browser: visitor });
      const { url } = await flows.start({ client, params: { prompt: 'login' } });
      const login = await visitor.open(url);
      const allowed = `form-action 'self' ${new URL(redirectUri).protocol}`;
      expect(login.response?.headers.get('content-security-policy')).to.contain(allowed);
      const landing = await walk(visitor, login.url.href, ben);
      expect(landing.url.href.startsWith(redirectUri), landing.url.href).to.equal(true);
    }
  });
});
