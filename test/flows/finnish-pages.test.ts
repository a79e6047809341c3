/** Pages of somebody who reads Finnish: what they say, and what they say when something is wrong. */
import { expect } from 'chai';
import { embeddedStore, PASSWORD, startApp, type TestApp, type TestStore } from '../support/app.ts';
import { createBrowser, type Landing } from '../support/browser.ts';
import { createFlows, formOf } from '../support/flow.ts';

/** Words that no English sentence does without, and that are no Finnish ones. */
const ENGLISH = /\b(the|is|are|was|must|not|this|there|you|your|please|with|and|or|of|to|for|from|has|have|cannot)\b/gi;
/** A path that is in no word of a page. */
const NOBODY = `/interaction/${'A'.repeat(43)}`;

describe('a page in Finnish', () => {
  let store: TestStore;
  let app: TestApp;

  before(async () => {
    store = await embeddedStore();
    app = await startApp(store);
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  const finnish = () => createBrowser(app.issuer, app.issuer, { 'accept-language': 'fi' });

  /** What is read on a page: all but marks, and names that people, apps and time zones have. */
  function wordsOf({ text }: Landing): string {
    const read = text.replace(/<(style|script|code|select|option)\b.*?<\/\1>/gs, ' ').replace(/<input[^>]*>/g, ' ');
    const heard = [...text.matchAll(/(?:aria-label|title|alt|data-show|data-hide|placeholder)="([^"]*)"/g)];
    return [read.replace(/<[^>]*>/g, ' '), ...heard.map(([, words]) => words)].join(' ');
  }

  const formIn = ({ text }: Landing) => formOf(text.slice(text.indexOf('<main'))).fields;

  function expectFinnish(landing: Landing, status: number, where = landing.url.pathname): void {
    expect(landing.response?.status, where).to.equal(status);
    expect(landing.text, where).to.contain('<html lang="fi"');
    expect(wordsOf(landing).match(ENGLISH) ?? [], `${where}: ${wordsOf(landing)}`).to.deep.equal([]);
  }

  it('has no English sentence while Latchkey is set up, whatever is wrong with the form', async () => {
    const browser = finnish();
    const code = String(await app.directory.setup.code());
    expectFinnish(await browser.open(`/setup?code=${code}`), 200);
    const right = { code, email: 'ada@example.com', given_name: 'Ada', family_name: 'Virtanen', password: PASSWORD };
    for (const wrong of [
      { email: 'ada' },
      { given_name: 'a'.repeat(500) },
      { family_name: 'a'.repeat(500) },
      ...['short', 'a'.repeat(300), 'password1', 'ada@example.com'].map((password) => ({
        password,
      })),
    ])
      expectFinnish(await browser.submit('/setup', { ...right, ...wrong }), 400, JSON.stringify(wrong));
    expectFinnish(await browser.submit('/setup', { code }), 400, 'fields missing');
    expectFinnish(await browser.submit('/setup', { ...right, code: 'x' }), 403, 'a wrong code');
    expectFinnish(await browser.open('/setup?code=x'), 403);
  });

  it('has none at a sign-in, nor where one is refused', async () => {
    const [client, person, browser] = [await app.client({ name: 'Tilaukset' }), await app.person(), finnish()];
    const flows = createFlows(app.issuer);
    const { url } = await flows.start({ client, params: { prompt: 'login consent' } });
    const login = await browser.open(url);
    expectFinnish(login, 200, 'login');
    expectFinnish(await browser.submit(login.url.pathname, { email: person.email, password: 'x' }), 401, 'wrong');
    expectFinnish(await browser.submit(login.url.pathname, {}), 400, 'fields missing');
    const consent = await browser.submit(login.url.pathname, { email: person.email, password: PASSWORD });
    expectFinnish(consent, 200, 'consent');
    expectFinnish(await browser.submit(consent.url.pathname, { decision: 'x' }), 400, 'no decision');
    expectFinnish(await browser.open((await flows.start({ client, params: { prompt: 'select_account' } })).url), 200);
    for (const [path, status] of Object.entries({
      [NOBODY]: 400,
      '/nowhere': 404,
      '/sso/login': 400,
      '/sso/login?token=x': 400,
      '/identity/authorize': 400,
      '/identity/authorize?client_id=unknown': 400,
      [`/identity/authorize?client_id=${client.id}&redirect_uri=https://evil.example/`]: 400,
      '/identity/logout?id_token_hint=x': 200,
    }))
      expectFinnish(await browser.open(path), status, path);
    expectFinnish(await finnish().open('/identity/logout'), 200, 'nobody is signed in');
    const strange = await browser.open(login.url.pathname, {
      method: 'POST',
      headers: { origin: 'https://evil.example' },
    });
    expectFinnish(strange, 403, 'of another site');
  });

  for (const who of ['a person', 'an administrator'] as const)
    it(`has none in the console of ${who}, nor where it refuses`, async () => {
      const administrator = who === 'an administrator';
      const [person, client] = [await app.person({ administrator }), await app.client({ name: 'Tilaukset' })];
      const browser = finnish();
      await createFlows(app.issuer).authorize({ client, person, browser });
      const own = ['', '/tokens', '/tokens/new', '/sessions', '/apps', '/security', '/security/everything'];
      for (const path of own) expectFinnish(await browser.open(`/account${path}`), 200);
      expectFinnish(await browser.open(`/account/apps/${client.id}/remove`), 200);
      expectFinnish(await browser.open('/account/tokens/x/revoke'), 404);
      expectFinnish(await browser.open('/account/everything-ended'), 200);

      const profile = { given_name: 'a'.repeat(500), birthdate: 'x', phone_number: 'x', website: 'x', zoneinfo: 'x' };
      expectFinnish(await browser.submit('/account', profile), 400, 'profile');
      for (const password of ['short', 'a'.repeat(300), 'password1', person.email])
        expectFinnish(await browser.submit('/account/security', { current: PASSWORD, password }), 400, password);
      expectFinnish(await browser.submit('/account/security', { current: 'x', password: PASSWORD }), 400, 'current');
      for (const description of ['', 'x'.repeat(500)]) {
        const { form = '' } = formIn(await browser.open('/account/tokens/new'));
        expectFinnish(await browser.submit('/account/tokens/new', { form, description }), 400, 'token');
      }
      expectFinnish(await browser.submit('/account/tokens/new', { description: 'Varmuuskopio' }), 200, 'sent before');
      expectFinnish(await browser.open('/admin/apps'), administrator ? 200 : 403);
      if (!administrator) return;
      for (const section of ['apps', 'accounts', 'organizations', 'permissions', 'identity-providers']) {
        expectFinnish(await browser.open(`/admin/${section}`), 200);
        const page = await browser.open(`/admin/${section}/new`);
        expectFinnish(page, 200);
        const { form = '' } = formIn(page);
        expectFinnish(await browser.submit(`/admin/${section}/new`, { form }), 400, `${section}, empty`);
      }
      expectFinnish(await browser.open(`/admin/apps/${client.id}/try`), 200);
      expectFinnish(await browser.open(`/admin/accounts/${person.id}`), 200);
    });
});
