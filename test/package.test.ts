import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { embeddedStore, freePort, startApp, type TestApp, type TestClient, type TestStore } from './support/app.ts';
import { recipe } from './support/docs.ts';

const run = promisify(execFile);
const TSC = resolve('node_modules/typescript/bin/tsc');

describe('the published middleware', function () {
  this.timeout(60_000);
  let directory: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'latchkey-package-'));
    await writeFile(join(directory, 'package.json'), '{ "type": "module" }');
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('is what its source compiles to: if not, `npm run build`', async () => {
    await run(process.execPath, [TSC, '--project', 'tsconfig.publish.json', '--outDir', directory]);
    for (const name of ['middleware.js', 'middleware.d.ts']) {
      const [committed, built] = await Promise.all(
        [`resource-server/${name}`, join(directory, name)].map((path) => readFile(path, 'utf8')),
      );
      expect(committed === built, `resource-server/${name} is older than its source`).to.equal(true);
    }
  });

  describe('in an API that installs it', () => {
    let store: TestStore;
    let app: TestApp;
    let api: TestClient;
    let token: string;

    before(async () => {
      store = await embeddedStore();
      app = await startApp(store);
      api = await app.client({ introspection: true, redirectUris: [] });
      await app.directory.permissions.create({ name: 'reports', description: 'Read your reports' });
      const person = await app.person({ permissions: ['reports'] });
      const account = await app.directory.accounts.getOrFail(person.id);
      ({ token } = await app.directory.personalTokens.create(account, { description: 'a script' }));
    });
    after(async () => {
      await app.close();
      await store.remove();
    });

    const npm = (...args: string[]) =>
      run('npm', [...args, '--loglevel=error', '--no-audit', '--no-fund'], { cwd: directory });

    const ways: Record<string, () => Promise<unknown>> = {
      'from the folder': () => npm('install', '--offline', process.cwd()),
      async 'from its package, without anything that the server needs'() {
        await npm('pack', process.cwd());
        const [file = ''] = (await readdir(directory)).filter((name) => name.endsWith('.tgz'));
        await mkdir(join(directory, 'node_modules/latchkey'), { recursive: true });
        await run('tar', ['-xzf', file, '-C', 'node_modules/latchkey', '--strip-components=1'], { cwd: directory });
        const files = await readdir(join(directory, 'node_modules/latchkey'), { recursive: true });
        expect(files).to.have.members([
          ...['package.json', 'README.md', 'LICENSE', 'bin', 'bin/latchkey.mjs'],
          ...['resource-server', 'resource-server/middleware.js', 'resource-server/middleware.d.ts'],
        ]);
      },
    };
    for (const [way, install] of Object.entries(ways)) {
      it(`protects it as the docs write it, ${way}`, async () => {
        await install();
        const port = String(await freePort());
        const example = await recipe('protect-an-api.md', { heading: '## Node', language: 'js' });
        const program = example.replace('https://id.example.com', app.issuer).replace('4000', port);
        await writeFile(join(directory, 'api.mjs'), program);
        const child = spawn(process.execPath, ['api.mjs'], {
          cwd: directory,
          env: { PATH: process.env.PATH, CLIENT_ID: api.id, CLIENT_SECRET: api.secret },
          stdio: ['ignore', 'inherit', 'inherit'],
        });
        const ended = once(child, 'exit');
        const call = (headers: Record<string, string> = {}) => fetch(`http://127.0.0.1:${port}`, { headers });
        try {
          while (!(await call().catch(() => undefined)) && child.exitCode === null) await sleep(50);
          expect((await call()).status).to.equal(401);
          const answer = await call({ authorization: `Token ${token}` });
          expect(await answer.text()).to.match(/^Hello \w/);
        } finally {
          child.kill('SIGKILL');
          await ended;
        }
      });

      it(`has types for it, ${way}`, async () => {
        await install();
        const typed = `import { type Caller, createResourceServer } from 'latchkey/resource-server';
          const latchkey = createResourceServer({ issuer: 'https://id.example.com', clientId: 'a', clientSecret: 'b' });
          export const caller: Promise<Caller | undefined> = latchkey.decide('Bearer x').then((decision) => decision.caller);`;
        await writeFile(join(directory, 'api.ts'), typed);
        const options = ['--strict', '--noEmit', '--module', 'nodenext', '--target', 'es2022', '--types', ''];
        await run(process.execPath, [TSC, ...options, 'api.ts'], { cwd: directory });
        await writeFile(join(directory, 'api.ts'), typed.replace("issuer: 'https://id.example.com'", 'issuer: 1'));
        const failed = await run(process.execPath, [TSC, ...options, 'api.ts'], { cwd: directory }).catch(
          (error) => error,
        );
        expect(failed.stdout).to.contain("'number' is not assignable to type 'string'");
      });
    }
  });
});
