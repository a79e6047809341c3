/**
 * How much is read from the store for what happens most, each journey warm, its second time. The numbers are those of today, as bounds:
 * they go down, and never up. `SHOW=1` prints every step.
 */
import { expect } from 'chai';
import { embeddedStore, startApp, type TestApp, type TestClient, type TestStore } from './support/app.ts';
import {
  exchangeToken,
  exchangingApp,
  FAKES_ALLOWED,
  type Fakes,
  fakePerson,
  linkedAccount,
  OWN,
  startFakes,
} from './support/exchange.ts';
import { createFlows, type Flows, formOf, OFFLINE } from './support/flow.ts';
import { askAsPartner, loginPath, partnerApp } from './support/partner.ts';
import { storeSteps } from './support/store-steps.ts';

describe('reads of the store', () => {
  let store: TestStore;
  let app: TestApp;
  let fakes: Fakes;
  let flows: Flows;
  let client: TestClient;
  let person: { id: string; email: string; password: string };

  before(async () => {
    [store, fakes] = await Promise.all([embeddedStore(), startFakes()]);
    app = await startApp(store, FAKES_ALLOWED);
    await fakes.register(app.directory);
    flows = createFlows(app.issuer);
    client = await app.client({ trusted: true });
    person = await app.person();
  });
  after(async () => {
    await app.close();
    await fakes.close();
    await store.remove();
  });

  /** The second time, when what a process remembers is there. */
  async function readsOf(prepare: () => Promise<() => Promise<unknown>>): Promise<string[]> {
    await (await prepare())();
    const run = await prepare();
    const steps = await storeSteps(app.directory.storage, run);
    if (process.env.SHOW) console.log(steps.join('\n'));
    return steps.filter((step) => /^(get|list) /.test(step));
  }

  it('are few for a password at sign-in', async () => {
    const reads = await readsOf(async () => {
      const browser = flows.browser();
      const { url } = await browser.open((await flows.start({ client })).url);
      const body = new URLSearchParams({ email: person.email, password: person.password });
      return async () => {
        const { status } = await browser.request(`${url.href}`, { method: 'POST', body });
        expect(status).to.equal(303);
      };
    });
    expect(reads, reads.join(', ')).to.have.length.of.at.most(13);
  });

  it('are few for a code', async () => {
    const reads = await readsOf(async () => {
      const redirected = await flows.authorize({ client, person });
      return async () => expect((await flows.redeem(client, redirected)).status).to.equal(200);
    });
    expect(reads, reads.join(', ')).to.have.length.of.at.most(16);
  });

  it('are few for a refresh', async () => {
    const reads = await readsOf(async () => {
      const { refresh_token: token } = await flows.tokens({ client, person, params: OFFLINE });
      return async () => expect((await flows.refresh(client, String(token))).status).to.equal(200);
    });
    expect(reads, reads.join(', ')).to.have.length.of.at.most(14);
  });

  it('are few for POST /rest/token', async () => {
    const own = await exchangingApp(app.directory);
    const somebody = fakePerson();
    await linkedAccount(app.directory, somebody);
    const providerToken = await fakes.openid.idToken(somebody, OWN);
    const reads = await readsOf(async () => async () => {
      const { status } = await exchangeToken(app.issuer, String(own.tokens.openid?.token), providerToken);
      expect(status).to.equal(200);
    });
    expect(reads, reads.join(', ')).to.have.length.of.at.most(7);
  });

  it('are few for /sso/login', async () => {
    const partner = await partnerApp(app.directory);
    const reads = await readsOf(async () => {
      const { body } = await askAsPartner(app.issuer, 'token', partner, { email: 'ann@partner.example' });
      const browser = flows.browser();
      const { text } = await browser.open(loginPath(String(body.access_token)));
      const { action, fields } = formOf(text);
      return async () => {
        const body = new URLSearchParams(fields);
        expect((await browser.request(app.issuer + action, { method: 'POST', body })).status).to.equal(303);
      };
    });
    expect(reads, reads.join(', ')).to.have.length.of.at.most(46);
  });
});
