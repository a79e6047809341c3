/** A browser that keeps no cookies: it says so, and where to go on. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type BrowserContext, chromium } from 'playwright-core';
import { embeddedStore, startApp, type TestApp, type TestStore } from './support/app.ts';
import { createFlows } from './support/flow.ts';

describe('a browser without cookies', function cookiesOff() {
  this.timeout(30_000);
  let profiles: string;
  let store: TestStore;
  let app: TestApp;

  before(async () => {
    store = await embeddedStore();
    app = await startApp(store);
    profiles = await mkdtemp(join(tmpdir(), 'latchkey-profiles-'));
  });
  after(async () => {
    await app.close();
    await Promise.all([store.remove(), rm(profiles, { recursive: true, force: true })]);
  });

  /** A profile whose setting blocks them all. */
  async function openWithoutCookies(locale: string): Promise<BrowserContext> {
    const profile = join(profiles, locale);
    await mkdir(join(profile, 'Default'), { recursive: true });
    const settings = { profile: { default_content_setting_values: { cookies: 2 } } };
    await writeFile(join(profile, 'Default', 'Preferences'), JSON.stringify(settings));
    const args = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'];
    return chromium.launchPersistentContext(profile, { executablePath: '/usr/bin/chromium', args, locale });
  }

  for (const [locale, heading] of [
    ['en', 'Your browser does not keep cookies'],
    ['fi', 'Selaimesi ei säilytä evästeitä'],
  ] as const)
    it(`is told so at an app’s sign-in and at our own, in ${locale}`, async () => {
      const client = await app.client({ name: 'Orders', clientUri: 'https://orders.example.com/' });
      const { url } = await createFlows(app.issuer).start({ client });
      const context = await openWithoutCookies(locale);
      const page = await context.newPage();
      await page.goto(url);
      expect(await page.textContent('h1')).to.equal(heading);
      expect(await page.getAttribute('main a', 'href')).to.equal('https://orders.example.com/');
      await page.goto(`${app.issuer}/account`);
      expect(await page.textContent('h1')).to.equal(heading);
      await context.close();
    });
});
