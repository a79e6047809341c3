/** When something was or will be, for people in other places than this server. */
import { expect } from 'chai';
import type { Browser, Page } from 'playwright-core';
import { embeddedStore, PASSWORD, startApp, type TestApp, type TestStore } from '../support/app.ts';
import { launchChromium, openProfile } from '../support/chromium.ts';
import { createFlows } from '../support/flow.ts';

const DAY = 24 * 60 * 60;
/** Wherever UTC is in its day, at least one of them is in another. */
const FAR = ['Pacific/Kiritimati', 'Pacific/Pago_Pago'];
const PAGES = ['/account/tokens', '/account/sessions', '/account/security', '/account/apps', '/admin/accounts'];

describe('a time on a page', function times() {
  this.timeout(30_000);
  let chromium: Browser;
  let store: TestStore;
  let app: TestApp;

  before(async () => {
    store = await embeddedStore();
    [chromium, app] = await Promise.all([launchChromium(), startApp(store)]);
  });
  after(async () => {
    await Promise.all([chromium.close(), app.close()]);
    await store.remove();
  });

  async function somebody(zoneinfo?: string) {
    const person = await app.person({ administrator: true });
    const account = await app.directory.accounts.update(person.id, { zoneinfo });
    const wanted = { description: 'Backup', expiresIn: 90 * DAY };
    await app.directory.personalTokens.create(account, wanted, {});
    await createFlows(app.issuer).authorize({ client: await app.client(), person });
    return person;
  }

  interface Said {
    at: string;
    text: string;
    title: string;
  }

  /** Every time on every page, as a browser in this zone shows it. */
  async function timesIn(
    timezoneId: string,
    {
      person,
      locale = 'en',
      javaScriptEnabled = true,
    }: { person: { email: string }; locale?: string; javaScriptEnabled?: boolean },
  ): Promise<Said[]> {
    const { context, problems } = await openProfile(chromium, { timezoneId, locale, javaScriptEnabled });
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    await page.goto(`${app.issuer}/account`);
    await page.fill('[name=email]', person.email);
    await page.fill('[name=password]', PASSWORD);
    await page.click('main form button.button--primary');
    await page.waitForURL('**/account');
    const said: Said[] = [];
    for (const path of PAGES) {
      await page.goto(`${app.issuer}${path}`);
      const found = await saidOn(page);
      expect(found, path).not.to.have.length(0);
      said.push(...found);
    }
    await context.close();
    expect(problems).to.deep.equal([]);
    return said;
  }

  async function saidOn(page: Page): Promise<Said[]> {
    const times = await page.locator('main time').all();
    return Promise.all(
      times.map(async (time) => ({
        at: (await time.getAttribute('datetime')) ?? '',
        text: (await time.textContent()) ?? '',
        title: (await time.getAttribute('title')) ?? '',
      })),
    );
  }

  /** The day there, as it is written in this language. */
  const dayOf = (at: string, timeZone: string, locale = 'en-GB') =>
    new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short', year: 'numeric', timeZone }).format(new Date(at));

  function expectDays(said: Said[], timeZone: string, locale?: string): void {
    for (const { at, text, title } of said) expect(title || text, at).to.contain(dayOf(at, timeZone, locale));
  }

  it('is in the zone of the browser of who has chosen none', async () => {
    const person = await somebody();
    for (const zone of FAR) {
      const said = await timesIn(zone, { person });
      expectDays(said, zone);
      expect(said.filter(({ text, title }) => /UTC/.test(text + title))).to.deep.equal([]);
    }
    expectDays(await timesIn('Europe/Helsinki', { person, locale: 'fi' }), 'Europe/Helsinki', 'fi');
  });

  it('is in the zone that its reader has chosen, wherever their browser is', async () => {
    for (const zone of FAR) expectDays(await timesIn('Europe/Helsinki', { person: await somebody(zone) }), zone);
  });

  it('names UTC without JavaScript, where nobody has chosen a zone', async () => {
    const said = await timesIn(String(FAR[0]), { person: await somebody(), javaScriptEnabled: false });
    expectDays(said, 'UTC');
    for (const { text, title } of said) expect(title || text).to.contain('UTC');
  });

  it('follows the zone that a person chooses at the next page', async () => {
    const person = await somebody();
    const flows = createFlows(app.issuer);
    const browser = flows.browser();
    await flows.authorize({ client: await app.client(), person, browser });
    const tokens = async () => (await browser.open('/account/tokens')).text;
    expect(await tokens()).to.match(/<time [^>]*>\d+ \w+ \d+ \(UTC\)<\/time>/);
    await browser.submit('/account', { zoneinfo: 'Asia/Tokyo' });
    expect(await tokens())
      .to.match(/<time [^>]*>\d+ \w+ \d+<\/time>/)
      .and.not.to.contain('data-zoned');
  });
});
