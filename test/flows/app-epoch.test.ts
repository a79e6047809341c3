import { expect } from 'chai';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import { onEachEngine, SECRET_KEY, startApp, type TestApp, type TestStore } from '../support/app.ts';
import { failWrites, holdWrite, nextKill } from '../support/faulty-writes.ts';
import { createFlows, type Flows, OFFLINE } from '../support/flow.ts';
import { arrive, askAsPartner, loginPath, type Partner, partnerApp, ssoToken } from '../support/partner.ts';

type Person = Awaited<ReturnType<TestApp['person']>>;
type Attempt = () => Promise<boolean>;

/** What an app has: what stands on its registration, and what stands on its right to sign people in as well. */
interface Credential {
  begin(app: Partner, person: Person): Promise<Attempt>;
}

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let elsewhere: Core;
  let flows: Flows;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    elsewhere = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY, ISSUER: app.issuer }));
    flows = createFlows(app.issuer);
  });
  after(async () => {
    await elsewhere.storage.close();
    await app.close();
    await store.remove();
  });

  async function newApp(): Promise<{ client: Partner; person: Person }> {
    const client = await partnerApp(app.directory, { clientCredentials: true, trusted: true });
    return { client, person: await app.person({ organizationId: client.organizationId }) };
  }

  const isAccepted = async (token: unknown) =>
    (await fetch(`${app.issuer}/verify`, { headers: { authorization: `Bearer ${token}` } })).status === 200;

  const ownToken = async (client: Partner) =>
    (await flows.post('token', client, { grant_type: 'client_credentials' })).body.access_token;

  const partnerToken = async (client: Partner, { email }: Person) =>
    (await askAsPartner(app.issuer, 'access-token', client, { email })).body.access_token;

  const credentials: Record<string, Credential> = {
    'a token of its own': {
      async begin(client) {
        const token = await ownToken(client);
        return () => isAccepted(token);
      },
    },
    'an access token of a person': {
      async begin(client, person) {
        const { access_token: token } = await flows.tokens({ client, person });
        return () => isAccepted(token);
      },
    },
    'a refresh token': {
      async begin(client, person) {
        const { refresh_token: token } = await flows.tokens({ client, person, params: OFFLINE });
        return async () => (await flows.refresh(client, String(token))).status === 200;
      },
    },
    'a code': {
      async begin(client, person) {
        const redirected = await flows.authorize({ client, person });
        return async () => (await flows.redeem(client, redirected)).status === 200;
      },
    },
    'an access token by its word': {
      async begin(client, person) {
        const token = await partnerToken(client, person);
        return () => isAccepted(token);
      },
    },
    'a one-time sign-in': {
      async begin(client, { email }) {
        const token = await ssoToken(app.issuer, client, { email });
        return async () => (await arrive(flows.browser(), loginPath(token))).url.pathname === '/account';
      },
    },
    'a session that began by its word': {
      async begin(client, { email }) {
        const browser = flows.browser();
        await arrive(browser, loginPath(await ssoToken(app.issuer, client, { email })));
        expect((await browser.request('/account')).status).to.equal(200);
        return async () => (await browser.request('/account')).status === 200;
      },
    },
  };

  const acts: Record<string, { run(directory: Core, client: Partner): Promise<unknown>; again: typeof restore }> = {
    'is disabled': {
      run: ({ clients }, { id }) => clients.disable(id),
      again: ({ clients }, { id }) => clients.enable(id),
    },
    'loses the right to sign people in': {
      run: ({ clients }, { id }) => clients.update(id, { sso: undefined }),
      again: restore,
    },
  };

  async function restore({ clients }: Core, { id, record }: Partner): Promise<unknown> {
    return clients.update(id, { sso: record.sso });
  }

  for (const [act, { run, again }] of Object.entries(acts)) {
    it(`has nothing that it had before, once it ${act} and may again, wherever a process was killed`, async () => {
      let raisedAt: number | undefined;
      for (let kept = 0; ; kept = nextKill(kept, raisedAt)) {
        const { client, person } = await newApp();
        const begun: [string, Attempt][] = [];
        for (const [name, credential] of Object.entries(credentials))
          begun.push([name, await credential.begin(client, person)]);
        const before = await app.directory.clients.getOrFail(client.id);
        const stop = failWrites(app.directory.storage, { after: kept });
        await run(app.directory, client).catch(() => undefined);
        const isWhole = !stop();
        const after = await elsewhere.clients.getOrFail(client.id);
        if (after.epoch > before.epoch) {
          raisedAt ??= kept;
          await again(elsewhere, client);
          for (const [name, attempt] of begun) expect(await attempt(), `${name}, after ${kept} writes`).to.equal(false);
        } else expect(after, `after ${kept} writes`).to.deep.equal(before);
        if (isWhole) return;
      }
    }).timeout(60_000);
  }

  const requests: Record<string, (client: Partner, person: Person) => Promise<() => Promise<Attempt>>> = {
    async 'a token of its own'(client) {
      return async () => {
        const token = await ownToken(client);
        return () => isAccepted(token);
      };
    },
    async 'an access token by its word'(client, person) {
      return async () => {
        const token = await partnerToken(client, person);
        return () => isAccepted(token);
      };
    },
    async 'a one-time sign-in'(client, { email }) {
      return async () => {
        const { body } = await askAsPartner(app.issuer, 'token', client, { email });
        const { url } = await arrive(flows.browser(), loginPath(String(body.access_token))).catch(() => ({
          url: undefined,
        }));
        return async () => url?.pathname === '/account';
      };
    },
    async 'a code that is redeemed'(client, person) {
      const redirected = await flows.authorize({ client, person });
      return async () => {
        const { body } = await flows.redeem(client, redirected);
        return () => isAccepted(body.access_token);
      };
    },
  };

  for (const [name, prepare] of Object.entries(requests)) {
    it(`gets nothing that was under way when it was stopped: ${name}, wherever it is held`, async () => {
      const isAfterLooking = (key: string) => !key.startsWith('throttle:');
      for (let n = 1; ; n++) {
        const { client, person } = await newApp();
        const request = await prepare(client, person);
        const hold = holdWrite(app.directory.storage, n, isAfterLooking);
        const answered = request();
        const isHeld = await Promise.race([hold.reached.then(() => true), answered.then(() => false)]);
        if (isHeld) {
          await elsewhere.clients.disable(client.id);
          await elsewhere.clients.enable(client.id);
        }
        hold.release();
        const attempt = await answered;
        if (!isHeld) {
          expect(n, 'writes').to.be.above(1);
          return;
        }
        expect(await attempt(), `held at write ${n}`).to.equal(false);
      }
    }).timeout(60_000);
  }
});
