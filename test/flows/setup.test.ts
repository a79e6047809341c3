import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { readConfig } from '../../src/config.ts';
import { openCore } from '../../src/core.ts';
import {
  onEachEngine,
  PASSWORD,
  SECRET_KEY,
  startApp,
  startProcess,
  type TestApp,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import { createBrowser, type Landing } from '../support/browser.ts';
import { walk } from '../support/flow.ts';
import { shell, shellJson } from '../support/shell.ts';

const FORM = { email: 'ada@example.com', given_name: 'Ada', family_name: 'Admin', password: PASSWORD };

onEachEngine((openStore) => {
  let store: TestStore;

  beforeEach(async () => {
    store = await openStore();
  });
  afterEach(() => store.remove());

  function post(issuer: string, fields: Record<string, string>, origin = issuer): Promise<Landing> {
    return createBrowser(issuer, origin).submit('/setup', fields);
  }

  const openAgain = () => openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));

  async function administrators(): Promise<string[]> {
    const { accounts, storage } = await openAgain();
    const all = (await accounts.list()).accounts.filter(({ administrator }) => administrator);
    await storage.close();
    return all.map(({ email }) => email);
  }

  describe('with servers that print a link', () => {
    let first: TestProcess;
    let second: TestProcess;

    beforeEach(async () => {
      first = await startProcess(store);
      second = await startProcess(store, { ISSUER: first.url });
    });
    afterEach(() => Promise.all([first.kill('SIGKILL'), second.kill('SIGKILL')]));

    async function printedLink({ output }: TestProcess): Promise<string> {
      for (let tries = 0; tries < 100; tries++) {
        const [link] = /http:\S+\/setup\?code=\S+(?=\n)/.exec(output()) ?? [];
        if (link) return link;
        await sleep(50);
      }
      throw new Error('no link was printed');
    }

    it('it is one link, the same everywhere, that works once; of several who use it at once one gets in', async () => {
      const link = await printedLink(first);
      expect(await printedLink(second)).to.equal(link);
      expect(first.output().match(/setup\?code=/g)).to.have.length(1);
      const browser = createBrowser(first.url);
      expect((await browser.open(link)).text).to.contain('name="password"');

      const code = new URL(link).searchParams.get('code') ?? '';
      const attempts = [first, second, first, second].map(({ url }, index) =>
        post(first.url, { ...FORM, code, email: `admin${index}@example.com` }, url),
      );
      const answers = await Promise.all(attempts);
      const statuses = answers.map(({ response }) => response?.status);
      expect(statuses.toSorted()).to.deep.equal([200, 403, 403, 403]);
      const email = `admin${statuses.indexOf(200)}@example.com`;
      expect(await administrators()).to.deep.equal([email]);
      expect(answers[statuses.indexOf(200)]?.text).to.contain(email).and.not.to.contain(PASSWORD);

      expect((await browser.open(link)).response?.status).to.equal(403);
      expect((await post(first.url, { ...FORM, code }, second.url)).response?.status).to.equal(403);
      const account = await walk(browser, `${first.url}/account`, { email, password: PASSWORD });
      expect(account.url.pathname).to.equal('/account');
      expect(account.text).to.contain(email);

      const third = await startProcess(store, { ISSUER: first.url });
      while (!third.output().includes('Latchkey is at')) await sleep(50);
      await sleep(200);
      await third.kill('SIGKILL');
      expect(third.output()).not.to.contain('setup');
    }).timeout(20_000);
  });

  describe('with a link', () => {
    let app: TestApp;
    let code: string;

    beforeEach(async () => {
      app = await startApp(store);
      code = String(await app.directory.setup.code());
    });
    afterEach(() => app.close());

    /** As in an accident: past the rules for who may be deleted. */
    async function erase(email: string): Promise<void> {
      const { id } = await app.directory.accounts.getOrFail(email);
      await app.directory.storage.delete(`account:${id}`);
      await app.directory.storage.delete(`account-email:${email}`);
    }

    const statusOf = async (landing: Promise<Landing>) => (await landing).response?.status;

    it('an administrator made from the shell closes it', async () => {
      await shellJson(store, 'account', 'create', '--email', 'root@example.com', '--password', PASSWORD, '--admin');
      expect(await statusOf(createBrowser(app.issuer).open(`/setup?code=${code}`))).to.equal(403);
      expect(await statusOf(post(app.issuer, { ...FORM, code }))).to.equal(403);
      expect(await administrators()).to.deep.equal(['root@example.com']);
    });

    for (const [how, make] of Object.entries({
      'from the shell': () =>
        shellJson(store, 'account', 'create', '--email', FORM.email, '--password', PASSWORD, '--admin'),
      'by the link': () => post(app.issuer, { ...FORM, code }),
      'by promotion': async () => {
        const { id } = await app.person({ email: FORM.email });
        await app.directory.accounts.update(id, { administrator: true });
      },
    })) {
      it(`stays closed when the administrator made ${how} is gone, at this start and the next`, async () => {
        await make();
        await erase(FORM.email);
        expect(await app.directory.accounts.hasAdministrator()).to.equal(false);
        expect(await statusOf(createBrowser(app.issuer).open(`/setup?code=${code}`))).to.equal(403);
        expect(await statusOf(post(app.issuer, { ...FORM, code }))).to.equal(403);
        const next = await startProcess(store);
        while (!next.output().includes('Latchkey is at')) await sleep(20);
        await sleep(100);
        await next.kill('SIGKILL');
        expect(next.output()).not.to.contain('setup');
      });
    }

    it('is opened again only from the shell, with another link, and only when there is no administrator', async () => {
      await post(app.issuer, { ...FORM, code });
      const refused = await shell(store, ['setup', 'reopen']);
      expect(refused.status).to.equal(1);
      expect(refused.stderr).to.match(/^there is an administrator.*\n$/);
      await erase(FORM.email);

      const { url } = await shellJson(store, 'setup', 'reopen');
      const reopened = new URL(String(url)).searchParams.get('code') ?? '';
      expect(reopened).to.have.length.above(20).and.not.to.equal(code);
      expect(await statusOf(createBrowser(app.issuer).open(`/setup?code=${code}`))).to.equal(403);
      expect(await statusOf(createBrowser(app.issuer).open(`/setup?code=${reopened}`))).to.equal(200);
      expect(await statusOf(post(app.issuer, { ...FORM, code: reopened }))).to.equal(200);
      await erase(FORM.email);
      expect(await statusOf(post(app.issuer, { ...FORM, code: reopened }))).to.equal(403);
    });

    it('is closed by an administrator of a store that was written before there was a mark', async () => {
      await post(app.issuer, { ...FORM, code });
      await app.directory.storage.delete('setup-closed:code');
      expect(await app.directory.setup.code()).to.equal(undefined);
      await erase(FORM.email);
      expect(await app.directory.setup.code()).to.equal(undefined);
    });

    it('a form that is wrong says where, keeps what was typed but the password, and leaves it open', async () => {
      const wrong: [fields: Record<string, string>, problem: RegExp][] = [
        [{ email: 'no e-mail' }, /id="email-problem"/],
        [{ password: 'short' }, /id="password-problem"/],
        [{ password: 'password123' }, /id="password-problem"/],
      ];
      for (const [fields, problem] of wrong) {
        const { response, text } = await post(app.issuer, { ...FORM, code, ...fields });
        expect(response?.status, JSON.stringify(fields)).to.equal(400);
        expect(text).to.match(problem).and.to.contain('value="Ada"').and.not.to.contain(`value="${PASSWORD}"`);
      }
      const body = new URLSearchParams({ ...FORM, code, password: 'short' });
      const headers = { origin: app.issuer, accept: 'text/html', 'accept-language': 'fi' };
      const finnish = await fetch(`${app.issuer}/setup`, { method: 'POST', headers, body });
      expect(await finnish.text()).to.match(/id="password-problem">Käytä vähintään 8 merkkiä/);
      const { password: _, ...withoutPassword } = FORM;
      expect(await statusOf(post(app.issuer, { ...withoutPassword, code }))).to.equal(400);
      expect(await administrators()).to.deep.equal([]);
      expect(await statusOf(post(app.issuer, { ...FORM, code }))).to.equal(200);
    });

    it('a process that starts in the middle of a failing attempt prints the same one', async () => {
      const other = await openAgain();
      for (let round = 0; round < 10; round++) {
        const [printed] = await Promise.all([
          other.setup.code(),
          post(app.issuer, { ...FORM, code, password: 'short' }),
        ]);
        expect(printed).to.equal(code);
      }
      await other.storage.close();
      expect(await statusOf(post(app.issuer, { ...FORM, code }))).to.equal(200);
    });

    it('nobody without its code gets in, nor a form of another site', async () => {
      for (const guess of ['', 'x', code.slice(1), `${code}x`, code.toUpperCase()]) {
        const link = `/setup?code=${encodeURIComponent(guess)}`;
        expect(await statusOf(createBrowser(app.issuer).open(link)), guess).to.equal(403);
        expect(await statusOf(post(app.issuer, { ...FORM, code: guess })), guess).to.equal(403);
      }
      expect(await statusOf(createBrowser(app.issuer).open('/setup'))).to.equal(403);
      const body = new URLSearchParams({ ...FORM, code });
      const headers = { origin: 'https://evil.example' };
      expect((await fetch(`${app.issuer}/setup`, { method: 'POST', headers, body })).status).to.equal(403);
      expect(await administrators()).to.deep.equal([]);
    });
  });
});
