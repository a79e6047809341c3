/** What people do with their own account, in a real browser: every page of it, each looked at closely, and what it comes to. */
import { AxeBuilder } from '@axe-core/playwright';
import { expect } from 'chai';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { embeddedStore, PASSWORD, startApp, type TestApp, type TestStore } from './support/app.ts';
import { launchChromium, openProfile } from './support/chromium.ts';
import { createFlows } from './support/flow.ts';
import { askAsPartner, type Partner, partnerApp } from './support/partner.ts';

/** What a browser says of any answer that is not a success, also of one it then shows. */
const REFUSED = /Failed to load resource: the server responded with a status of 4\d\d/;
const SIZES = { phone: { width: 360, height: 740 }, desktop: { width: 1280, height: 860 } };

describe("a person's own account, in a browser", function journey() {
  this.timeout(60_000);

  let browser: Browser;
  let store: TestStore;
  let latchkey: TestApp;
  let partner: Partner;

  before(async () => {
    store = await embeddedStore();
    [browser, latchkey] = await Promise.all([launchChromium(), startApp(store)]);
    for (const name of ['reports', 'settings'])
      await latchkey.directory.permissions.create({ name, description: `May use ${name}` });
    partner = await partnerApp(latchkey.directory, { name: 'Acme Portal', permissions: ['reports'] });
  });
  after(async () => {
    await Promise.all([browser.close(), latchkey.close()]);
    await store.remove();
  });

  /** Somebody with a browser of their own; when they leave, nothing may have gone wrong in it. */
  async function visit(walk: (page: Page) => Promise<void>, options: BrowserContextOptions = {}): Promise<void> {
    const { context, problems } = await openProfile(browser, { reducedMotion: 'reduce', ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(5_000);
    await walk(page);
    await context.close();
    expect(problems.filter((problem) => !REFUSED.test(problem))).to.deep.equal([]);
  }

  /** Anybody can use the page as it is now: light and dark, on a phone and a desktop. */
  async function look(page: Page, heading: string): Promise<void> {
    await page.locator('h1', { hasText: heading }).waitFor();
    for (const size of Object.values(SIZES)) {
      await page.setViewportSize(size);
      expect(await page.evaluate('document.documentElement.scrollWidth'), heading).to.be.at.most(size.width);
    }
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze();
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
      expect(found, `${heading}, ${colorScheme}`).to.deep.equal([]);
    }
  }

  async function signIn(
    page: Page,
    { email, password = PASSWORD }: { email: string; password?: string },
    path: string,
  ) {
    await page.goto(latchkey.issuer + path);
    await page.fill('#email', email);
    await page.fill('#password', password);
    await page.click('button.button--primary');
    await page.waitForURL(latchkey.issuer + path);
  }

  const go = (page: Page, path: string) => page.goto(latchkey.issuer + path);
  const notice = (page: Page) => page.locator('[role=status]').textContent();
  const statusOf = async (token: string) =>
    (await fetch(`${latchkey.issuer}/api/me`, { headers: { authorization: `Bearer ${token}` } })).status;
  const tokenOn = async (page: Page) => String(await page.locator('#token').textContent());

  it('says who they are, and names what is wrong beside its field', () =>
    visit(async (page) => {
      const person = await latchkey.person({ givenName: 'Mia', familyName: 'Virtanen' });
      await signIn(page, person, '/account');
      await look(page, 'Mia Virtanen');
      await page.fill('#given_name', 'Minttu');
      await page.fill('#birthdate', 'in spring');
      await page.click('form[action="/account"] button.button--primary');
      expect(await page.getAttribute('#birthdate', 'aria-invalid')).to.equal('true');
      expect(
        [await page.inputValue('#birthdate'), await page.inputValue('#given_name')],
        'what was typed',
      ).to.deep.equal(['in spring', 'Minttu']);
      await look(page, 'Mia Virtanen');
      await page.fill('#birthdate', '1990-04-01');
      await page.click('form[action="/account"] button.button--primary');
      await look(page, 'Minttu Virtanen');
      expect(await latchkey.directory.accounts.get(person.id)).to.include({
        givenName: 'Minttu',
        birthdate: '1990-04-01',
      });
    }));

  it('makes API tokens, each shown once, replaces and revokes them', () =>
    visit(
      async (page) => {
        const person = await latchkey.person({ permissions: ['reports', 'settings'] });
        await signIn(page, person, '/account/tokens');
        await look(page, 'API tokens');
        await page.click('a[href="/account/tokens/new"]');
        await look(page, 'New API token');
        await page.fill('#description', 'Nightly report');
        await page.check('input[value=some]');
        await page.check('input[value=reports]');
        await page.click('button.button--primary');
        await page.locator('#token').waitFor();
        const token = await tokenOn(page);
        await page.locator('[data-copy=token]').click();
        expect(await page.evaluate('navigator.clipboard.readText()')).to.equal(token);
        expect(await page.locator('#try').textContent()).to.contain(`${token}' ${latchkey.issuer}/api/me`);
        expect(await statusOf(token)).to.equal(200);
        await look(page, '');
        await page.reload();
        expect(await page.content(), 'once').not.to.contain(token);

        await go(page, '/account/tokens');
        expect(await page.locator('tbody tr').count(), 'no other was made by loading the page again').to.equal(1);
        await look(page, 'API tokens');
        await page.locator('a[href$="/rotate"]').click();
        await look(page, '');
        await page.click('button.button--primary');
        await page.locator('#token').waitFor();
        const next = await tokenOn(page);
        expect([next === token, await statusOf(next)]).to.deep.equal([false, 200]);
        await go(page, '/account/tokens');
        await page
          .locator('tr', { hasText: next.slice(-4) })
          .locator('a[href$="/revoke"]')
          .click();
        await look(page, 'Revoke');
        await page.click('button.button--danger');
        expect(await notice(page)).to.contain('revoked');
        expect([await statusOf(next), await statusOf(token)]).to.deep.equal([401, 401]);
      },
      { permissions: ['clipboard-read', 'clipboard-write'] },
    ));

  it('sees who is signed in where, and ends it', () =>
    visit(async (page) => {
      const person = await latchkey.person();
      await signIn(page, person, '/account/sessions');
      await visit(async (elsewhere) => {
        await signIn(elsewhere, person, '/account/sessions');
        await page.reload();
        await look(page, 'Sessions');
        await page.locator('form[action$="/end"] button').click();
        expect(await notice(page)).to.contain('signed out');
        await elsewhere.reload();
        expect(new URL(elsewhere.url()).pathname).to.match(/^\/interaction\//);
      });
      expect(await page.locator('.card').count()).to.equal(1);
    }));

  it('takes back what apps may do, and stops those that sign it in', () =>
    visit(async (page) => {
      const person = await latchkey.person({ organizationId: partner.organizationId });
      await signIn(page, person, '/account/apps');
      await look(page, 'Apps with access');
      const client = await latchkey.client({ name: 'Harbor Desk', trusted: true });
      const flows = createFlows(latchkey.issuer);
      const { access_token } = await flows.tokens({ client, person });
      const { body } = await askAsPartner(latchkey.issuer, 'access-token', partner, { email: person.email });
      await page.reload();
      await look(page, 'Apps with access');
      await page.locator('.card', { hasText: 'Harbor Desk' }).locator('a[href$="/remove"]').click();
      await look(page, 'Take back the access of Harbor Desk?');
      await page.click('button.button--danger');
      expect(await notice(page)).to.contain('no access any more');
      expect((await flows.userinfo(access_token)).status).to.equal(401);

      const portal = page.locator('.card', { hasText: 'Signed you in' });
      expect(await portal.textContent())
        .to.contain('Acme Portal')
        .and.to.contain('from');
      await portal.locator('button').click();
      expect(await notice(page)).to.contain('does not sign you in any more');
      expect(await statusOf(String(body.access_token))).to.equal(401);
      const asked = async () => (await askAsPartner(latchkey.issuer, 'token', partner, { email: person.email })).status;
      expect(await asked()).to.equal(403);
      await look(page, 'Apps with access');
      await page.click('text=Let it again');
      expect(await notice(page)).to.contain('may sign you in again');
      expect(await asked()).to.equal(200);
    }));

  it('changes the password, and ends everything when something is wrong', () =>
    visit(async (page) => {
      const person = await latchkey.person();
      await signIn(page, person, '/account/security');
      await look(page, 'Security');
      await visit(async (elsewhere) => {
        await signIn(elsewhere, person, '/account/sessions');
        await changePassword(page, 'not my password', 'nine violet harbours');
        await page.locator('#current-problem').waitFor();
        await changePassword(page, PASSWORD, 'password1');
        await page.locator('#password-problem').waitFor();
        await look(page, 'Security');
        await changePassword(page, PASSWORD, 'nine violet harbours');
        expect(await notice(page)).to.contain('password was changed');
        await elsewhere.reload();
        expect(new URL(elsewhere.url()).pathname, 'others are signed out').to.match(/^\/interaction\//);
        await elsewhere.fill('#email', person.email);
        await elsewhere.fill('#password', PASSWORD);
        await elsewhere.click('button.button--primary');
        await elsewhere.locator('#problem').waitFor();
      });
      await page.click('text=Sign out everywhere');
      await look(page, 'Sign out everywhere');
      await page.click('button.button--danger');
      await look(page, 'Everything has ended');
      await page.goto(`${latchkey.issuer}/account`);
      expect(new URL(page.url()).pathname).to.match(/^\/interaction\//);
      await signIn(page, { email: person.email, password: 'nine violet harbours' }, '/account/security');
    }));

  it('does all that without scripts, and in Finnish', () =>
    visit(
      async (page) => {
        const person = await latchkey.person({ permissions: ['reports'] });
        await signIn(page, person, '/account/tokens/new');
        await page.fill('#description', 'Yöllinen raportti');
        await page.click('button.button--primary');
        const token = await tokenOn(page);
        expect(await statusOf(token)).to.equal(200);
        for (const path of ['', '/tokens', '/sessions', '/apps', '/security', '/security/everything']) {
          await go(page, `/account${path}`);
          expect(await page.getAttribute('html', 'lang')).to.equal('fi');
        }
        await page.click('button.button--danger');
        expect(await statusOf(token)).to.equal(401);
      },
      { javaScriptEnabled: false, locale: 'fi-FI' },
    ));

  async function changePassword(page: Page, current: string, next: string): Promise<void> {
    await page.fill('#current', current);
    await page.fill('#password', next);
    await page.click('form[action="/account/security"] button.button--primary');
  }
});
