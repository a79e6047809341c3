import { expect } from 'chai';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import {
  onEachEngine,
  SECRET_KEY,
  startApp,
  startProcess,
  type TestApp,
  type TestClient,
  type TestStore,
} from '../support/app.ts';
import type { Browser, Landing } from '../support/browser.ts';
import { failWrites, holdWrite, nextKill } from '../support/faulty-writes.ts';
import { createFlows, type Flows, OFFLINE, walk } from '../support/flow.ts';
import { arrive, askAsPartner, loginPath, type Partner, partnerApp, ssoToken } from '../support/partner.ts';

type Person = Awaited<ReturnType<TestApp['person']>>;
type Reach = 'sign-ins' | 'grants' | 'tokens';

const NEW_PASSWORD = 'another horse, another battery';

/** Whether something that was begun, or given, before an act still works. */
type Attempt = () => Promise<boolean>;

interface Act {
  reach: Reach;
  run(person: Person, browser: Browser): Promise<unknown>;
}

interface Credential {
  /** The least that has to end for it to be dead. */
  diesWith: Reach;
  begin(person: Person): Promise<Attempt>;
}

const REACHES: readonly Reach[] = ['sign-ins', 'grants', 'tokens'];
const ends = ({ reach }: Act, { diesWith }: Credential) => REACHES.indexOf(reach) >= REACHES.indexOf(diesWith);

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  /** The same store, seen by nobody whose writes are held or fail. */
  let elsewhere: Core;
  let flows: Flows;
  let client: TestClient;
  let asking: TestClient;
  let partner: Partner;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    elsewhere = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
    flows = createFlows(app.issuer);
    client = await app.client({ trusted: true });
    asking = await app.client({ redirectUris: ['https://asking.example.com/callback'] });
    partner = await partnerApp(app.directory, { redirectUris: ['https://partner.example.com/callback'] });
    await app.directory.identityProviders.create({ id: 'hub', kind: 'github', clientId: 'c', clientSecret: 's' });
  });
  after(async () => {
    await elsewhere.storage.close();
    await app.close();
    await store.remove();
  });

  const newPerson = () => app.person({ organizationId: partner.organizationId });
  const codeIn = ({ url }: Landing) => url.searchParams.get('code');

  async function signedIn(person: Person): Promise<Browser> {
    const browser = flows.browser();
    const { url } = await walk(browser, `${app.issuer}/account`, person);
    expect(url.pathname).to.equal('/account');
    return browser;
  }

  /** The address that the answer to the login form leads to. */
  async function parkedLogin(person: Person) {
    const browser = flows.browser();
    const login = await browser.open((await flows.start({ client })).url);
    const fields = { email: person.email, password: person.password };
    const posted = await browser.request(login.url.href, { method: 'POST', body: new URLSearchParams(fields) });
    return { browser, location: String(posted.headers.get('location')) };
  }

  async function isSilentlySignedIn(browser: Browser): Promise<boolean> {
    const { url } = await flows.start({ client, params: { prompt: 'none' } });
    return codeIn(await browser.open(url)) !== null;
  }

  const isAccepted = async (token: string) =>
    (await fetch(`${app.issuer}/verify`, { headers: { authorization: `Bearer ${token}` } })).status === 200;

  async function personalToken(browser: Browser): Promise<string | undefined> {
    const response = await browser.request('/api/tokens', {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ description: 'for a script' }),
    });
    const { token } = (await response.json()) as { token?: string };
    return token;
  }

  const acts: Record<string, Act> = {
    'the password is changed by who knows it': {
      reach: 'grants',
      run: (person, browser) =>
        browser.submit('/account/security', { current: person.password, password: NEW_PASSWORD }),
    },
    'the password is set by an administrator': {
      reach: 'grants',
      run: ({ id }) => app.directory.accounts.setPassword(id, NEW_PASSWORD),
    },
    'the person ends everything': {
      reach: 'tokens',
      run: (_person, browser) => browser.submit('/account/security/everything', {}),
    },
    'the person ends the other sessions': {
      reach: 'sign-ins',
      run: (_person, browser) => browser.submit('/account/sessions/end-others', {}),
    },
    'the account is disabled and enabled': {
      reach: 'tokens',
      async run({ id }) {
        await app.directory.accounts.disable(id);
        await app.directory.accounts.enable(id);
      },
    },
    'the person becomes an administrator': {
      reach: 'grants',
      run: ({ id }) => app.directory.accounts.update(id, { administrator: true }),
    },
    'a way to sign in is removed': {
      reach: 'grants',
      async run({ id }, browser) {
        await app.directory.links.add({ accountId: id, identityProviderId: 'hub', subject: id });
        const [, path = ''] =
          /(\/account\/security\/unlink\/[\w-]+)/.exec((await browser.open('/account/security')).text) ?? [];
        const unlinked = await browser.submit(path, {});
        expect(unlinked.text).to.contain('notice');
      },
    },
  };

  const credentials: Record<string, Credential> = {
    'a sign-in whose last step was not taken': {
      diesWith: 'sign-ins',
      async begin(person) {
        const { browser, location } = await parkedLogin(person);
        return async () => codeIn(await browser.open(location)) !== null || isSilentlySignedIn(browser);
      },
    },
    'a page that asks for consent': {
      diesWith: 'sign-ins',
      async begin(person) {
        const browser = flows.browser();
        const login = await browser.open((await flows.start({ client: asking })).url);
        const { email, password } = person;
        const consent = await browser.submit(login.url.pathname, { email, password });
        expect(consent.text).to.contain('name="decision"');
        return async () => codeIn(await browser.submit(consent.url.pathname, { decision: 'allow' })) !== null;
      },
    },
    'a session': {
      diesWith: 'sign-ins',
      async begin(person) {
        const browser = await signedIn(person);
        return async () => (await browser.request('/account')).status === 200 || isSilentlySignedIn(browser);
      },
    },
    'a code': {
      diesWith: 'sign-ins',
      async begin(person) {
        const redirected = await flows.authorize({ client, person });
        return async () => (await flows.redeem(client, redirected)).status === 200;
      },
    },
    'a code that brings a refresh token': {
      diesWith: 'sign-ins',
      async begin(person) {
        const redirected = await flows.authorize({ client, person, params: OFFLINE });
        return async () => (await flows.redeem(client, redirected)).status === 200;
      },
    },
    'an access token': {
      diesWith: 'sign-ins',
      async begin(person) {
        const { access_token: token } = await flows.tokens({ client, person });
        return async () => (await isAccepted(token)) || (await flows.userinfo(token)).status === 200;
      },
    },
    'a refresh token': {
      diesWith: 'grants',
      async begin(person) {
        const { refresh_token: token } = await flows.tokens({ client, person, params: OFFLINE });
        return async () => (await flows.refresh(client, String(token))).status === 200;
      },
    },
    'an access token of a partner': {
      diesWith: 'grants',
      async begin({ email }) {
        const { body } = await askAsPartner(app.issuer, 'access-token', partner, { email });
        return () => isAccepted(String(body.access_token));
      },
    },
    'a one-time sign-in of a partner': {
      diesWith: 'sign-ins',
      async begin({ email }) {
        const token = await ssoToken(app.issuer, partner, { email });
        return async () => {
          const browser = flows.browser();
          await arrive(browser, loginPath(token));
          return isSilentlySignedIn(browser);
        };
      },
    },
    'a personal token': {
      diesWith: 'tokens',
      async begin(person) {
        const token = await personalToken(await signedIn(person));
        return () => isAccepted(String(token));
      },
    },
  };

  for (const [act, done] of Object.entries(acts)) {
    describe(`when ${act}`, () => {
      for (const [name, credential] of Object.entries(credentials)) {
        const dies = ends(done, credential);
        it(`${name} from before ${dies ? 'never works again' : 'goes on working'}`, async () => {
          const person = await newPerson();
          const browser = await signedIn(person);
          const attempt = await credential.begin(person);
          await done.run(person, browser);
          expect(await attempt()).to.equal(!dies);
        });
      }

      it('has ended everything that it ends with its first write, and doing it again finishes it', async () => {
        let raisedAt: number | undefined;
        for (let kept = 0; ; kept = nextKill(kept, raisedAt)) {
          const person = await newPerson();
          const browser = await signedIn(person);
          const begun: Attempt[] = [];
          for (const credential of Object.values(credentials))
            if (ends(done, credential)) begun.push(await credential.begin(person));
          const before = await app.directory.accounts.getOrFail(person.id);
          const stop = failWrites(app.directory.storage, { after: kept });
          await done.run(person, browser).catch(() => undefined);
          const isWhole = !stop();
          const after = await app.directory.accounts.getOrFail(person.id);
          if (after.epoch > before.epoch) {
            raisedAt ??= kept;
            await elsewhere.accounts.enable(person.id);
            expect(await Promise.all(begun.map((attempt) => attempt())), `after ${kept} writes`).to.deep.equal(
              begun.map(() => false),
            );
          } else expect(after, `after ${kept} writes`).to.deep.equal(before);
          if (isWhole) return;
        }
      }).timeout(60_000);
    });
  }

  describe('what is under way when everything ends', () => {
    /** What a request brings: undefined, or something to try afterwards. */
    const requests: Record<string, (person: Person) => Promise<() => Promise<Attempt | undefined>>> = {
      async 'the last step of a sign-in'(person) {
        const { browser, location } = await parkedLogin(person);
        return async () => {
          const code = codeIn(await browser.open(location));
          const isRedeemed = async () =>
            code !== null && (await flows.redeem(client, { code, verifier: 'x'.repeat(43) })).status === 200;
          return async () => (await isRedeemed()) || isSilentlySignedIn(browser);
        };
      },
      async 'an authorization request'(person) {
        const browser = await signedIn(person);
        return async () => {
          const { url, verifier } = await flows.start({ client, params: OFFLINE });
          const code = codeIn(await browser.open(url));
          return async () => code !== null && (await flows.redeem(client, { code, verifier })).status === 200;
        };
      },
      async 'a code that is redeemed'(person) {
        const redirected = await flows.authorize({ client, person, params: OFFLINE });
        return async () => {
          const { body } = await flows.redeem(client, redirected);
          return async () =>
            (await isAccepted(String(body.access_token))) ||
            (await flows.refresh(client, String(body.refresh_token))).status === 200;
        };
      },
      async 'a refresh'(person) {
        const { refresh_token: token } = await flows.tokens({ client, person, params: OFFLINE });
        return async () => {
          const { body } = await flows.refresh(client, String(token));
          return async () =>
            (await isAccepted(String(body.access_token))) ||
            (await flows.refresh(client, String(body.refresh_token))).status === 200;
        };
      },
      async 'a personal token that is made'(person) {
        const browser = await signedIn(person);
        return async () => {
          const token = await personalToken(browser);
          return () => isAccepted(String(token));
        };
      },
      async 'a personal token that is exchanged'(person) {
        const browser = await signedIn(person);
        await personalToken(browser);
        const [{ id } = { id: '' }] = (await (await browser.request('/api/tokens')).json()) as { id: string }[];
        return async () => {
          const response = await browser.request(`/api/tokens/${id}/rotate`, {
            method: 'POST',
            headers: { 'content-type': 'application/json', accept: 'application/json' },
            body: JSON.stringify({ overlap: 0 }),
          });
          const { token } = (await response.json()) as { token?: string };
          return () => isAccepted(String(token));
        };
      },
      async 'an access token for a partner'({ email }) {
        return async () => {
          const { body } = await askAsPartner(app.issuer, 'access-token', partner, { email });
          return () => isAccepted(String(body.access_token));
        };
      },
    };

    for (const [name, prepare] of Object.entries(requests)) {
      it(`ends too: ${name}, wherever it is held`, async () => {
        // What an app is counted by is written before anybody is looked at.
        const isAfterLooking = (key: string) => !key.startsWith('throttle:');
        for (let n = 1; ; n++) {
          const person = await newPerson();
          const request = await prepare(person);
          const hold = holdWrite(app.directory.storage, n, isAfterLooking);
          const answered = request();
          const isHeld = await Promise.race([hold.reached.then(() => true), answered.then(() => false)]);
          if (isHeld) await elsewhere.accounts.endProven(person.id, 'tokens');
          hold.release();
          const attempt = await answered;
          if (!isHeld) {
            expect(n, 'writes').to.be.above(1);
            return;
          }
          expect(await attempt?.(), `held at write ${n}`).to.equal(false);
        }
      }).timeout(60_000);
    }

    it('ends too: a password that was right and is changed, wherever the sign-in is held', async () => {
      for (let n = 1; ; n++) {
        const person = await newPerson();
        const hold = holdWrite(app.directory.storage, n);
        const posted = parkedLogin(person);
        const isHeld = await Promise.race([hold.reached.then(() => true), posted.then(() => false)]);
        if (isHeld) await elsewhere.accounts.setPassword(person.id, NEW_PASSWORD);
        hold.release();
        const { browser, location } = await posted;
        if (!isHeld) return;
        const isIn = location !== 'null' && codeIn(await browser.open(location)) !== null;
        expect(isIn, `held at write ${n}`).to.equal(false);
      }
    }).timeout(60_000);

    it('remembers no consent, and no word of a partner, that was being given', async () => {
      const words: Record<string, (person: Person) => Promise<[TestClient, () => Promise<unknown>]>> = {
        async 'a consent'(person) {
          const browser = await signedIn(person);
          const page = await browser.open((await flows.start({ client: asking })).url);
          expect(page.text).to.contain('name="decision"');
          return [asking, () => browser.submit(page.url.pathname, { decision: 'allow' })];
        },
        async 'a word'({ email }) {
          const token = await ssoToken(app.issuer, partner, { email });
          return [partner, () => arrive(flows.browser(), loginPath(token))];
        },
      };
      for (const [name, prepare] of Object.entries(words)) {
        const person = await newPerson();
        // Not the first time that everything ended.
        await elsewhere.accounts.endProven(person.id, 'tokens');
        const [receiver, give] = await prepare(person);
        const key = `consent:${person.id}:${receiver.id}`;
        const hold = holdWrite(app.directory.storage, 1, (each) => each === key);
        const given = give();
        await hold.reached;
        await elsewhere.accounts.endProven(person.id, 'tokens');
        hold.release();
        await given;
        const browser = await signedIn(person);
        const asked = async () => (await browser.open((await flows.start({ client: receiver })).url)).text;
        expect(await asked(), `${name} is asked for`).to.contain('name="decision"');
        await walk(browser, (await flows.start({ client: receiver })).url, person);
        expect(await asked(), `${name} that is given anew is remembered`).not.to.contain('name="decision"');
      }
    });

    it('changes no password any more', async () => {
      const person = await newPerson();
      const browser = await signedIn(person);
      const hold = holdWrite(app.directory.storage, 1, (key) => key === `account:${person.id}`);
      const changing = browser.submit('/account/security', { current: person.password, password: NEW_PASSWORD });
      await hold.reached;
      await elsewhere.accounts.endProven(person.id, 'sign-ins');
      hold.release();
      expect((await changing).response?.status).to.equal(401);
      await signedIn(person);
    });
  });

  it('ends on every process at once, and what is proven anew works there at once', async () => {
    const other = await startProcess(store, { ISSUER: app.issuer });
    const there = createFlows(app.issuer, other.url);
    const acceptedThere = async (token: unknown) =>
      (await fetch(`${other.url}/verify`, { headers: { authorization: `Bearer ${token}` } })).status === 200;
    try {
      const person = await newPerson();
      const byPartner = async () =>
        (await askAsPartner(other.url, 'access-token', partner, { email: person.email })).body.access_token;
      const session = there.browser();
      await walk(session, `${app.issuer}/account`, person);
      const login = there.browser();
      const { url } = await login.open((await there.start({ client })).url);
      const { email, password } = person;
      const posted = await login.request(url.href, { method: 'POST', body: new URLSearchParams({ email, password }) });
      const tokens = [
        (await there.tokens({ client, person, params: OFFLINE })).access_token,
        await byPartner(),
        await personalToken(session),
      ];
      expect(await Promise.all(tokens.map(acceptedThere))).to.deep.equal([true, true, true]);

      await app.directory.accounts.endProven(person.id, 'tokens');
      expect(await Promise.all(tokens.map(acceptedThere))).to.deep.equal([false, false, false]);
      expect((await session.request('/account')).status).to.equal(302);
      expect(codeIn(await login.open(String(posted.headers.get('location'))))).to.equal(null);

      // The grant that this process remembers for its partner has ended with the rest.
      expect(await acceptedThere(await byPartner())).to.equal(true);
      expect(await acceptedThere((await there.tokens({ client, person })).access_token)).to.equal(true);
    } finally {
      await other.kill('SIGKILL');
    }
  }).timeout(30_000);

  it('lets the session in which a password was changed go on', async () => {
    const person = await newPerson();
    const browser = await signedIn(person);
    const other = await signedIn(person);
    await browser.submit('/account/security', { current: person.password, password: NEW_PASSWORD });
    expect((await browser.request('/account')).status).to.equal(200);
    expect(await isSilentlySignedIn(browser)).to.equal(true);
    expect((await other.request('/account')).status).to.equal(302);
  });
});
