import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { mock } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { createRemoteJWKSet, decodeJwt, type JWTPayload, jwtVerify } from 'jose';
import type { AppError } from '../../src/errors.ts';
import { unavailable } from '../../src/storage/storage.ts';
import { onEachEngine, PASSWORD, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { createFlows, type Flows, formOf } from '../support/flow.ts';
import { shellJson } from '../support/shell.ts';

const LOOPBACK = { OUTBOUND_ALLOW: '127.0.0.0/8' };
const EVENT = 'http://schemas.openid.net/event/backchannel-logout';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let apps: Apps;

  before(async () => {
    [store, apps] = await Promise.all([openStore(), startApps()]);
    app = await startApp(store, LOOPBACK);
    flows = createFlows(app.issuer);
  });
  afterEach(() => mock.timers.reset());
  after(async () => {
    await apps.close();
    await app.close();
    await store.remove();
  });

  /** An app that is told of logouts at a path of its own. */
  async function told(path: string, { host = '127.0.0.1', by = app } = {}): Promise<TestClient> {
    return by.client({ trusted: true, backchannelLogoutUri: `http://${host}:${apps.port}${path}` });
  }

  async function signIn(client: TestClient, person: { email: string; password: string }, browser = flows.browser()) {
    const tokens = await flows.tokens({ client, person, browser });
    return { browser, claims: decodeJwt(String(tokens.id_token)), hint: String(tokens.id_token) };
  }

  async function signOut(browser: Browser, { answer = { logout: 'yes' }, ...params }: SignOut = {}): Promise<number> {
    const page = await browser.open(`${app.issuer}/identity/logout?${new URLSearchParams(params)}`);
    const { action, fields } = formOf(page.text);
    const startedAt = performance.now();
    const landing = await browser.submit(action, { xsrf: String(fields.xsrf), ...answer });
    expect(landing.response?.status).to.equal(200);
    return performance.now() - startedAt;
  }

  function verified(token: string, client: TestClient) {
    const keys = createRemoteJWKSet(new URL(`${app.issuer}/identity/jwks`));
    return jwtVerify(token, keys, { issuer: app.issuer, audience: client.id, typ: 'logout+jwt' });
  }

  /** How many notices of this person the store still holds, whenever they are due. */
  async function waiting({ id }: { id: string }): Promise<number> {
    const { entries } = await app.directory.storage.list('logout-notices', { limit: 1000 });
    return entries.filter(({ value }) => JSON.stringify(value).includes(id)).length;
  }

  /** Stores a notice whose next attempt is the last. Answers its key. */
  async function triedThreeTimes({ id: accountId }: { id: string }, client: TestClient): Promise<string> {
    const sid = `tried-${client.id}`;
    const data = { accountId, clientId: client.id, sid, attempts: 3, dueAt: Math.floor(Date.now() / 1000) + 5 };
    await app.directory.storage.put(`logout-notice:${sid}`, { version: 1, data }, { groups: ['logout-notices'] });
    return `logout-notice:${sid}`;
  }

  it('is announced', async () => {
    const response = await fetch(`${app.issuer}/.well-known/openid-configuration`);
    expect(await response.json()).to.include({
      backchannel_logout_supported: true,
      backchannel_logout_session_supported: true,
    });
  });

  it('tells every app of the session, and of this session alone, with a token that proves it', async () => {
    const person = await app.person();
    const [one, two, silent] = await Promise.all([told('/one'), told('/two'), app.client({ trusted: true })]);
    const elsewhere = await signIn(one, person);
    const { browser, claims } = await signIn(one, person);
    const second = await signIn(two, person, browser);
    await signIn(silent, person, browser);
    expect(claims.sid).to.be.a('string');
    expect(new Set([claims.sid, second.claims.sid, elsewhere.claims.sid]).size).to.equal(3);

    const startedAt = Math.floor(Date.now() / 1000);
    await signOut(browser);
    const [request] = await apps.requests('/one', 1);
    expect(request).to.include({ method: 'POST', type: 'application/x-www-form-urlencoded;charset=UTF-8' });
    expect([...(request?.form.keys() ?? [])]).to.deep.equal(['logout_token']);

    const { payload, protectedHeader } = await verified(String(request?.form.get('logout_token')), one);
    expect(protectedHeader).to.include({ typ: 'logout+jwt', alg: 'RS256' });
    expect(payload).to.include({ iss: app.issuer, sub: person.id, sid: claims.sid });
    expect(payload.aud).to.deep.equal([one.id]);
    expect(payload.events).to.deep.equal({ [EVENT]: {} });
    expect(payload.jti).to.be.a('string').with.length.above(20);
    expect(payload.iat).to.be.within(startedAt - 1, startedAt + 5);
    expect(payload.exp).to.be.within(Number(payload.iat) + 1, Number(payload.iat) + 120);
    expect(payload).not.to.have.any.keys('nonce', 'email', 'name');

    const [other] = await apps.tokens('/two', 1);
    expect(other).to.include({ sub: person.id, sid: second.claims.sid });
    expect(other?.jti).not.to.equal(payload.jti);
    await sleep(200);
    expect(apps.count('/one')).to.equal(1);
    expect(apps.count('/two')).to.equal(1);
  });

  it('tells only the app that asked when the person stays signed in', async () => {
    const person = await app.person();
    const [left, kept] = await Promise.all([told('/left'), told('/kept')]);
    const { browser, claims } = await signIn(left, person);
    await signIn(kept, person, browser);
    await signOut(browser, { client_id: left.id, answer: {} });
    expect((await apps.tokens('/left', 1))[0]?.sid).to.equal(claims.sid);
    await sleep(200);
    expect(apps.count('/kept')).to.equal(0);
  });

  it('puts no sid into the ID tokens of apps that are not told', async () => {
    const { claims } = await signIn(await app.client({ trusted: true }), await app.person());
    expect(claims).not.to.have.property('sid');
  });

  it('lets nobody wait for 50 apps that hang or fail, and tells the others at once', async function () {
    this.timeout(30_000);
    const person = await app.person();
    const browser = flows.browser();
    for (let index = 1; index <= 50; index++) {
      const path = index % 2 ? '/hang/many' : '/fail/many';
      await signIn(await told(path, { host: `127.0.1.${index}` }), person, browser);
    }
    await signIn(await told('/healthy'), person, browser);

    expect(await signOut(browser)).to.be.below(3_000);
    const startedAt = performance.now();
    await apps.requests('/healthy', 1);
    expect(performance.now() - startedAt).to.be.below(2_000);
    await apps.requests('/fail/many', 25);
    await apps.requests('/hang/many', 25);
    expect(apps.mostAtOnce()).to.be.at.most(64);
  });

  it('does not stack up calls to an app that hangs, of sign-outs and of rounds together', async () => {
    const person = await app.person();
    const client = await told('/hang/often', { host: '127.0.2.1' });
    for (let logouts = 0; logouts < 8; logouts++) {
      const { browser } = await signIn(client, person);
      await signOut(browser);
      await app.directory.logoutNotices.add({ accountId: person.id, clientId: client.id, sid: `round-${logouts}` });
    }
    await sleep(1_500);
    expect(apps.mostAtOnce('/hang/often')).to.be.within(1, 4);
  });

  it('tries again with an app that failed, hung or redirected, until it has been told or is given up', async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const person = await app.person();
    const browser = flows.browser();
    const paths = ['/fail/once', '/hang/once', '/moved/once'];
    for (const [index, path] of paths.entries())
      await signIn(await told(path, { host: `127.0.3.${index + 1}` }), person, browser);
    await signOut(browser);
    for (const path of paths) await apps.requests(path, 1);
    expect(await waiting(person)).to.equal(3);
    const hopeless = await triedThreeTimes(person, await told('/fail/last'));
    mock.timers.tick(11_000);
    for (const path of paths) {
      const [first, second] = await apps.tokens(path, 2);
      expect(second?.sid).to.equal(first?.sid);
      expect(second?.jti).not.to.equal(first?.jti);
    }
    await until(async () => (await waiting(person)) === 0);
    expect(apps.count('/fail/last')).to.equal(1);
    expect(await app.directory.storage.get(hopeless)).to.equal(undefined);
    expect(apps.count('/stolen')).to.equal(0);
  });

  it('tells the apps when a password changes, and when the shell disables the account', async () => {
    const [changed, disabled] = await Promise.all([app.person(), app.person()]);
    const [client, silent] = await Promise.all([told('/ended'), app.client({ trusted: true })]);
    const [one, two] = await Promise.all([signIn(client, changed), signIn(client, disabled)]);
    await signIn(silent, changed, one.browser);
    await Promise.all([
      app.directory.accounts.setPassword(changed.id, `${PASSWORD} too`),
      shellJson(store, 'account', 'disable', disabled.email),
    ]);
    const tokens = await apps.tokens('/ended', 2);
    const expected = [one, two].map(({ claims }) => ({ sub: claims.sub, sid: claims.sid }));
    expect(tokens.map(({ sub, sid }) => ({ sub, sid }))).to.have.deep.members(expected);
    await until(async () => (await waiting(changed)) === 0);
  });

  it('signs nobody out as long as it cannot be written down whom to tell', async () => {
    const person = await app.person();
    const { browser } = await signIn(await told('/unwritten'), person);
    const { logoutNotices } = app.directory;
    const { add } = logoutNotices;
    logoutNotices.add = async () => {
      throw unavailable('a test');
    };
    const page = await browser.open(`${app.issuer}/identity/logout`);
    const { action, fields } = formOf(page.text);
    const refused = await browser.submit(action, { xsrf: String(fields.xsrf), logout: 'yes' });
    logoutNotices.add = add;
    expect(refused.response?.status).to.equal(503);
    expect(refused.response?.headers.get('retry-after')).to.equal('2');
    await signOut(browser);
    expect((await apps.tokens('/unwritten', 1))[0]?.sub).to.equal(person.id);
  });

  it('is one process’s business at a time', async () => {
    const other = await startApp(store, LOOPBACK);
    const { id: clientId } = await app.client();
    const signedOut = { accountId: 'someone', clientId, sid: `raced-${app.issuer}` };
    await Promise.all([app.directory.logoutNotices.add(signedOut), other.directory.logoutNotices.add(signedOut)]);
    const claims = Array.from({ length: 20 }, (_, index) =>
      (index % 2 ? app : other).directory.logoutNotices.claim(signedOut.sid),
    );
    expect((await Promise.all(claims)).filter(Boolean)).to.have.lengthOf(1);
    await other.close();
  });

  it('never calls an address that is not allowed, and signs out all the same', async () => {
    const guarded = await startApp(store);
    const { issuer } = guarded;
    const guardedFlows = createFlows(issuer);
    const client = await told('/guarded', { by: guarded });
    const person = await guarded.person();
    const browser = guardedFlows.browser();
    await guardedFlows.tokens({ client, person, browser });
    const page = await browser.open(`${issuer}/identity/logout`);
    const { action, fields } = formOf(page.text);
    const landing = await browser.submit(action, { xsrf: String(fields.xsrf), logout: 'yes' });
    expect(landing.response?.status).to.equal(200);
    await guarded.close();
    expect(apps.count('/guarded')).to.equal(0);
  });

  it('is registered with a URL of the web only', async () => {
    for (const uri of [
      'javascript:alert(1)',
      'ftp://app.example.com/logout',
      '/logout',
      'https://app.example.com/logout#fragment',
      'https://name:password@app.example.com/logout',
      `https://app.example.com/${'x'.repeat(2000)}`,
      'https://app.example.com/ logout',
      '',
    ]) {
      const error = await app.client({ backchannelLogoutUri: uri }).catch((reason: AppError) => reason);
      expect(error, uri).to.include({ code: 'invalid_request', field: 'backchannel_logout_uri' });
    }
  });
});

type SignOut = { client_id?: string; answer?: Record<string, string>; id_token_hint?: string };

interface Received {
  method: string;
  type: string | undefined;
  form: URLSearchParams;
}
type Apps = Awaited<ReturnType<typeof startApps>>;

/** The apps' side: answers by path, on every loopback address, and remembers who was told what. */
async function startApps() {
  const received = new Map<string, Received[]>();
  /** How many wait for their answer, and the most that ever did; of each path, and of all. */
  const atOnce = new Map<string, { now: number; most: number }>();

  function countAtOnce(paths: string[], change: number): void {
    for (const path of paths) {
      const { now, most } = atOnce.get(path) ?? { now: 0, most: 0 };
      atOnce.set(path, { now: now + change, most: Math.max(most, now + change) });
    }
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = String(request.url);
    countAtOnce([path, 'all'], 1);
    response.once('close', () => countAtOnce([path, 'all'], -1));
    const form = new URLSearchParams(await text(request));
    const earlier = received.get(path) ?? [];
    received.set(path, [...earlier, { method: String(request.method), type: request.headers['content-type'], form }]);
    if (path.endsWith('/once') && earlier.length > 0) return void response.end();
    if (path.startsWith('/hang')) return;
    if (path.startsWith('/moved')) return void response.writeHead(307, { location: '/stolen' }).end();
    response.writeHead(path.startsWith('/fail') ? 500 : 200).end();
  }

  const server = createServer((request, response) => void answer(request, response)).listen(0, '0.0.0.0');
  await once(server, 'listening');

  const count = (path: string) => received.get(path)?.length ?? 0;
  async function requests(path: string, atLeast: number): Promise<Received[]> {
    await until(async () => count(path) >= atLeast);
    return received.get(path) ?? [];
  }

  return {
    port: (server.address() as AddressInfo).port,
    count,
    requests,
    async tokens(path: string, atLeast: number): Promise<JWTPayload[]> {
      return (await requests(path, atLeast)).map(({ form }) => decodeJwt(String(form.get('logout_token'))));
    },
    mostAtOnce: (path = 'all') => atOnce.get(path)?.most ?? 0,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 9_000;
  while (!(await condition())) {
    if (performance.now() > deadline) expect.fail('nothing came');
    await sleep(20);
  }
}
