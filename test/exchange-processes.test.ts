import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { readConfig } from '../src/config.ts';
import { type Core, openCore } from '../src/core.ts';
import { onEachEngine, SECRET_KEY, startProcess, type TestProcess, type TestStore } from './support/app.ts';
import {
  type ExchangingApp,
  exchangeToken,
  exchangingApp,
  FAKES_ALLOWED,
  type Fakes,
  fakePerson,
  linkedAccount,
  OWN,
  startFakes,
} from './support/exchange.ts';

onEachEngine((openStore) => {
  describe('two servers that exchange tokens', function () {
    this.timeout(30_000);
    let store: TestStore;
    let directory: Core;
    let fakes: Fakes;
    let processes: TestProcess[];

    before(async () => {
      [store, fakes] = await Promise.all([openStore(), startFakes()]);
      const settings = { ...FAKES_ALLOWED, LOG_LEVEL: 'trace' };
      const first = await startProcess(store, settings);
      processes = [first, await startProcess(store, { ...settings, ISSUER: first.url })];
      directory = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
      await fakes.register(directory);
    });
    after(async () => {
      await directory.storage.close();
      await Promise.all(processes.map((process) => process.kill('SIGKILL')));
      await fakes.close();
      await store.remove();
    });

    /** What both answer, at once. */
    async function onBoth(client: ExchangingApp, providerToken: string): Promise<string[]> {
      const token = client.tokens.github?.token;
      const answers = await Promise.all(processes.map(({ url }) => exchangeToken(url, token, providerToken)));
      return answers.map(({ body }) => String(body.errorMsg ?? body.authentication));
    }

    it('both stop at the next request when the app token, the app, the account or the provider is gone', async () => {
      const { appTokens, clients, accounts, identityProviders } = directory;
      const person = fakePerson();
      const { id } = await linkedAccount(directory, person);
      const providerToken = fakes.github.issue(person, OWN);
      const good = ['success', 'success'];
      const dead = ['REVOKED', 'REVOKED'];
      const client = await exchangingApp(directory);
      expect(await onBoth(client, providerToken)).to.deep.equal(good);
      await appTokens.revoke(client.id, String(client.tokens.github?.id));
      expect(await onBoth(client, providerToken)).to.deep.equal(dead);

      const other = await exchangingApp(directory);
      expect(await onBoth(other, providerToken)).to.deep.equal(good);
      await clients.disable(other.id);
      expect(await onBoth(other, providerToken)).to.deep.equal(dead);
      await clients.enable(other.id);
      await identityProviders.disable('github');
      expect(await onBoth(other, providerToken)).to.deep.equal(dead);
      await identityProviders.enable('github');
      expect(await onBoth(other, providerToken)).to.deep.equal(good);
      await accounts.disable(id);
      for (const answer of await onBoth(other, providerToken)) expect(answer).to.match(/not been approved/);
    });

    it('leave no token of a grant that was taken back alive, nor bring one back to life', async () => {
      const person = fakePerson();
      const { id } = await linkedAccount(directory, person);
      const client = await exchangingApp(directory);
      const providerToken = fakes.github.issue(person, OWN);
      const tokens = await Promise.all(
        processes.map(async ({ url }) => {
          const { body } = await exchangeToken(url, client.tokens.github?.token, providerToken);
          return String(body.token);
        }),
      );
      const statuses = () =>
        Promise.all(
          tokens.map(async (token, index) => {
            const url = processes[1 - index]?.url;
            return (await fetch(`${url}/verify`, { headers: { authorization: `token ${token}` } })).status;
          }),
        );
      expect(await statuses()).to.deep.equal([200, 200]);
      await directory.sessions.endAll(id);
      expect(await statuses()).to.deep.equal([401, 401]);
      expect(await onBoth(client, providerToken)).to.deep.equal(['success', 'success']);
      expect(await statuses()).to.deep.equal([401, 401]);
    });

    it('write no app token, provider token, access token or provider secret into their files or logs', async () => {
      const person = fakePerson();
      await linkedAccount(directory, person);
      const client = await exchangingApp(directory);
      const secrets = ['own-secret', 'other-secret', ...Object.values(client.tokens).map(({ token }) => token)];
      for (const [provider, token] of [
        ['github', fakes.github.issue(person, OWN)],
        ['openid', await fakes.openid.idToken(person, OWN)],
        ['openid', fakes.openid.accessToken(person, OWN)],
      ] as const) {
        const { body } = await exchangeToken(String(processes[0]?.url), client.tokens[provider]?.token, token);
        expect(body.authentication).to.equal('success');
        secrets.push(token, String(body.token));
      }
      fakes.github.misbehave = (_request, response) => response.writeHead(500).end();
      const failing = fakes.github.issue(person, OWN);
      await exchangeToken(String(processes[0]?.url), client.tokens.github?.token, failing);
      fakes.github.misbehave = undefined;
      secrets.push(failing);

      const files = await readdir(store.directory, { recursive: true, withFileTypes: true });
      const texts = await Promise.all(
        files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'latin1')),
      );
      const everything = [...texts, ...processes.map((process) => process.output())].join('\n');
      expect(everything).to.contain(client.id);
      for (const secret of secrets) {
        expect(everything.includes(secret), secret).to.equal(false);
        const encoded = Buffer.from(secret).toString('base64');
        expect(everything.includes(encoded), encoded).to.equal(false);
      }
    });
  });
});
