import { existsSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { openStorage } from '../src/storage/open.ts';
import { embeddedStore, PASSWORD, startApp, startProcess, type TestStore } from './support/app.ts';
import { createBrowser } from './support/browser.ts';
import { walk } from './support/flow.ts';
import { shell, shellJson } from './support/shell.ts';
import { startStorageProcess } from './support/storage-process.ts';

const now = () => Math.floor(Date.now() / 1000);

describe('a backup of the embedded store', () => {
  let store: TestStore;
  let file: string;

  beforeEach(async () => {
    store = await embeddedStore();
    file = join(store.directory, 'copy.sqlite');
  });
  afterEach(() => store.remove());

  /** The commands of docs/back-up-and-restore.md. */
  async function restored(): Promise<TestStore> {
    const directory = `${store.directory}-restored`;
    await mkdir(directory, { mode: 0o700 });
    await copyFile(file, join(directory, 'latchkey.sqlite'));
    return {
      storeUrl: `file:${directory}`,
      directory,
      remove: () => rm(directory, { recursive: true, force: true }),
    };
  }

  it('has every record that was acknowledged before, and a whole one of those under way, while processes write', async () => {
    const writers = await Promise.all([startStorageProcess(store.storeUrl), startStorageProcess(store.storeUrl)]);
    const written = writers.map((writer, n) => writer.writeOn(`${n}:`));
    while (written.some((list) => list.length < 500)) await new Promise((resolve) => setTimeout(resolve, 5));
    const before = written.map((list) => [...list]);
    const { records } = await shellJson(store, 'backup', file);
    const after = written.map((list) => list.length);
    expect(after[0], 'the writers went on').to.be.greaterThan(before[0]?.length ?? 0);
    await Promise.all(writers.map((writer) => writer.kill()));

    const copy = await restored();
    const storage = await openStorage(copy.storeUrl, { now });
    for (const [n, list] of before.entries()) {
      for (const each of list) expect(await storage.get(`${n}:${each}`), `${n}:${each}`).to.deep.equal({ n: each });
    }
    expect(records).to.be.at.least(before.flat().length);
    await storage.close();
    await copy.remove();
  }).timeout(30_000);

  it('serves people as before: sessions go on, passwords work, tokens too, and no set-up link opens', async () => {
    const app = await startApp(store);
    const code = String(await app.directory.setup.code());
    const administrator = await app.person({ administrator: true });
    const browser = createBrowser(app.issuer);
    await walk(browser, `${app.issuer}/account`, administrator);
    const account = await app.directory.accounts.getOrFail(administrator.id);
    const { token } = await app.directory.personalTokens.create(account, { description: 'kept', expiresIn: 3600 });
    await shellJson(store, 'backup', file);
    await app.close();

    const copy = await restored();
    const server = await startProcess(copy, { ISSUER: app.issuer });
    const cookie = browser
      .cookies()
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
    const signedIn = await fetch(`${server.url}/account`, { headers: { cookie }, redirect: 'manual' });
    expect(signedIn.status).to.equal(200);
    expect(await signedIn.text()).to.contain(administrator.email);
    const again = await walk(createBrowser(app.issuer, server.url), `${app.issuer}/account`, administrator);
    expect(again.text).to.contain(administrator.email);
    const me = await fetch(`${server.url}/api/me`, { headers: { authorization: `Bearer ${token}` } });
    expect(me.status).to.equal(200);
    const setup = await fetch(`${server.url}/setup?code=${code}`);
    expect(setup.status).to.equal(403);
    expect(server.output()).not.to.contain('setup');
    await server.kill('SIGKILL');
    await copy.remove();
  }).timeout(30_000);

  it('needs the key it was made under: with another one the server does not start', async () => {
    const made = await shell(store, ['account', 'create', '--email', 'a@example.com', '--password', PASSWORD]);
    expect(made.status, made.stderr).to.equal(0);
    await shell(store, ['keys', 'rotate']);
    await shellJson(store, 'backup', file);
    const copy = await restored();
    const other = Buffer.alloc(32, 7).toString('base64url');
    const refusal = await startProcess(copy, { SECRET_KEY: other }).then(
      () => expect.fail('it started'),
      (error: Error) => error.message,
    );
    expect(refusal).to.contain('SECRET_KEY');
    await copy.remove();
  });

  it('is for its owner alone, takes nobody’s place, and says where the key is', async () => {
    const storage = await openStorage(store.storeUrl, { now });
    await storage.put('a', 1);
    await storage.put('b', 1, { ttl: 60, groups: ['g'] });
    const { status, stdout, stderr } = await shell(store, ['backup', file, '--json']);
    expect({ status, stderr }).to.deep.equal({ status: 0, stderr: '' });
    const printed = JSON.parse(stdout);
    expect(printed).to.include({ file, records: 2 });
    expect(printed.secret_key).to.match(/^in SECRET_KEY; /);
    expect(statSync(file).mode & 0o777).to.equal(0o600);
    const bytes = readFileSync(file);

    for (const place of [file, join(store.directory, 'latchkey.sqlite'), join(store.directory, 'link')]) {
      if (!existsSync(place)) symlinkSync(file, place);
      const again = await shell(store, ['backup', place, '--json']);
      expect(again.status).to.equal(1);
      expect(again.stdout).to.equal('');
      expect(again.stderr)
        .to.match(/^\S+ exists already; [^\n]+\n$/)
        .and.contain(place);
    }
    expect(readFileSync(file).equals(bytes)).to.equal(true);

    const withoutSetting = await shell(store, ['backup', `${file}2`, '--json'], { SECRET_KEY: '' });
    expect(JSON.parse(withoutSetting.stdout).secret_key).to.contain(join(store.directory, 'secret-key'));
    await storage.close();
  });

  it('is refused in one line where there is no store, no room, no such folder, and for Redis', async () => {
    const nowhere = join(store.directory, 'nothing');
    const cases: [args: string[], storeUrl: string, reason: RegExp][] = [
      [['backup', file], `file:${nowhere}`, /there is no store at .*nothing/],
      [['backup', join(nowhere, 'copy')], store.storeUrl, /ENOENT/],
      [['backup', file], 'redis://127.0.0.1:1', /Redis.*append-only/],
      [['backup', file], 'redis+cluster://:secret@127.0.0.1:1', /Redis.*append-only/],
    ];
    await (await openStorage(store.storeUrl, { now })).close();
    for (const [args, storeUrl, reason] of cases) {
      const { status, stdout, stderr } = await shell({ storeUrl }, args);
      expect({ status, stdout }, storeUrl).to.deep.equal({ status: 1, stdout: '' });
      expect(stderr)
        .to.match(reason)
        .and.to.match(/^[^\n]+\n$/)
        .and.not.contain('secret@');
      expect(existsSync(file)).to.equal(false);
    }
    expect(existsSync(nowhere), 'nothing is made on the way').to.equal(false);
    expect((await shell(store, ['backup'])).status).to.equal(2);
  });
});
