/** The clock of the machine is set: what has expired stays so, and people can still sign in. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { readConfig } from '../../src/config.ts';
import { openCore } from '../../src/core.ts';
import {
  embeddedStore,
  fixtures,
  onEachEngine,
  SECRET_KEY,
  startProcess,
  type TestClient,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import { clockAhead } from '../support/clock.ts';
import { createFlows } from '../support/flow.ts';

const DAY = 86_400;

onEachEngine((openStore) => {
  describe('when the clock of the machine is set', function () {
    this.timeout(30_000);
    let store: TestStore;
    let server: TestProcess | undefined;
    let person: { id: string; email: string; password: string };
    let client: TestClient;

    beforeEach(async () => {
      store = await openStore();
    });
    afterEach(async () => {
      await server?.kill('SIGKILL');
      await store.remove();
    });

    async function open() {
      const directory = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
      return { ...directory, ...fixtures(directory) };
    }

    async function restart(ahead: number): Promise<TestProcess> {
      await server?.kill('SIGTERM');
      server = await startProcess(store, clockAhead(ahead));
      return server;
    }

    const codeOf = async (token: string) => {
      const response = await fetch(`${server?.url}/api/me`, { headers: { authorization: `Bearer ${token}` } });
      return ((await response.json()) as { errorCode?: string }).errorCode ?? String(response.status);
    };

    async function makePersonalToken(expiresIn: number): Promise<string> {
      const { accounts, personalTokens, storage, ...more } = await open();
      person = await more.person();
      client = await more.client({ trusted: true });
      const { token } = await personalTokens.create(await accounts.getOrFail(person.id), {
        description: 'x',
        expiresIn,
      });
      await storage.close();
      return token;
    }

    async function expectSignIn(): Promise<void> {
      const url = server?.url ?? '';
      const flows = createFlows(url);
      const { body } = await flows.redeem(client, await flows.authorize({ client, person }));
      expect(await codeOf(String(body.access_token)), 'a new access token').to.equal('200');
      const { accounts, personalTokens, storage } = await open();
      const made = await personalTokens.create(await accounts.getOrFail(person.id), {
        description: 'y',
        expiresIn: 600,
      });
      await storage.close();
      expect(await codeOf(made.token), 'a new personal token').to.equal('200');
    }

    it('back by a day at a restart, an expired personal token stays so, and new sign-ins work', async () => {
      const token = await makePersonalToken(1);
      await restart(0);
      await sleep(1_100);
      expect(await codeOf(token)).to.equal('600');
      await restart(-DAY);
      expect(await codeOf(token)).to.equal('600');
      await expectSignIn();
      await restart(0);
      expect(await codeOf(token)).to.equal('600');
      await expectSignIn();
    });

    it('ten years ahead for a while, everything works when it is right again', async () => {
      const token = await makePersonalToken(600);
      await restart(3650 * DAY);
      expect(await codeOf(token), 'forgotten, by its clock').to.equal('401');
      await restart(0);
      expect(await codeOf(token)).to.equal('200');
      await expectSignIn();
    });
  });
});

describe('when the clock of the machine is set, on the embedded store', () => {
  it('an hour ahead at one start and right at the next, a code and a token that were refused stay so', async function () {
    this.timeout(30_000);
    const store = await embeddedStore();
    const directory = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
    const person = await fixtures(directory).person();
    const client = await fixtures(directory).client({ trusted: true });
    const account = await directory.accounts.getOrFail(person.id);
    const { token } = await directory.personalTokens.create(account, { description: 'x', expiresIn: 600 });
    await directory.storage.close();

    const first = await startProcess(store);
    const code = await createFlows(first.url).authorize({ client, person });
    await first.kill('SIGTERM');
    for (const ahead of [3600, 0]) {
      const server = await startProcess(store, { ISSUER: first.url, ...clockAhead(ahead) });
      const { status } = await createFlows(first.url, server.url).redeem(client, code);
      expect(status, `the code, ${ahead} seconds ahead`).to.equal(400);
      const me = await fetch(`${server.url}/api/me`, { headers: { authorization: `Bearer ${token}` } });
      expect(((await me.json()) as { errorCode: string }).errorCode).to.equal('600');
      await server.kill('SIGTERM');
    }
    await store.remove();
  });
});
