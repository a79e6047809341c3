/** Signing in with a provider, linking and unlinking it, in a real browser: all pages of the way, each looked at closely. */
import { AxeBuilder } from '@axe-core/playwright';
import { expect } from 'chai';
import type { Browser, Page } from 'playwright-core';
import { embeddedStore, startApp, type TestApp, type TestStore } from './support/app.ts';
import { launchChromium, openProfile } from './support/chromium.ts';
import { FAKES_ALLOWED } from './support/exchange.ts';
import { type Providers, startProviders } from './support/provider-sign-in.ts';

/** What a browser says of any answer that is not a success, also of one it then shows. */
const REFUSED = /Failed to load resource: the server responded with a status of [45]\d\d/;
const PHONE = { width: 360, height: 740 };

describe('the way in with a provider, in a browser', function journey() {
  this.timeout(30_000);

  let browser: Browser;
  let store: TestStore;
  let latchkey: TestApp;
  let providers: Providers;

  before(async () => {
    [store, providers] = await Promise.all([embeddedStore(), startProviders()]);
    [browser, latchkey] = await Promise.all([launchChromium(), startApp(store, FAKES_ALLOWED)]);
    await providers.register(latchkey.directory);
  });
  after(async () => {
    await Promise.all([browser.close(), latchkey.close(), providers.close()]);
    await store.remove();
  });

  /** A person with a browser of their own; when they leave, nothing may have gone wrong in it. */
  async function visit(walk: (page: Page) => Promise<void>, options = {}): Promise<void> {
    const { context, problems } = await openProfile(browser, options);
    const page = await context.newPage();
    page.setDefaultTimeout(5_000);
    await walk(page);
    await context.close();
    expect(problems.filter((problem) => !REFUSED.test(problem))).to.deep.equal([]);
  }

  /** Anybody can use the page as it is now: no violation of WCAG in light and dark, nothing to scroll sideways on a phone. */
  async function look(page: Page, heading: string): Promise<void> {
    await page.locator('h1', { hasText: heading }).waitFor();
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze();
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
      expect(found, `${heading}, ${colorScheme}`).to.deep.equal([]);
    }
    const size = page.viewportSize();
    await page.setViewportSize(PHONE);
    expect(await page.evaluate('document.documentElement.scrollWidth'), heading).to.be.at.most(PHONE.width);
    if (size) await page.setViewportSize(size);
  }

  const security = () => `${latchkey.issuer}/account/security`;

  it('leads from the sign-in page to GitHub and back, signed in, also without scripts', async () => {
    const person = providers.somebody({ givenName: 'Ben', familyName: 'Okafor' });
    const { id: accountId } = await latchkey.person();
    await latchkey.directory.links.add({ identityProviderId: 'github', subject: person.subject, accountId });
    for (const javaScriptEnabled of [true, false]) {
      await visit(
        async (page) => {
          await page.goto(security());
          if (javaScriptEnabled) await look(page, 'Sign in');
          await page.getByRole('button', { name: 'Continue with GitHub' }).click();
          await page.getByRole('heading', { name: 'Fake GitHub' }).waitFor();
          await page.getByRole('link', { name: 'Cancel' }).click();
          await page.getByText('You are not signed in yet').waitFor();
          await page.getByRole('button', { name: 'Continue with GitHub' }).click();
          await page.getByRole('link', { name: 'Ben Okafor' }).click();
          await page.waitForURL(security());
          await page.goBack();
          await page.goForward();
          await page.goto(security());
          expect(page.url()).to.equal(security());
        },
        { javaScriptEnabled },
      );
    }
  });

  it('leads an app’s user there and back to the app, whatever its address', async () => {
    const person = providers.somebody({ givenName: 'Cleo', familyName: 'Marsh' });
    const { id: accountId } = await latchkey.person();
    await latchkey.directory.links.add({ identityProviderId: 'openid', subject: person.subject, accountId });
    const client = await latchkey.client({ trusted: true, redirectUris: [`${providers.github.url}/user`] });
    await visit(async (page) => {
      const request = {
        client_id: client.id,
        redirect_uri: client.redirectUri,
        response_type: 'code',
        scope: 'openid',
      };
      const pkce = { code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256' };
      await page.goto(`${latchkey.issuer}/identity/authorize?${new URLSearchParams({ ...request, ...pkce })}`);
      await page.getByRole('button', { name: 'Continue with Acme' }).click();
      await page.getByRole('link', { name: 'Cleo Marsh' }).click();
      await page.waitForURL(/\/user\?code=/);
    });
  });

  it('asks for the password when the e-mail is known here, then signs in; the link is listed and can go', async () => {
    const { email, password } = await latchkey.person();
    providers.somebody({ email, login: 'dora', givenName: 'Dora', familyName: 'Quist' });
    await visit(async (page) => {
      await page.goto(security());
      await page.getByRole('button', { name: 'Continue with GitHub' }).click();
      await page.getByRole('link', { name: 'Dora Quist' }).click();
      await look(page, 'Link GitHub to your account');
      await page.reload();
      await page.getByLabel('Your password here').fill('not this one');
      await page.getByRole('button', { name: 'Link and sign in' }).click();
      await look(page, 'Link GitHub to your account');
      await page.getByLabel('Your password here').fill(password);
      await page.getByRole('button', { name: 'Link and sign in' }).click();
      await page.waitForURL(security());
      await look(page, 'Security');
      expect(await page.textContent('.cards'))
        .to.contain('GitHub')
        .and.to.contain('dora');

      await page.getByRole('link', { name: 'Link Acme' }).click();
      await look(page, 'Link Acme');
      await page.getByRole('button', { name: 'Continue to Acme' }).click();
      await page.getByRole('link', { name: 'Dora Quist' }).click();
      await page.getByText('It is linked.').waitFor();
      await page.getByRole('link', { name: 'Unlink GitHub' }).click();
      await look(page, 'Unlink GitHub?');
      await page.getByRole('button', { name: 'Unlink' }).click();
      await page.getByText('It is unlinked').waitFor();
      expect(await page.textContent('.cards')).not.to.contain('GitHub');
    });
  });

  it('says who waits for approval, and when a provider does not answer', async () => {
    await latchkey.directory.identityProviders.update('google', { newPeople: { policy: 'pending' } });
    providers.somebody({ givenName: 'Emil', familyName: 'Berg' });
    await visit(async (page) => {
      await page.goto(security());
      await page.getByRole('button', { name: 'Continue with Google' }).click();
      await page.getByRole('link', { name: 'Emil Berg' }).click();
      await look(page, 'Your account waits for approval');
      await page.getByRole('link', { name: 'Sign in another way' }).click();
      await latchkey.directory.identityProviders.create({
        id: 'gone',
        kind: 'oidc',
        name: 'Gone',
        issuer: 'http://localhost:1',
        clientId: 'x',
        clientSecret: 'y',
      });
      await page.reload();
      await page.getByRole('button', { name: 'Continue with Gone' }).click();
      await page.getByText('Gone does not answer').waitFor();
      await look(page, 'Sign in');
    });
  });
});
