import { expect } from 'chai';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import type { Browser, Landing } from '../support/browser.ts';
import { createFlows, type Flows, walk } from '../support/flow.ts';

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
    await app.directory.permissions.create({ name: 'reports', description: 'Read your reports' });
  });
  beforeEach(async () => {
    person = await app.person({ permissions: ['reports'] });
    client = await app.client({ permissions: ['reports'], name: 'Curious <b>app</b>' });
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  /** Signs in, and stops where the person is asked for consent, or at the app. */
  async function signIn(browser: Browser, params: Record<string, string> = {}): Promise<Landing> {
    const { url } = await flows.start({ client, params });
    const login = await browser.open(url);
    return browser.submit(login.url.pathname, person);
  }
  const isAsked = ({ text }: Landing) => text.includes('name="decision"');

  it('is asked for in words, with the app’s name escaped', async () => {
    const { text } = await signIn(flows.browser(), { scope: 'openid profile reports' });
    expect(text).to.contain('Curious &lt;b&gt;app&lt;/b&gt;').and.not.to.contain('<b>app</b>');
    expect(text).to.contain('Read your reports').and.to.contain(person.email);
    expect(text)
      .to.match(/name="decision" value="allow"/)
      .and.to.match(/name="decision" value="deny"/);
  });

  it('comes with the app’s logo and where it says what it does, and so does the login form', async () => {
    const links = { policyUri: 'https://app.example.com/policy', tosUri: 'https://app.example.com/terms' };
    client = await app.client({
      ...links,
      logoUri: 'https://app.example.com/logo.png',
      clientUri: 'https://app.example.com',
    });
    const login = await flows.browser().open((await flows.start({ client })).url);
    const consent = await signIn(flows.browser());
    expect(isAsked(consent)).to.equal(true);
    for (const { text } of [login, consent]) {
      expect(text).to.match(/<img[^>]* src="https:\/\/app\.example\.com\/logo\.png"/);
      for (const link of Object.values(links)) expect(text).to.contain(`href="${link}"`);
    }
  });

  it('is remembered: the same person in another browser is not asked', async () => {
    const consent = await signIn(flows.browser());
    expect(isAsked(consent)).to.equal(true);
    await flows.tokens({ client, person });
    const again = await signIn(flows.browser());
    expect(again.url.searchParams.get('code')).to.be.a('string');
  });

  it('is asked for again when more is wanted, and then only for what is new', async () => {
    await flows.tokens({ client, person, params: { scope: 'openid email' } });
    const more = await signIn(flows.browser(), { scope: 'openid email reports' });
    expect(isAsked(more)).to.equal(true);
    expect(more.text).to.contain('Read your reports');
    const { scope } = await flows.tokens({ client, person, params: { scope: 'openid email reports' } });
    expect(scope).to.equal('openid email reports');
    const less = await signIn(flows.browser(), { scope: 'openid' });
    expect(less.url.searchParams.get('code')).to.be.a('string');
  });

  it('is asked for by prompt=consent, although it was given', async () => {
    await flows.tokens({ client, person });
    expect(isAsked(await signIn(flows.browser(), { prompt: 'consent' }))).to.equal(true);
  });

  it('that is refused is told to the app, grants nothing, and is not remembered', async () => {
    const browser = flows.browser();
    const consent = await signIn(browser, { state: 'x' });
    const refused = await browser.submit(consent.url.pathname, { decision: 'deny' });
    expect(Object.fromEntries(refused.url.searchParams)).to.include({
      error: 'access_denied',
      state: 'x',
      iss: app.issuer,
    });
    expect(refused.url.searchParams.has('code')).to.equal(false);
    const silent = await flows.start({ client, params: { prompt: 'none' } });
    expect((await browser.open(silent.url)).url.searchParams.get('error')).to.equal('consent_required');
    expect(isAsked(await browser.open((await flows.start({ client })).url))).to.equal(true);
    const { events } = await app.directory.audit.list({ accountId: person.id });
    expect(events.map(({ type }) => type))
      .to.include('consent_denied')
      .and.not.to.include('consent_granted');
  });

  it('refused for more leaves what was allowed before', async () => {
    const browser = flows.browser();
    await flows.tokens({ client, person, browser, params: { scope: 'openid email' } });
    const more = await browser.open((await flows.start({ client, params: { scope: 'openid reports' } })).url);
    await browser.submit(more.url.pathname, { decision: 'deny' });
    const before = await flows.start({ client, params: { scope: 'openid email', prompt: 'none' } });
    expect((await browser.open(before.url)).url.searchParams.get('code')).to.be.a('string');
  });

  it('cancelled at the login form is a refusal as well', async () => {
    const browser = flows.browser();
    const login = await browser.open((await flows.start({ client, params: { state: 'x' } })).url);
    const { url } = await browser.submit(`${login.url.pathname}/cancel`, {});
    expect(Object.fromEntries(url.searchParams)).to.include({ error: 'access_denied', state: 'x', iss: app.issuer });
  });

  it('is not asked for by an app of our own, which gets a refresh token without it', async () => {
    client = await app.client({ trusted: true, permissions: ['reports'] });
    const browser = flows.browser();
    const landing = await signIn(browser, { scope: 'openid profile reports' });
    expect(landing.url.searchParams.get('code')).to.be.a('string');
    const params = { scope: 'openid offline_access reports', prompt: 'consent' };
    const { url, verifier } = await flows.start({ client, params });
    const { url: callback } = await browser.open(url);
    const { body } = await flows.redeem(client, { code: String(callback.searchParams.get('code')), verifier });
    expect(String(body.scope).split(' ')).to.have.members(params.scope.split(' '));
    expect(body).to.have.property('refresh_token');
  });

  it('grants what was asked and nothing a form adds; other answers are refused', async () => {
    const browser = flows.browser();
    const { url, verifier } = await flows.start({ client, params: { scope: 'openid email' } });
    const login = await browser.open(url);
    const consent = await browser.submit(login.url.pathname, person);
    const wrong = await browser.submit(consent.url.pathname, { decision: 'perhaps' });
    expect(wrong.response?.status).to.equal(400);
    const extra = { decision: 'allow', scope: 'openid email reports', scopes: 'reports', accountId: 'x' };
    const landing = await browser.submit(consent.url.pathname, extra);
    const { body } = await flows.redeem(client, { code: String(landing.url.searchParams.get('code')), verifier });
    expect(body.scope).to.equal('openid email');
  });

  it('is asked for each time on an app that anybody can pretend to be: one installed on a device', async () => {
    const native = await app.client({ public: true, redirectUris: ['com.example.app:/callback'] });
    const browser = flows.browser();
    await walk(browser, (await flows.start({ client: native })).url, person);
    const again = await browser.open((await flows.start({ client: native })).url);
    expect(isAsked(again)).to.equal(true);
  });

  it('is one person’s: another in the same browser is asked', async () => {
    const browser = flows.browser();
    await flows.tokens({ client, person, browser });
    const other = await app.person();
    const choose = await browser.open((await flows.start({ client, params: { prompt: 'select_account' } })).url);
    const login = await browser.submit(choose.url.pathname, { account: 'other' });
    expect(login.text).to.contain('name="password"');
    let landing = await browser.submit(login.url.pathname, other);
    if (!landing.url.pathname.startsWith('/interaction/')) landing = await continued(browser, landing);
    expect(isAsked(landing)).to.equal(true);
    expect(landing.text).to.contain(other.email).and.not.to.contain(person.email);
  });

  /** Presses the button of a page that would submit itself with JavaScript. */
  async function continued(browser: Browser, { text, url }: Landing): Promise<Landing> {
    const [, action = ''] = /<form[^>]* action="([^"]*)"/.exec(text) ?? [];
    const fields = [...text.matchAll(/name="([^"]*)" value="([^"]*)"/g)].map(([, name, value]) => [name, value]);
    return browser.submit(new URL(action, url).href, Object.fromEntries(fields));
  }
});
