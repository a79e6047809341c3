import { expect } from 'chai';
import {
  onEachEngine,
  PASSWORD,
  startApp,
  startProcess,
  type TestApp,
  type TestProcess,
  type TestStore,
} from './support/app.ts';
import { type Browser, createBrowser } from './support/browser.ts';
import { createFlows, formOf } from './support/flow.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let other: TestProcess;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    other = await startProcess(store, { ISSUER: app.issuer });
    for (const name of ['reports', 'settings']) {
      await app.directory.permissions.create({ name, description: `May use ${name}` });
    }
  });
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await store.remove();
  });

  async function signIn(person: { email: string; password: string }, path = '/account/tokens') {
    const browser = createBrowser(app.issuer);
    const login = await browser.open(path);
    const landing = await browser.submit(login.url.pathname, { email: person.email, password: person.password });
    expect(landing.url.pathname).to.equal(path.split('?')[0]);
    return { browser, landing };
  }

  async function visitor() {
    const person = await app.person({ permissions: ['reports', 'settings'] });
    return { person, ...(await signIn(person)) };
  }

  /** The status that the other process gives a token. */
  const verdict = async (token: string) =>
    (await fetch(`${other.url}/verify`, { headers: { authorization: `Bearer ${token}` } })).status;

  async function makeToken(browser: Browser, fields: Record<string, string> = {}) {
    const { text } = await browser.open('/account/tokens/new');
    const hidden = String(/name="form" value="([^"]+)"/.exec(text)?.[1]);
    const sent = { form: hidden, description: 'Nightly report', expires_in: '604800', access: 'all', ...fields };
    const made = await browser.submit('/account/tokens/new', sent);
    return { made, sent, token: /lk_pat_[0-9A-Za-z]{36}/.exec(made.text)?.[0] };
  }

  it('sends whoever is signed out to sign in, and back to where they wanted', async () => {
    const person = await app.person();
    for (const path of ['/account', '/account/sessions', '/account/apps', '/account/security'])
      await signIn(person, path);
  });

  it('empties no part of a profile because what was sent of it is too long, or came twice', async () => {
    const { person, browser } = await visitor();
    await browser.submit('/account', { given_name: 'Ada', website: 'https://ada.example/' });
    for (const wrong of [
      { given_name: 'x'.repeat(5_000) },
      { given_name: 'Ada', website: `https://ada.example/${'x'.repeat(3_000)}` },
    ])
      expect((await browser.submit('/account', wrong)).response?.status).to.equal(400);
    const twice = new URLSearchParams([
      ['given_name', 'Ada'],
      ['given_name', 'Eve'],
    ]);
    expect((await browser.request('/account', { method: 'POST', body: twice })).status).to.equal(400);
    expect(await app.directory.accounts.getOrFail(person.id)).to.include({
      givenName: 'Ada',
      website: 'https://ada.example/',
    });
  });

  it('makes a token that works, shows it once, and makes no second one for the same form', async () => {
    const { person, browser } = await visitor();
    const { made, sent, token } = await makeToken(browser);
    expect(made.response?.status).to.equal(200);
    expect(made.response?.headers.get('cache-control')).to.contain('no-store');
    expect(await verdict(String(token))).to.equal(200);
    const again = await browser.submit('/account/tokens/new', sent);
    expect(again.text).not.to.match(/lk_pat_[0-9A-Za-z]{36}/);
    expect(await app.directory.personalTokens.list(person.id)).to.have.length(1);
    expect((await browser.open('/account/tokens')).text)
      .to.contain('Nightly report')
      .and.not.to.contain(token);
  });

  it('gives a token only the permissions that were chosen', async () => {
    const { person, browser } = await visitor();
    await makeToken(browser, { access: 'some', permission: 'reports' });
    const [token] = await app.directory.personalTokens.list(person.id);
    expect(token?.scope).to.deep.equal(['reports']);
  });

  it('fills in what a link asks for, as text', async () => {
    const { browser } = await visitor();
    const { text } = await browser.open(
      '/account/tokens/new?description=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&scope=reports',
    );
    expect(text).to.contain('&lt;script&gt;').and.not.to.contain('<script>alert');
  });

  it('chooses all that a link asks for, in one parameter or in several', async () => {
    const { browser } = await visitor();
    const held = [...(await browser.open('/account/tokens/new')).text.matchAll(/name="permission" value="([^"]+)"/g)];
    const [first = '', second = ''] = held.map(([, name]) => name);
    for (const query of [`scope=${first}&scope=${second}`, `scope=${first}+${second}`]) {
      const { text } = await browser.open(`/account/tokens/new?${query}`);
      const chosen = [...text.matchAll(/name="permission" value="([^"]+)"[^>]* checked/g)].map(([, name]) => name);
      expect(chosen, query).to.have.members([first, second]);
    }
  });

  it('revokes a token at the very next request, and touches nobody else’s', async () => {
    const { browser } = await visitor();
    const stranger = await visitor();
    const { token } = await makeToken(browser);
    const [record] = await app.directory.personalTokens.list(
      (await app.directory.accounts.getOrFail((await me(String(token))).sub)).id,
    );
    const path = `/account/tokens/${record?.id}/revoke`;
    expect((await stranger.browser.submit(path, {})).response?.status).to.equal(404);
    expect(await verdict(String(token))).to.equal(200);
    await browser.submit(path, {});
    expect(await verdict(String(token))).to.equal(401);
  });

  it('does nothing that another site’s page asks for', async () => {
    const { person, browser } = await visitor();
    const { token } = await makeToken(browser);
    const [record] = await app.directory.personalTokens.list(person.id);
    const paths = [
      `/account/tokens/${record?.id}/revoke`,
      '/account/sessions/end-others',
      '/account/security/everything',
      '/account/security',
      '/account',
    ];
    for (const path of paths) {
      for (const headers of [
        { origin: 'https://evil.example' },
        { origin: 'null' },
        { 'sec-fetch-site': 'cross-site' },
      ]) {
        const response = await browser.request(path, {
          method: 'POST',
          headers: headers as Record<string, string>,
          body: new URLSearchParams({ x: '1' }),
        });
        expect(response.status, path).to.equal(403);
      }
    }
    expect(await verdict(String(token))).to.equal(200);
  });

  it('takes an app’s access back: its tokens are dead and it has to ask again', async () => {
    const person = await app.person({ permissions: ['reports'] });
    const client = await app.client({ permissions: ['reports'] });
    const flows = createFlows(app.issuer);
    const browser = createBrowser(app.issuer);
    const { access_token: token } = await flows.tokens({
      person,
      client,
      browser,
      params: { scope: 'openid reports' },
    });
    expect(await verdict(token)).to.equal(200);
    expect((await browser.open('/account/apps')).text)
      .to.contain('Sample app')
      .and.to.contain('May use reports');
    await browser.submit(`/account/apps/${client.id}/remove`, {});
    expect(await verdict(token)).to.equal(401);
    expect((await browser.open('/account/apps')).text).not.to.contain('May use reports');
    const silent = await flows.authorizeUrl(client, {
      response_type: 'code',
      scope: 'openid reports',
      redirect_uri: client.redirectUri,
      prompt: 'none',
    });
    expect((await browser.open(silent)).url.searchParams.get('error')).to.equal('consent_required');
  });

  it('lists the browsers that are signed in, and signs the others out', async () => {
    const person = await app.person();
    const [here, elsewhere] = [await signIn(person, '/account/sessions'), await signIn(person, '/account/sessions')];
    const { browser } = here;
    expect(
      (await browser.open('/account/sessions')).text.match(/\/account\/sessions\/[^/"]+\/end"/g),
    ).to.have.length.greaterThan(0);
    await browser.submit('/account/sessions/end-others', {});
    expect((await elsewhere.browser.open('/account')).url.pathname).to.match(/^\/interaction\//);
    expect((await browser.open('/account')).url.pathname).to.equal('/account');
  });

  it('signs out everywhere and revokes everything', async () => {
    const { person, browser } = await visitor();
    const elsewhere = await signIn(person);
    const { token } = await makeToken(browser);
    const page = await browser.open('/account/security/everything');
    await browser.submit('/account/security/everything', formOf(page.text).fields);
    expect(await verdict(String(token))).to.equal(401);
    for (const one of [browser, elsewhere.browser]) {
      expect((await one.open('/account')).url.pathname).to.match(/^\/interaction\//);
    }
    expect((await signIn({ email: person.email, password: PASSWORD })).landing.response?.status).to.equal(200);
  });

  async function me(token: string): Promise<{ sub: string }> {
    const response = await fetch(`${app.issuer}/api/me`, { headers: { authorization: `Token ${token}` } });
    return (await response.json()) as { sub: string };
  }
});
