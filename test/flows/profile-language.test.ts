/** The language that a person has chosen for themselves, on every page that knows who they are. */
import { expect } from 'chai';
import { embeddedStore, startApp, type TestApp, type TestStore } from '../support/app.ts';
import { createFlows } from '../support/flow.ts';

describe('the language of a profile', () => {
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

  it('is that of the pages for who is signed in, whatever their browser prefers, unless the app asks for one', async () => {
    const flows = createFlows(app.issuer);
    const [client, person] = [await app.client(), await app.person()];
    const browser = flows.browser();
    await flows.authorize({ client, person, browser });
    const languageAt = async (path: string) =>
      (await browser.open(path, { headers: { 'accept-language': 'en' } })).response?.headers.get('content-language');
    const asking = async (params: Record<string, string>) => (await flows.start({ client, params })).url;
    expect(await languageAt('/account')).to.equal('en');

    await browser.submit('/account', { locale: 'fi' });
    const own = ['/account', '/account/tokens', '/account/security', '/identity/logout'];
    for (const path of [...own, await asking({ prompt: 'consent' }), await asking({ prompt: 'select_account' })])
      expect(await languageAt(path), path).to.equal('fi');
    expect(await languageAt(await asking({ prompt: 'consent', ui_locales: 'en' }))).to.equal('en');
    expect(await languageAt('/account?ui_locales=en')).to.equal('en');
    const unknownApp = flows.authorizeUrl({ ...client, id: 'nobody' }, {});
    const failing = [
      '/account/nix',
      '/nix',
      '/interaction/long-gone',
      '/setup?code=used',
      '/sso/login?token=x',
      unknownApp,
    ];
    for (const path of failing) expect(await languageAt(path), path).to.equal('fi');
    const stranger = flows.browser();
    for (const path of failing) {
      const { response } = await stranger.open(path, { headers: { 'accept-language': 'en' } });
      expect(response?.headers.get('content-language'), path).to.equal('en');
    }

    await browser.submit('/account', { locale: '' });
    expect(await languageAt('/account')).to.equal('en');
  });
});
