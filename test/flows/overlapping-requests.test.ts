/** What one browser asks for at the same time, through two processes: nothing that one request was given is lost to another. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { decodeJwt } from 'jose';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import {
  fixtures,
  onEachEngine,
  SECRET_KEY,
  startProcess,
  type TestClient,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { createFlows, type Flows, fragmentOf, walk } from '../support/flow.ts';

const TABS = 6;
/** Fewer than guesses at one account. */
const FIRST_TABS = 4;
const ROUNDS = 4;

onEachEngine((openStore) => {
  let store: TestStore;
  let directory: Core;
  let made: ReturnType<typeof fixtures>;
  let processes: TestProcess[];
  let flows: Flows;
  let origins: string[];
  let listener: Awaited<ReturnType<typeof startListener>>;
  let person: { id: string; email: string; password: string };

  before(async () => {
    [store, listener] = await Promise.all([openStore(), startListener()]);
    directory = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
    made = fixtures(directory);
    const reachable = { OUTBOUND_ALLOW: '127.0.0.0/8' };
    const one = await startProcess(store, reachable);
    processes = [one, await startProcess(store, { ...reachable, ISSUER: one.url })];
    origins = processes.map(({ url }) => url);
    flows = createFlows(one.url);
    person = await made.person();
  }).timeout(30_000);
  after(async () => {
    await Promise.all(processes.map((one) => one.kill('SIGKILL')));
    await directory.storage.close();
    await store.remove();
    await listener.close();
  });

  const apps = (count: number, more: Parameters<typeof made.client>[0] = {}) =>
    Promise.all(
      Array.from({ length: count }, (_, index) =>
        made.client({
          trusted: true,
          redirectUris: [`https://app${index}.example.com/callback`],
          backchannelLogoutUri: `${listener.url}/${index}`,
          ...more,
        }),
      ),
    );

  async function signedIn(client?: TestClient): Promise<Browser> {
    const browser = flows.browser();
    await walk(browser, (await flows.start({ client: client ?? (await made.client({ trusted: true })) })).url, person);
    return browser;
  }

  /** A request of one more tab, through one of the processes, with the cookies that the browser has now and without keeping new ones. */
  async function inTab(browser: Browser, url: string, index: number, body?: Record<string, string>): Promise<URL> {
    const { pathname, search } = new URL(url);
    const cookie = browser
      .cookies()
      .filter(({ path }) => pathname.startsWith(path))
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
    const response = await fetch(`${origins[index % 2]}${pathname}${search}`, {
      headers: { cookie, ...(body ? { origin: String(origins[0]) } : {}) },
      redirect: 'manual',
      ...(body ? { method: 'POST', body: new URLSearchParams(body) } : {}),
    });
    return new URL(response.headers.get('location') ?? 'about:blank');
  }

  /** Every app asks at once without a page. Answers what was asked and where each was sent. */
  async function askAtOnce(browser: Browser, clients: TestClient[], params: Record<string, string> = {}) {
    const asked = await Promise.all(
      clients.map(async (client) => ({
        client,
        ...(await flows.start({ client, params: { prompt: 'none', ...params } })),
      })),
    );
    const landings = await Promise.all(asked.map(({ url }, index) => inTab(browser, url, index)));
    return asked.map((one, index) => ({ ...one, landing: landings[index] as URL }));
  }

  type Asked = Awaited<ReturnType<typeof askAtOnce>>[number];

  async function redeemed({ client, verifier, landing }: Asked): Promise<Record<string, unknown>> {
    const { status, body } = await flows.redeem(client, { code: String(landing.searchParams.get('code')), verifier });
    expect([status, body.error], landing.href).to.deep.equal([200, undefined]);
    return body;
  }

  const isAlive = async (token: unknown) => (await flows.userinfo(String(token))).status === 200;

  async function signOut(browser: Browser): Promise<void> {
    const { text: page } = await browser.open('/identity/logout');
    const [, xsrf = ''] = /name="xsrf" value="([^"]+)"/.exec(page) ?? [];
    await browser.submit('/identity/logout/confirm', { xsrf, logout: 'yes' });
  }

  describe('requests that overlap in one session', () => {
    it('of several apps all get codes whose tokens work, and every app is told of the sign-out', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const browser = await signedIn();
        const clients = await apps(TABS);
        const answers = await Promise.all((await askAtOnce(browser, clients)).map(redeemed));
        for (const { access_token: token } of answers) expect(await isAlive(token)).to.equal(true);
        await signOut(browser);
        for (const { access_token: token } of answers) expect(await isAlive(token)).to.equal(false);
        const sids = answers.map(({ id_token: token }) => String(decodeJwt(String(token)).sid));
        await listener.heard(sids);
        expect(listener.timesOf(sids), 'told once each').to.deep.equal(sids.map(() => 1));
      }
    }).timeout(60_000);

    it('of one app in several tabs share one grant and one sid, and all their tokens work', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const browser = await signedIn();
        const [client] = (await apps(1)) as [TestClient];
        const asked = await askAtOnce(
          browser,
          Array.from({ length: TABS }, () => client),
        );
        const answers = await Promise.all(asked.map(redeemed));
        for (const { access_token: token } of answers) expect(await isAlive(token)).to.equal(true);
        expect(new Set(answers.map(({ id_token: token }) => decodeJwt(String(token)).sid)).size).to.equal(1);
        const { entries } = await directory.storage.list(`engine:client:${client.id}`);
        expect(entries.filter(({ key }) => key.startsWith('Grant:'))).to.have.length(1);
      }
    }).timeout(60_000);

    it('of single-page apps get access tokens that work, beside codes and requests for nothing', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const browser = await signedIn();
        const clients = await apps(TABS, { implicit: true });
        const types = ['id_token token', 'code', 'none'];
        const asked = await Promise.all(
          clients.map(async (client, index) => {
            const response_type = String(types[index % 3]);
            const params = { prompt: 'none', response_type, ...(response_type === 'none' ? { nonce: '' } : {}) };
            return { client, response_type, ...(await flows.start({ client, params })) };
          }),
        );
        const landings = await Promise.all(asked.map(({ url }, index) => inTab(browser, url, index)));
        for (const [index, { client, verifier, response_type, url }] of asked.entries()) {
          const landing = landings[index] as URL;
          if (response_type === 'code') await redeemed({ client, verifier, landing } as Asked);
          else if (response_type === 'none') expect(landing.searchParams.get('error'), url).to.equal(null);
          else expect(await isAlive(fragmentOf(landing).get('access_token')), landing.href).to.equal(true);
        }
      }
    }).timeout(60_000);

    it('of an app whose grant was ended get one new grant, never the ended one', async () => {
      const browser = await signedIn();
      const [client] = (await apps(1)) as [TestClient];
      const first = (await askAtOnce(browser, [client])) as [Asked];
      const { access_token: before } = await redeemed(first[0]);
      const grants = async () =>
        (await directory.storage.list(`engine:client:${client.id}`)).entries.map(({ key }) => key);
      const [ended = ''] = await grants();
      await directory.storage.delete(ended);
      const answers = await Promise.all((await askAtOnce(browser, [client, client, client, client])).map(redeemed));
      for (const { access_token: token } of answers) expect(await isAlive(token)).to.equal(true);
      expect(await isAlive(before)).to.equal(false);
      expect(await grants())
        .to.have.length(1)
        .and.not.include(ended);
    });

    it('keep what both of two consent pages were answered, at once', async () => {
      for (const name of ['red', 'blue'])
        await directory.permissions.create({ name, description: name }).catch(() => undefined);
      const holder = await made.person({ permissions: ['red', 'blue'] });
      for (let round = 0; round < ROUNDS; round++) {
        const client = await made.client({ permissions: ['red', 'blue'] });
        const browser = flows.browser();
        await walk(browser, (await flows.start({ client: await made.client({ trusted: true }) })).url, holder);
        const tabs = await Promise.all(
          ['openid red', 'openid blue'].map(async (scope) => {
            const { url, verifier } = await flows.start({ client, params: { scope } });
            return { page: await browser.open(url), verifier };
          }),
        );
        const answered = await Promise.all(
          tabs.map(({ page }) => browser.submit(page.url.pathname, { decision: 'allow' })),
        );
        const scopes = await Promise.all(
          answered.map(async (landing, index) => {
            const verifier = String(tabs[index]?.verifier);
            const body = await redeemed({ client, verifier, landing: landing.url } as Asked);
            expect(await isAlive(body.access_token)).to.equal(true);
            return body.scope;
          }),
        );
        expect(scopes).to.deep.equal(['openid red', 'openid blue']);
        const both = (await askAtOnce(browser, [client], { scope: 'openid red blue' })) as [Asked];
        expect((await redeemed(both[0])).scope).to.equal('openid red blue');
      }
    }).timeout(60_000);

    it('that sign in anew in several tabs all come to their end, and so does one that comes with the cookie of before', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const browser = await signedIn();
        const clients = await apps(4);
        const cookies = browser.cookies();
        const before = { ...browser, cookies: () => cookies };
        const asked = await Promise.all(
          clients.map(async (client) => ({ client, ...(await flows.start({ client, params: { prompt: 'login' } })) })),
        );
        const pages = await Promise.all(asked.map(({ url }) => browser.open(url)));
        const landings = await Promise.all(pages.map(({ url }) => browser.submit(url.pathname, person)));
        for (const [index, one] of asked.entries()) await redeemed({ ...one, landing: landings[index]?.url } as Asked);
        const late = await askAtOnce(before, await apps(2));
        for (const one of late) expect(await isAlive((await redeemed(one)).access_token)).to.equal(true);
        expect((await browser.open('/account')).response?.status, 'still signed in').to.equal(200);
      }
    }).timeout(60_000);

    it('give nothing any more once the person has signed out, and no app that got something goes untold', async () => {
      for (let round = 0; round < ROUNDS * 2; round++) {
        const browser = await signedIn();
        const clients = await apps(TABS, { implicit: true });
        const page = await browser.open('/identity/logout');
        const [, xsrf = ''] = /name="xsrf" value="([^"]+)"/.exec(page.text) ?? [];
        const params = { response_type: 'id_token token' };
        const [asked] = await Promise.all([
          askAtOnce(browser, clients, params),
          sleep(round * 3).then(() => browser.submit('/identity/logout/confirm', { xsrf, logout: 'yes' })),
        ]);
        const given = asked.map(({ landing }) => fragmentOf(landing)).filter((answer) => answer.has('access_token'));
        for (const answer of given) expect(await isAlive(answer.get('access_token'))).to.equal(false);
        await listener.heard(given.map((answer) => String(decodeJwt(String(answer.get('id_token'))).sid)));
        const after = await askAtOnce(browser, clients, params);
        for (const { landing } of after) expect(fragmentOf(landing).get('error')).to.equal('login_required');
      }
    }).timeout(60_000);
  });

  describe('a browser in which nobody is signed in', () => {
    /** Somebody answers the pages of all tabs at once, and no tab comes with the session that another one begins. */
    async function signInInTabs(browser: Browser, clients: TestClient[], who = () => person): Promise<Asked[]> {
      const asked = await Promise.all(clients.map(async (client) => ({ client, ...(await flows.start({ client })) })));
      const pages = await Promise.all(asked.map(({ url }) => browser.open(url)));
      const resumes = await Promise.all(pages.map(({ url }, index) => inTab(browser, url.href, index, who())));
      const landings = resumes.map(({ href }, index) =>
        index === 0 ? browser.open(href).then(({ url }) => url) : inTab(browser, href, index),
      );
      const landed = await Promise.all(landings);
      return asked.map((one, index) => ({ ...one, landing: landed[index] as URL }));
    }

    const sessionsOf = async (id: string) => (await directory.sessions.list(id)).map(({ uid }) => uid);

    it('begins one session when its person signs in in several tabs at the same instant, and signing out ends and tells all', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const holder = await made.person();
        const browser = flows.browser();
        const tabs = await signInInTabs(browser, await apps(FIRST_TABS), () => holder);
        const answers = await Promise.all(tabs.map(redeemed));
        expect(await sessionsOf(holder.id)).to.have.length(1);
        for (const { access_token: token } of answers) expect(await isAlive(token)).to.equal(true);
        await signOut(browser);
        expect(await sessionsOf(holder.id)).to.have.length(0);
        for (const { access_token: token } of answers) expect(await isAlive(token)).to.equal(false);
        const sids = answers.map(({ id_token: token }) => String(decodeJwt(String(token)).sid));
        await listener.heard(sids);
        expect(listener.timesOf(sids), 'told once each').to.deep.equal(sids.map(() => 1));
      }
    }).timeout(60_000);

    it('gives one app in several tabs one grant and one sid', async () => {
      const holder = await made.person();
      const [client] = (await apps(1)) as [TestClient];
      const tabs = await signInInTabs(
        flows.browser(),
        Array.from({ length: FIRST_TABS }, () => client),
        () => holder,
      );
      const answers = await Promise.all(tabs.map(redeemed));
      for (const { access_token: token } of answers) expect(await isAlive(token)).to.equal(true);
      expect(new Set(answers.map(({ id_token: token }) => decodeJwt(String(token)).sid)).size).to.equal(1);
      expect(await sessionsOf(holder.id)).to.have.length(1);
    });

    it('does the same when a session in it has ended since, and for who takes the place of somebody else', async () => {
      const [ada, ben] = [await made.person(), await made.person()];
      const browser = flows.browser();
      await walk(browser, (await flows.start({ client: await made.client({ trusted: true }) })).url, ada);
      const [ended] = await sessionsOf(ada.id);
      await directory.sessions.end(ada.id, String(ended));
      const again = await Promise.all((await signInInTabs(browser, await apps(FIRST_TABS), () => ada)).map(redeemed));
      expect(await sessionsOf(ada.id)).to.have.length(1);
      for (const { access_token: token } of again) expect(await isAlive(token)).to.equal(true);

      const clients = await apps(FIRST_TABS);
      const asked = await Promise.all(
        clients.map(async (client) => ({ client, ...(await flows.start({ client, params: { prompt: 'login' } })) })),
      );
      const pages = await Promise.all(asked.map(({ url }) => browser.open(url)));
      const resumes = await Promise.all(pages.map(({ url }, index) => inTab(browser, url.href, index, ben)));
      await Promise.all(resumes.map(({ href }, index) => inTab(browser, href, index)));
      expect(await sessionsOf(ada.id)).to.have.length(0);
      expect(await sessionsOf(ben.id)).to.have.length(1);
    });

    it('joins nobody who has not proven who they are, whatever cookie was planted in it', async () => {
      const [victim, attacker] = [await made.person(), await made.person()];
      const client = await made.client({ trusted: true });
      const planted = flows.browser();
      await planted.open((await flows.start({ client })).url);
      const cookie = planted.cookies().find(({ name }) => name.startsWith('latchkey-beginning'));
      const carrying = (own: Browser): Browser => ({ ...own, cookies: () => [...own.cookies(), cookie as never] });
      const [theirs, his] = [flows.browser(), flows.browser()];
      await signInInTabs(carrying(theirs), [client, client], () => victim);
      await signInInTabs(carrying(his), [client, client], () => attacker);
      const [uids, others] = [await sessionsOf(victim.id), await sessionsOf(attacker.id)];
      expect(uids.filter((uid) => others.includes(uid))).to.deep.equal([]);
      expect((await planted.open('/account')).url.pathname, 'the cookie alone signs nobody in').to.match(
        /^\/interaction\//,
      );
    });

    it('begins nothing with what was proven before everything ended', async () => {
      const holder = await made.person();
      const browser = flows.browser();
      const clients = await apps(3);
      const asked = await Promise.all(clients.map(async (client) => (await flows.start({ client })).url));
      const pages = await Promise.all(asked.map((url) => browser.open(url)));
      const resumes = await Promise.all(pages.map(({ url }, index) => inTab(browser, url.href, index, holder)));
      const [first, ...parked] = resumes.map(({ href }) => href);
      await inTab(browser, String(first), 0);
      await directory.accounts.endProven(holder.id, 'tokens');
      for (const [index, href] of parked.entries()) {
        const landing = await inTab(browser, href, index);
        expect(landing.searchParams.get('code')).to.equal(null);
      }
      expect(await sessionsOf(holder.id)).to.deep.equal([]);
    });
  });

  describe('a session', () => {
    it('that was stored under its id, as earlier versions did, goes on and ends as ever', async () => {
      const client = await made.client({ trusted: true });
      const browser = await signedIn(client);
      const [asked] = (await askAtOnce(browser, [client])) as [Asked];
      const { access_token: token } = await redeemed(asked);
      const { entries } = await directory.storage.list(`engine:sessions:${person.id}`, { limit: 1000 });
      const id = String(browser.cookies().find(({ name }) => /^latchkey(-\d+)?$/.test(name))?.value);
      const key = `Session:${createHash('sha256').update(id).digest('base64url')}`;
      const { uid } = (await directory.storage.get(key)) as { uid: string };
      const session = entries.find((entry) => entry.key === `Session-uid:${uid}`);
      const groups = [`engine:account:${person.id}`];
      await directory.storage.put(key, session?.value ?? null, { ttl: 3600, groups });
      await directory.storage.put(`Session-uid:${uid}`, key, { ttl: 3600, groups });

      expect(await isAlive(token)).to.equal(true);
      expect((await directory.sessions.list(person.id)).map((listed) => listed.uid)).to.include(uid);
      const answers = await Promise.all((await askAtOnce(browser, await apps(4))).map(redeemed));
      expect(await isAlive(token), 'of the same session').to.equal(true);
      await signOut(browser);
      for (const { access_token: ended } of [...answers, { access_token: token }])
        expect(await isAlive(ended)).to.equal(false);
    });

    it('is listed before its browser has come to any page of ours, whatever made it', async () => {
      const holder = await made.person();
      const [client] = (await apps(1)) as [TestClient];
      await walk(flows.browser(), (await flows.start({ client })).url, holder);
      for (const { key } of (await directory.storage.list(`browser-sessions:account:${holder.id}`)).entries)
        await directory.storage.delete(key);
      const browser = flows.browser();
      await walk(browser, (await flows.start({ client })).url, holder);
      expect(await directory.sessions.list(holder.id)).to.have.length(2);
      const { text: page } = await browser.open('/account/sessions');
      expect(page.match(/\/account\/sessions\/[^"/]+\/end"/g)).to.have.length(1);
      await browser.submit('/account/sessions/end-others', {});
      expect(await directory.sessions.list(holder.id)).to.have.length(1);
      expect((await browser.open('/account')).response?.status).to.equal(200);
    });

    it('is one of at most a hundred of its person: the one idle for longest gives way', async () => {
      const holder = await made.person();
      const [client] = (await apps(1)) as [TestClient];
      const url = (await flows.start({ client })).url;
      const first = flows.browser();
      await walk(first, url, holder);
      const second = flows.browser();
      await walk(second, url, holder);
      const group = `engine:sessions:${holder.id}`;
      const { entries } = await directory.storage.list(group);
      const [, pattern] = entries.map(({ value }) => value as { exp: number });
      const groups = [group, `engine:account:${holder.id}`];
      for (let copy = 0; copy < 98; copy++) {
        const session = { ...pattern, uid: `copy-${copy}`, exp: Number(pattern?.exp) - 1000 - copy };
        await directory.storage.put(`Session-uid:copy-${copy}`, session, { ttl: 3600, groups });
      }
      const uids = async () => (await directory.sessions.list(holder.id)).map(({ uid }) => uid);
      expect(await uids())
        .to.have.length(100)
        .and.include('copy-97');
      await walk(flows.browser(), url, holder);
      expect(await uids())
        .to.have.length(100)
        .and.include('copy-96')
        .and.not.include('copy-97');
      await Promise.all([1, 2, 3, 4].map(async () => walk(flows.browser(), url, holder)));
      expect((await uids()).length).to.be.at.most(100);

      const pages = [await first.open('/account/sessions'), await first.open('/account/sessions?from=75')];
      const ends = pages.map(({ text: page }) => page.match(/\/account\/sessions\/[^"/]+\/end"/g)?.length);
      expect(ends, 'twenty-five a page, no button for this one').to.deep.equal([24, 25]);
      expect(pages.map(({ text: page }) => page.includes('href="?from='))).to.deep.equal([true, false]);
      for (const from of ['x', '-1', '99999', '0x10'])
        expect((await first.open(`/account/sessions?from=${from}`)).response?.status, from).to.equal(200);
      await first.submit('/account/sessions/end-others', {});
      expect(await uids()).to.have.length(1);
      expect((await first.open('/account')).response?.status).to.equal(200);
    }).timeout(30_000);
  });
});

/** Apps that are told of logouts. */
async function startListener() {
  const sids: string[] = [];
  const server = createServer(async (request, response) => {
    const token = new URLSearchParams(await text(request)).get('logout_token');
    sids.push(String(decodeJwt(String(token)).sid));
    response.end();
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    timesOf: (wanted: string[]) => wanted.map((sid) => sids.filter((each) => each === sid).length),
    async heard(wanted: string[]): Promise<void> {
      for (let look = 0; wanted.some((sid) => !sids.includes(sid)); look++) {
        if (look > 400) throw new Error(`not told: ${wanted.filter((sid) => !sids.includes(sid))}`);
        await sleep(50);
      }
    },
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}
