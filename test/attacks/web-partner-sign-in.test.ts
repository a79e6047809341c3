import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mock } from 'node:test';
import { expect } from 'chai';
import { createSecretToken } from '../../src/secrets/secret-token.ts';
import { embeddedStore, onEachEngine, type TestStore } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { formOf, fragmentOf } from '../support/flow.ts';
import { arrive, type Fields, formFields, loginPath, type Partner, partnerApp } from '../support/partner.ts';
import { storeSteps } from '../support/store-steps.ts';
import { type Answer, type Attack, startTarget, type Target } from './web-target.ts';

const REDIRECT_URI = 'https://portal.example.com/callback';
const FORM = 'application/x-www-form-urlencoded';
const JSON_PLEASE = { accept: 'application/json' };

interface Scene {
  target: Target;
  partner: Partner;
  /** What the partner's server sends, from an address that nothing is counted for yet. */
  post(path: string, fields: Fields, attack?: Attack): Promise<Answer>;
  /** A sign-in of the partner's for somebody. */
  tokenFor(person: Fields, who?: Partner): Promise<string>;
  /** The path of an authorization request of the app's with the token. */
  requestPath(token: string, more?: Fields): string;
  /** The token still signs its person in. */
  expectGood(token: string, name?: string): Promise<void>;
  /** At neither door does the token sign anybody in, to this browser or a new one. */
  expectDead(token: string, name?: string): Promise<void>;
}

async function setScene(target: Target): Promise<Scene> {
  const { directory } = target;
  for (const name of ['users', 'payroll']) await directory.permissions.create({ name, description: `May use ${name}` });
  const options = { redirectUris: [REDIRECT_URI], implicit: true, permissions: ['users'] };
  const partner = await partnerApp(directory, options);
  let sources = 0;

  const scene: Scene = {
    target,
    partner,

    post(path, fields, { headers, ...attack } = {}) {
      sources += 1;
      const from = { 'x-forwarded-for': `198.18.${sources >> 8}.${sources & 255}` };
      return target.send(`/sso/${path}`, { body: fields, headers: { ...JSON_PLEASE, ...from, ...headers }, ...attack });
    },

    async tokenFor(person, who = partner) {
      const { status, text } = await scene.post('token', formFields(who, person));
      expect(status, text).to.equal(200);
      return JSON.parse(text).access_token;
    },

    requestPath(token, more = {}) {
      const request = { client_id: partner.id, redirect_uri: REDIRECT_URI, response_type: 'id_token', scope: 'openid' };
      return `/identity/authorize?${new URLSearchParams({ ...request, nonce: 'x', sso_token: token, ...more })}`;
    },

    async expectGood(token, name = 'the token') {
      const landing = await arrive(target.browser(), loginPath(token));
      expect([landing.url.pathname, landing.response?.status], name).to.deep.equal(['/account', 200]);
    },

    async expectDead(token, name = 'the token') {
      const page = await target.send(loginPath(token));
      const posted = await target.send('/sso/login', { body: { token } });
      const atOnce = await target.send(scene.requestPath(token));
      for (const { status, cookies } of [page, posted]) {
        expect(status, name).to.be.oneOf([400, 403]);
        expect(cookies, name).to.deep.equal([]);
      }
      expect(fragmentOf(new URL(String(atOnce.headers.location))).get('error'), name).to.equal('access_denied');
      expect(atOnce.cookies, name).to.deep.equal([]);
    },
  };
  return scene;
}

/** Without the one that names a browser and nobody in it. */
const ofSignIn = (cookies: readonly string[]) => cookies.filter((cookie) => !cookie.includes('latchkey-beginning'));

const newEmail = () => `user-${randomBytes(5).toString('hex')}@partner.example`;

onEachEngine((openStore) => {
  describe('an attacker of sign-ins by partners', () => {
    let store: TestStore;
    let scene: Scene;
    let target: Target;

    before(async () => {
      store = await openStore();
      target = await startTarget(store, { TRUSTED_PROXIES: '127.0.0.1/32' });
      scene = await setScene(target);
    });
    afterEach(() => {
      mock.timers.reset();
      return target.unharmed();
    });
    after(async () => {
      await target.close();
      await store.remove();
    });

    const sessionsOf = async (email: string) =>
      target.directory.sessions.list(String((await target.directory.accounts.findByEmail(email))?.id));

    it('uses nothing up by looking', async () => {
      const email = newEmail();
      const token = await scene.tokenFor({ email });
      const ahead = [
        { 'sec-purpose': 'prefetch' },
        { 'sec-purpose': 'prefetch;prerender' },
        { purpose: 'prefetch' },
        { 'x-purpose': 'preview' },
        { 'x-moz': 'prefetch' },
      ];
      const path = loginPath(token);
      const atOnce = scene.requestPath(token);
      const looks: [string, Attack?][] = [
        [path],
        [path, { method: 'HEAD' }],
        [path, { method: 'OPTIONS' }],
        [path, { headers: { 'user-agent': 'Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)' } }],
        [path, { headers: { 'sec-fetch-dest': 'image', 'sec-fetch-site': 'cross-site' } }],
        ...ahead.map((headers): [string, Attack] => [path, { headers }]),
        [atOnce, { method: 'HEAD' }],
        [atOnce, { method: 'OPTIONS' }],
        ...ahead.map((headers): [string, Attack] => [atOnce, { headers }]),
      ];
      for (const [looked, attack] of looks) {
        const { status, headers, cookies } = await target.send(looked, attack);
        const name = `${looked.slice(0, 12)} ${JSON.stringify(attack)}`;
        expect(status, name).to.be.oneOf([200, 204, 404, 405]);
        expect(headers, name).not.to.have.property('location');
        if (attack?.method !== 'OPTIONS') expect(headers['cache-control'], name).to.equal('no-store');
        expect(headers['referrer-policy'], name).to.equal('strict-origin');
        expect(ofSignIn(cookies), name).to.deep.equal([]);
      }
      expect(await sessionsOf(email)).to.deep.equal([]);
      await scene.expectGood(token);
    });

    it('finds the token nowhere when it has been used, by whichever door', async () => {
      const secrets: string[] = [];
      const answers: Answer[] = [];
      const browser = target.browser();
      for (const more of [{}, { switch: 'yes' }]) {
        const token = await scene.tokenFor({ email: newEmail() });
        const next = 'https://portal.example.com/welcome';
        const page = await target.send(loginPath(token, next), { as: browser });
        const { action, fields } = formOf(page.text);
        const response = await browser.request(action, {
          method: 'POST',
          body: new URLSearchParams({ ...fields, ...more }),
        });
        expect(response.status).to.equal(303);
        expect(response.headers.get('location')).to.equal(next);
        expect(response.headers.get('cache-control')).to.equal('no-store');
        expect(response.headers.get('referrer-policy')).to.equal('strict-origin');
        expect(await response.text()).not.to.contain(token);
        secrets.push(token);
      }
      for (const more of [
        {},
        { prompt: 'none' },
        { response_mode: 'form_post' },
        { scope: 'openid phone' },
      ] as Fields[]) {
        const token = await scene.tokenFor({ email: newEmail() });
        answers.push(await target.send(scene.requestPath(token, more)));
        secrets.push(token);
      }
      const unused = await scene.tokenFor({ email: newEmail() });
      secrets.push(unused);
      for (const path of [loginPath(`${unused}x`), loginPath(unused, 'https://evil.example/')])
        answers.push(await target.send(path));
      for (const token of secrets.slice(0, -1)) await scene.expectDead(token);

      const { events } = await target.directory.audit.list({ clientId: scene.partner.id });
      expect(events.length).to.be.greaterThan(5);
      const files = await readdir(store.directory, { recursive: true, withFileTypes: true });
      const texts = await Promise.all(
        files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'latin1')),
      );
      const places = [target.log(), JSON.stringify(events), ...texts];
      expect(places.join('')).to.contain(scene.partner.id);
      for (const { headers, text } of answers) places.push(JSON.stringify(headers), text);
      for (const token of secrets) {
        for (const spelling of [token, Buffer.from(token).toString('base64'), token.slice(7, -6)]) {
          expect(places.some((place) => place.includes(spelling))).to.equal(false);
        }
      }
    });

    it('cannot use a token twice, nor after exactly a minute', async () => {
      const email = newEmail();
      const used = await scene.tokenFor({ email });
      await scene.expectGood(used);
      await scene.expectDead(used, 'used by the page');
      const usedAtOnce = await scene.tokenFor({ email });
      const { headers } = await target.send(scene.requestPath(usedAtOnce));
      expect(headers.location).to.contain('id_token=');
      await scene.expectDead(usedAtOnce, 'used by a request');
      expect(await sessionsOf(email)).to.have.length(2);

      mock.timers.enable({ apis: ['Date'], now: Math.floor(Date.now() / 1000) * 1000 });
      const [young, old] = [await scene.tokenFor({ email }), await scene.tokenFor({ email })];
      mock.timers.tick(59_999);
      await scene.expectGood(young, 'at 59 seconds');
      mock.timers.tick(1);
      await scene.expectDead(old, 'at 60 seconds');
    });

    it("cannot use an app's token for another app, nor up", async () => {
      const email = newEmail();
      const { id: organizationId } = await target.directory.organizations.create({ name: 'Rival' });
      const rivals = [
        await partnerApp(target.directory, {
          redirectUris: [REDIRECT_URI],
          implicit: true,
          organizationId: scene.partner.organizationId,
        }),
        await partnerApp(target.directory, { redirectUris: [REDIRECT_URI], implicit: true, organizationId }),
        await target.client({ redirectUris: [REDIRECT_URI], implicit: true, trusted: true }),
      ];
      const token = await scene.tokenFor({ email });
      for (const { id } of rivals) {
        const path = scene.requestPath(token, { client_id: id });
        const { headers, cookies } = await target.send(path);
        expect(fragmentOf(new URL(String(headers.location))).get('error')).to.equal('access_denied');
        expect(cookies).to.deep.equal([]);
        const form = Object.fromEntries(new URLSearchParams(path.split('?')[1]));
        const { status, text } = await target.send('/identity/authorize', { body: form });
        expect(status).to.equal(400);
        expect(text).not.to.contain('lk_sso_');
      }
      const { status } = await target.send('/identity/authorize', { body: { sso_token: token, client_id: 'nobody' } });
      expect(status).to.equal(400);
      expect(await sessionsOf(email)).to.deep.equal([]);
      await scene.expectGood(token);
    });

    it('signs nobody in whom no app may: not by e-mail, and nothing of them changes', async () => {
      const { accounts } = target.directory;
      const { organizationId } = scene.partner;
      const { id: elsewhere } = await target.directory.organizations.create({ name: 'Elsewhere' });
      const people = {
        'an administrator': await target.person({ organizationId, administrator: true }),
        'somebody pending': await target.person({ organizationId, status: 'pending' }),
        'somebody disabled': await target.person({ organizationId }),
        'somebody of another organization': await target.person({ organizationId: elsewhere }),
        'somebody of no organization': await target.person(),
        'an administrator of no organization': await target.person({ administrator: true }),
      };
      const reasons: Record<string, string> = {
        'an administrator': 'administrators sign in themselves',
        'somebody pending': 'the account waits for the approval of an administrator',
        'somebody disabled': 'the account is disabled',
      };
      const elsewhereReason = 'this e-mail belongs to a person outside the organization';
      await accounts.disable(people['somebody disabled'].id);
      for (const [name, { id, email }] of Object.entries(people)) {
        const before = await accounts.get(id);
        for (const path of ['token', 'access-token']) {
          for (const spelling of [email, email.toUpperCase()]) {
            const person = { email: spelling, first_name: 'Mallory', permissions: 'users' };
            const { status, text } = await scene.post(path, formFields(scene.partner, person));
            const { error, error_description: reason } = JSON.parse(text);
            expect([status, error, reason], name).to.deep.equal([
              403,
              'access_denied',
              reasons[name] ?? elsewhereReason,
            ]);
            expect(text, name).not.to.match(/lk_sso_|access_token/);
          }
        }
        expect(await accounts.get(id), name).to.deep.equal(before);
        expect(await target.directory.sessions.list(id), name).to.deep.equal([]);
        expect(await target.directory.ssoConnections.list(id), name).to.deep.equal([]);
        // Nor can it end anything of theirs.
        const { status } = await scene.post('logout', formFields(scene.partner, { email }));
        expect(status, name).to.equal(204);
      }
    });

    it('signs nobody in whom the app may not any more when they arrive', async () => {
      const { accounts, ssoConnections } = target.directory;
      const { id: elsewhere } = await target.directory.organizations.create({ name: 'Elsewhere' });
      const changes: Record<string, (id: string) => Promise<unknown>> = {
        'an administrator by then': (id) => accounts.update(id, { administrator: true }),
        disabled: (id) => accounts.disable(id),
        'moved to another organization': (id) => accounts.update(id, { organizationId: elsewhere }),
        'taken out of the organization': (id) => accounts.update(id, { organizationId: undefined }),
        'who took the right away': (id) => ssoConnections.refuse(id, scene.partner.id),
        deleted: (id) => accounts.remove(id),
      };
      for (const [name, change] of Object.entries(changes)) {
        const email = newEmail();
        await scene.expectGood(await scene.tokenFor({ email }));
        const token = await scene.tokenFor({ email });
        const { id = '' } = (await accounts.findByEmail(email)) ?? {};
        const sessions = await target.directory.sessions.list(id);
        await change(id);
        const changed = await accounts.get(id);
        await scene.expectDead(token, name);
        expect(await accounts.get(id), name).to.deep.equal(changed);
        expect((await target.directory.sessions.list(id)).length, name).to.be.at.most(sessions.length);
        if (!changed) continue; // whose e-mail is free again
        const { status } = await scene.post('token', formFields(scene.partner, { email }));
        expect(status, name).to.equal(403);
      }
    });

    const CROSS_SITE: Record<string, Record<string, string>> = {
      'another site': { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
      'another site, no Origin': { 'sec-fetch-site': 'cross-site' },
      'a sibling host': { 'sec-fetch-site': 'same-site', origin: 'http://localhost:1' },
      'a page of the partner': { 'sec-fetch-site': 'cross-site', origin: 'https://portal.example.com' },
      'an older browser on another site': { origin: 'https://evil.example' },
      'an older browser in a sandboxed frame': { origin: 'null' },
    };

    /** Somebody who is signed in, and a token of somebody else. */
    async function victim() {
      const email = newEmail();
      const browser: Browser = target.browser();
      await arrive(browser, loginPath(await scene.tokenFor({ email })));
      const [session] = await sessionsOf(email);
      const isUntouched = async () =>
        (await target.send('/account', { as: browser })).text.includes(email) &&
        (await sessionsOf(email))[0]?.uid === session?.uid;
      expect(await isUntouched()).to.equal(true);
      return { browser, isUntouched, token: await scene.tokenFor({ email: newEmail() }) };
    }

    it('cannot make another browser switch from another site', async () => {
      const { browser, isUntouched, token } = await victim();
      for (const [name, headers] of Object.entries(CROSS_SITE)) {
        for (const body of [{ token }, { token, switch: 'yes' }] as Fields[]) {
          const { status, cookies } = await target.send('/sso/login', { as: browser, headers, body });
          expect(status, name).to.equal(403);
          expect(cookies, name).to.deep.equal([]);
        }
      }
      for (const path of [`${loginPath(token)}&switch=yes`, scene.requestPath(token, { switch: 'yes' })]) {
        const { status, text, cookies } = await target.send(path, { as: browser });
        expect([status, cookies]).to.deep.equal([200, []]);
        expect(text).to.contain('Switch account?').and.not.contain('data-autosubmit');
      }
      expect(await isUntouched()).to.equal(true);
      await scene.expectGood(token);
    });

    it('signs nobody out with tokens that are no good', async () => {
      const { browser, isUntouched, token } = await victim();
      await scene.expectGood(token);
      for (const bad of [token, createSecretToken('lk_sso_'), 'x']) {
        for (const path of [loginPath(bad), scene.requestPath(bad), scene.requestPath(bad, { prompt: 'none' })])
          await browser.open(path);
        await browser.submit('/sso/login', { token: bad, switch: 'yes' });
        expect(await isUntouched(), bad).to.equal(true);
      }
    });
  });
});

describe('an attacker of what partners send', () => {
  let store: TestStore;
  let scene: Scene;
  let target: Target;

  before(async () => {
    store = await embeddedStore();
    target = await startTarget(store, { TRUSTED_PROXIES: '127.0.0.1/32' });
    scene = await setScene(target);
  });
  afterEach(() => target.unharmed());
  after(async () => {
    await target.close();
    await store.remove();
  });

  const allEmails = async () =>
    (await target.directory.accounts.list({ limit: 1_000 })).accounts.map(({ email }) => email);

  /** None of these is taken, and no account comes of it. */
  async function refuseAll(attacks: Record<string, Attack & { path?: string }>, ...statuses: number[]): Promise<void> {
    const before = await allEmails();
    for (const [name, { path = 'token', ...attack }] of Object.entries(attacks)) {
      const { status, headers, text } = await scene.post(path, {}, { method: 'POST', ...attack });
      expect(status, `${name}: ${text}`).to.be.oneOf(statuses);
      expect(JSON.parse(text), name).to.include.keys('error', 'error_description');
      expect(headers['cache-control'], name).to.equal('no-store');
    }
    expect(await allEmails()).to.deep.equal(before);
  }

  it('cannot tell what of its proof was wrong', async () => {
    const { directory } = target;
    const { partner } = scene;
    const { id: foreign } = await directory.organizations.create({ name: 'Foreign' });
    const plain = await target.client({ organizationId: partner.organizationId });
    const disabled = await partnerApp(directory, { organizationId: partner.organizationId });
    await directory.clients.disable(disabled.id);
    const open = await target.client({ public: true });
    const keyless: Fields = { email: newEmail(), organization_id: partner.organizationId };
    const good = formFields(partner, { email: newEmail() });
    const proofs: Record<string, Fields> = {
      'a wrong secret': { ...good, client_secret: 'wrong' },
      'no secret': { ...keyless, client_id: partner.id },
      'an empty secret': { ...good, client_secret: '' },
      "another app's secret": { ...good, client_secret: plain.secret },
      'the digest of the secret': { ...good, client_secret: String(partner.record.secrets[0]?.digest) },
      'an unknown app': { ...good, client_id: crypto.randomUUID() },
      'no app': { ...keyless, client_secret: partner.secret },
      'our own pages': { ...good, client_id: 'latchkey-console', client_secret: '' },
      'an unknown organization': { ...good, organization_id: crypto.randomUUID() },
      'no organization': { ...good, organization_id: '' },
      "somebody else's organization": { ...good, organization_id: foreign },
      'an app without the right': { ...good, client_id: plain.id, client_secret: plain.secret },
      'a disabled app': { ...good, client_id: disabled.id, client_secret: disabled.secret },
      'an app without a secret': { ...keyless, client_id: open.id, client_secret: '' },
      'a prototype': { ...good, client_id: '__proto__', organization_id: 'constructor' },
      'a name of another record': { ...good, client_id: `${partner.id}:x`, organization_id: `../${foreign}` },
      'a NUL': { ...good, client_id: `${partner.id}\0`, organization_id: '\0' },
      'a lone surrogate': { ...good, client_id: '\ud800', organization_id: '\udfff' },
      'too long a name': { ...good, client_id: 'x'.repeat(20_000), organization_id: 'x'.repeat(20_000) },
    };
    const before = await allEmails();
    const answers: Record<string, object> = {};
    for (const path of ['token', 'access-token', 'logout']) {
      for (const [name, fields] of Object.entries(proofs)) {
        const { status, headers, text } = await scene.post(path, fields);
        const { date: _, ...shown } = headers;
        answers[`${name} at ${path}`] = { status, headers: shown, text: text.replace(/"reference":"\w+"/, '') };
        expect(status, `${name} at ${path}: ${text}`).to.equal(401);
      }
    }
    const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
    const headers = {
      'another scheme': `Bearer ${partner.secret}`,
      'a wrong secret': basic(`${partner.id}:wrong`),
      'no colon': basic(partner.id + partner.secret),
      'no base64': 'Basic ***',
      nothing: 'Basic',
      'a broken encoding': basic(`${partner.id}:%zz`),
      two: `${basic(`${partner.id}:wrong`)}, ${basic(`${partner.id}:${partner.secret}`)}`,
    };
    for (const [name, authorization] of Object.entries(headers)) {
      const { status, headers, text } = await scene.post('token', keyless, { headers: { authorization } });
      const { date: _, ...shown } = headers;
      answers[`${name} in the header`] = { status, headers: shown, text: text.replace(/"reference":"\w+"/, '') };
    }
    const [first] = Object.values(answers);
    expect(first).to.have.nested.property('text').that.contains('"error":"invalid_client"');
    for (const [name, answer] of Object.entries(answers)) expect(answer, name).to.deep.equal(first);
    expect(await allEmails()).to.deep.equal(before);
  });

  it('cannot tell it from how long the answer takes: the same steps are taken', async () => {
    const { partner, target } = scene;
    const good = formFields(partner, { email: newEmail() });
    const proofs = [
      { ...good, client_secret: 'wrong' },
      { ...good, client_id: crypto.randomUUID() },
      { ...good, organization_id: crypto.randomUUID() },
      { ...good, client_id: crypto.randomUUID(), organization_id: crypto.randomUUID() },
    ];
    const steps: string[][] = [];
    for (const proof of proofs)
      steps.push(await storeSteps(target.directory.storage, () => scene.post('token', proof)));
    for (const [index, taken] of steps.entries()) expect(taken, `proof ${index}`).to.deep.equal(steps[0]);
    expect(steps[0]).to.include('get client');
  });

  it('has no more tries here than at the token endpoint, and not twice as many at both', async () => {
    const from = { 'x-forwarded-for': '203.0.113.77' };
    const wrong = formFields(scene.partner, { email: newEmail(), client_secret: 'wrong' });
    const statuses: number[] = [];
    for (let wave = 0; wave < 6; wave++) {
      const tries = Array.from({ length: 20 }, (_, n) => {
        if (n % 2) return scene.post('token', wrong, { headers: from });
        const body = { grant_type: 'client_credentials', client_id: scene.partner.id, client_secret: 'wrong' };
        return target.send('/identity/token', { headers: { ...JSON_PLEASE, ...from }, body });
      });
      for (const { status, headers } of await Promise.all(tries)) {
        statuses.push(status);
        if (status === 429) expect(Number(headers['retry-after'])).to.be.within(1, 60);
      }
    }
    expect(statuses.filter((status) => status === 401)).to.have.length(100);
    expect(statuses.filter((status) => status === 429)).to.have.length(20);
    const right = formFields(scene.partner, { email: newEmail() });
    expect((await scene.post('token', right, { headers: from })).status, 'a right guess among them').to.equal(429);
    const elsewhere = { 'x-forwarded-for': '203.0.113.78' };
    expect((await scene.post('token', right, { headers: elsewhere })).status, 'from elsewhere').to.equal(200);
  });

  it('cannot make a token up, nor use one for what it is not', async () => {
    const email = newEmail();
    const token = await scene.tokenFor({ email });
    const { text } = await scene.post('access-token', formFields(scene.partner, { email }));
    const { access_token: access } = JSON.parse(text);
    const account = await target.directory.accounts.getOrFail(email);
    const personal = await target.directory.personalTokens.create(account, { description: 'x', expiresIn: 86_400 });
    const last = token.endsWith('0') ? '1' : '0';
    const forged = [
      '',
      'x',
      access,
      personal.token,
      scene.partner.secret,
      createSecretToken('lk_sso_'),
      createSecretToken('lk_pat_'),
      createSecretToken('lk_app_'),
      token.slice(0, -1) + last,
      token.replace('lk_sso_', 'lk_pat_'),
      token.replace('lk_sso_', 'LK_SSO_'),
      `${token} `,
      ` ${token}`,
      `${token}\0`,
      token.toLowerCase(),
      'x'.repeat(10_000),
    ];
    for (const wrong of forged) {
      const page = await target.send(loginPath(wrong));
      expect(page.status, wrong).to.equal(400);
      if (wrong.length > 20) expect(page.text, wrong).not.to.contain(wrong.trim());
      await scene.expectDead(wrong, wrong.slice(0, 60));
    }

    const paths: Record<string, Attack> = {
      '/api/me': {},
      '/api/tokens': {},
      '/api/tokens/self': {},
      '/verify': {},
      '/identity/userinfo': {},
      '/rest/token': { body: { providerToken: 'x' } },
    };
    for (const [path, attack] of Object.entries(paths)) {
      for (const scheme of ['Bearer', 'Token']) {
        const headers = { ...JSON_PLEASE, authorization: `${scheme} ${token}` };
        expect((await target.send(path, { ...attack, headers })).status, `${scheme} at ${path}`).to.be.oneOf([
          400, 401,
        ]);
      }
    }
    const proof = { client_id: scene.partner.id, client_secret: scene.partner.secret };
    const introspected = await target.send('/identity/introspect', { headers: JSON_PLEASE, body: { ...proof, token } });
    expect(JSON.parse(introspected.text)).to.deep.equal({ active: false });
    for (const body of [
      { ...proof, grant_type: 'authorization_code', code: token, redirect_uri: REDIRECT_URI },
      { ...proof, grant_type: 'refresh_token', refresh_token: token },
    ]) {
      expect((await target.send('/identity/token', { headers: JSON_PLEASE, body })).status).to.equal(400);
    }
    await scene.expectGood(token);
  });

  it('cannot send anybody elsewhere, and uses nothing up by trying', async () => {
    const token = await scene.tokenFor({ email: newEmail() });
    const elsewhere = [
      'https://evil.example/',
      '//evil.example',
      '///evil.example',
      '/\\evil.example',
      '\\\\evil.example',
      '/\t/evil.example',
      '/\n/evil.example',
      ' https://portal.example.com/',
      'https:evil.example',
      'https:/evil.example',
      'https://portal.example.com@evil.example/',
      'https://portal.example.com:x@evil.example/',
      'https://user@portal.example.com/',
      'https://portal.example.com.evil.example/',
      'https://portal.example.com\\.evil.example/',
      'https://evil.example#https://portal.example.com/',
      'https://evil.example?https://portal.example.com/',
      'https://portal.example.com:444/',
      'http://portal.example.com/',
      'https://sub.portal.example.com/',
      'https://example.com/',
      'https://pörtal.example.com/',
      'javascript:alert(1)',
      'JavaScript:alert(1)',
      'data:text/html,x',
      'blob:https://portal.example.com/x',
      'filesystem:https://portal.example.com/x',
      'view-source:https://portal.example.com/',
      'file:///etc/passwd',
      'about:blank',
      '/account\r\nSet-Cookie: a=b',
      '/account\0',
      `/${'x'.repeat(20_000)}`,
      'null',
      'https://',
    ];
    for (const next of elsewhere) {
      const page = await target.send(loginPath(token, next).slice(0, 14_000));
      const isOurs = page.status === 200 && new URL(formOf(page.text).fields.next ?? '').origin === target.issuer;
      expect(page.status === 400 || isOurs, `${next.slice(0, 80)} → ${page.status}`).to.equal(true);
      if (isOurs) continue;
      const posted = await target.send('/sso/login', { body: { token, next } });
      expect([posted.status, posted.cookies], next.slice(0, 80)).to.deep.equal([400, []]);
      expect(posted.headers, next.slice(0, 80)).not.to.have.property('location');
    }
    // Harmless ones stay with us, whatever they look like.
    const local = ['/%09/evil.example', '/%2f%2fevil.example', '/%5cevil.example', 'null', '/a/..//evil.example'];
    for (const next of local) {
      const browser = target.browser();
      const fresh = await scene.tokenFor({ email: newEmail() });
      const body = new URLSearchParams({ token: fresh, next });
      const response = await browser.request('/sso/login', { method: 'POST', body });
      const location = new URL(String(response.headers.get('location')), `${target.issuer}/sso/login`);
      expect(location.origin, next).to.equal(target.issuer);
    }
    await scene.expectGood(token);
  });

  it('cannot say a thing twice at the door', async () => {
    const [token, other] = [await scene.tokenFor({ email: newEmail() }), await scene.tokenFor({ email: newEmail() })];
    const queries = [
      `token=${token}&token=${other}`,
      `token=${token}&token=${token}`,
      `token[]=${token}`,
      `token=${token}&next=/account&next=https://evil.example/`,
      '',
      `Token=${token}`,
    ];
    for (const query of queries) {
      expect((await target.send(`/sso/login?${query}`)).status, query).to.equal(400);
      const posted = await target.send('/sso/login', { body: query, headers: { 'content-type': FORM } });
      expect([posted.status, posted.cookies], query).to.deep.equal([400, []]);
    }
    for (const more of ['switch=no', 'switch=yes&switch=yes', 'switch=']) {
      const body = `token=${token}&${more}`;
      expect((await target.send('/sso/login', { body, headers: { 'content-type': FORM } })).status, more).to.equal(400);
    }
    for (const query of [`sso_token=${other}`, `client_id=${scene.partner.id}`]) {
      const { status, cookies } = await target.send(`${scene.requestPath(token)}&${query}`);
      expect([status, cookies], query).to.deep.equal([400, []]);
    }
    await scene.expectGood(token);
    await scene.expectGood(other);
  });

  it('cannot sign in by another shape of the form, or by another method', async () => {
    const token = await scene.tokenFor({ email: newEmail() });
    const urlencoded = new URLSearchParams({ token }).toString();
    const multipart = `--x\r\ncontent-disposition: form-data; name="token"\r\n\r\n${token}\r\n--x--\r\n`;
    const shapes: Record<string, Attack> = {
      'text/plain': { body: urlencoded, headers: { 'content-type': 'text/plain' } },
      JSON: { body: JSON.stringify({ token }), headers: { 'content-type': 'application/json' } },
      multipart: { body: multipart, headers: { 'content-type': 'multipart/form-data; boundary=x' } },
      'no type': { body: urlencoded },
      'another character set': { body: urlencoded, headers: { 'content-type': `${FORM}; charset=utf-7` } },
      'in the query': { method: 'POST', body: '', headers: { 'content-type': FORM } },
      PUT: { method: 'PUT', body: { token } },
      DELETE: { method: 'DELETE' },
      'GET with a body': { method: 'GET', body: { token } },
      override: { headers: { 'x-http-method-override': 'POST' } },
    };
    for (const [name, attack] of Object.entries(shapes)) {
      const { status, cookies } = await target.send(loginPath(token), attack);
      expect(status, name).to.be.oneOf([200, 400, 404, 405, 415]);
      expect(ofSignIn(cookies), name).to.deep.equal([]);
    }
    await scene.expectGood(token);
  });

  it('cannot send a partner’s form in any other shape', async () => {
    const fields = formFields(scene.partner, { email: newEmail(), first_name: 'Uma' });
    const urlencoded = new URLSearchParams(fields).toString();
    const as = (type: string | undefined, body: string | Buffer): Attack => ({
      body,
      headers: type === undefined ? {} : { 'content-type': type },
    });
    const multipart = (parts: string) => as('multipart/form-data; boundary=x', `${parts}--x--\r\n`);
    const part = (name: string, value: string, more = '') =>
      `--x\r\ncontent-disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`;
    const parts = Object.entries(fields).map(([name, value]) => part(name, value));
    await refuseAll({ JSON: as('application/json', JSON.stringify(fields)), text: as('text/plain', urlencoded) }, 415);
    await refuseAll({ 'no type': as(undefined, urlencoded), XML: as('application/xml', '<x/>') }, 415);
    await refuseAll({ 'another character set': as(`${FORM}; charset=utf-16`, urlencoded) }, 415);
    const type = { 'content-type': FORM };
    await refuseAll({ 'in the URL': { path: `token?${urlencoded}`, body: '', headers: type } }, 401);
    await refuseAll(
      {
        'the same field twice': as(FORM, `${urlencoded}&email=other%40partner.example`),
        'the same e-mail twice': as(FORM, `${urlencoded}&email=${fields.email}`),
        'two secrets': as(FORM, `${urlencoded}&client_secret=x`),
        'two organizations': as(FORM, `${urlencoded}&organization_id=x`),
        'twice in parts': multipart([...parts, part('email', 'other@partner.example')].join('')),
        'a file': multipart([...parts, part('photo', 'x', '; filename="x.png"')].join('')),
        'the e-mail as a file': multipart(
          [...parts.slice(0, -2), part('email', 'a@partner.example', '; filename="x"')].join(''),
        ),
        'parts that do not end': as('multipart/form-data; boundary=x', parts.join('')),
        'parts without a boundary': as('multipart/form-data', parts.join('')),
        'parts of another boundary': as('multipart/form-data; boundary=y', `${parts.join('')}--x--`),
        'five thousand fields': as(
          FORM,
          `${urlencoded}&${Array.from({ length: 5_000 }, (_, n) => `f${n}=1`).join('&')}`,
        ),
        'five hundred parts': multipart(
          [...parts, ...Array.from({ length: 500 }, (_, n) => part(`f${n}`, '1'))].join(''),
        ),
        'two proofs': { ...as(FORM, urlencoded), headers: { ...type, authorization: `Basic ${btoa('x:y')}` } },
      },
      400,
    );
    await refuseAll(
      {
        'sixty kilobytes': as(FORM, `${urlencoded}&x=${'x'.repeat(60_000)}`),
        'sixty kilobytes of parts': multipart([...parts, part('x', 'x'.repeat(60_000))].join('')),
      },
      413,
    );
    const get = await target.send(`/sso/token?${urlencoded}`, { headers: JSON_PLEASE });
    expect([get.status, get.headers.allow]).to.deep.equal([405, 'POST']);
  });

  it('cannot say of people what no account may have', async () => {
    const say = (person: Fields): Attack => ({ body: formFields(scene.partner, { email: newEmail(), ...person }) });
    const all = (name: string, values: readonly string[]) =>
      Object.fromEntries(
        values.map((value) => [`${name}: ${JSON.stringify(value).slice(0, 60)}`, say({ [name]: value })]),
      );
    const emails = [
      '',
      'root',
      'a@b@partner.example',
      'a@partner.example\r\nBcc: x@evil.example',
      'a@partner.example\0',
      'a@partner.example,b@partner.example',
      'Uma <a@partner.example>',
      '<script>@partner.example',
      'a@p\u0430rtner.example',
      'adm\u0131n@partner.example',
      `${'x'.repeat(250)}@partner.example`,
      '"a b"@partner.example',
      'a@[127.0.0.1]',
    ];
    const names = [
      '<b>Uma</b>',
      '"><script>alert(1)</script>',
      'x'.repeat(10_000),
      'Uma\r\nX: y',
      '\u202egnp.exe',
      '\u2066Uma',
      'Uma\0',
      'Uma\u2028',
    ];
    for (const path of ['token', 'access-token']) {
      const there = Object.entries(all('email', emails)).map(([name, attack]) => [name, { ...attack, path }] as const);
      await refuseAll(Object.fromEntries(there), 400);
    }
    // A name is no reason to refuse anybody, and nothing harmful is kept of it.
    for (const name of names) {
      const email = newEmail();
      await scene.tokenFor({ email, first_name: name, last_name: name });
      const { givenName = '', familyName = '' } = await target.directory.accounts.getOrFail(email);
      for (const kept of [givenName, familyName])
        expect(kept).to.match(/^[^<>\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]{0,120}$/u);
    }
    const lists: Fields = { 'email[]': newEmail(), 'email[0]': newEmail() };
    const { email: _, ...nobody } = formFields(scene.partner, { email: '' });
    for (const [name, value] of Object.entries(lists))
      await refuseAll({ [name]: { body: { ...nobody, [name]: value } } }, 400);
    const scopes = [
      'payroll',
      'tokens',
      'openid',
      'administrator',
      '*',
      'users payroll',
      'users,payroll',
      'Users',
      '__proto__',
    ];
    await refuseAll(all('permissions', scopes), 400);
    await refuseAll(all('permissions', ['x '.repeat(5_000)]), 400);
  });

  it('makes nothing of fields that nobody asked for', async () => {
    const email = newEmail();
    const greedy = {
      administrator: 'true',
      status: 'active',
      organizationId: 'x',
      emailVerified: 'true',
      email_verified: 'true',
      password: 'correct horse battery staple',
      passwordHash: 'x',
      id: crypto.randomUUID(),
      __proto__x: '1',
      constructor: 'x',
      scope: 'payroll',
    };
    await scene.tokenFor({ email, ...greedy });
    const account = await target.directory.accounts.findByEmail(email);
    expect(account).to.deep.include({
      administrator: false,
      emailVerified: false,
      permissions: [],
      organizationId: scene.partner.organizationId,
    });
    expect(account?.passwordHash).to.equal(undefined);
    expect(account?.id).not.to.equal(greedy.id);
  });

  it('never gets an answer that a page of another origin may read, nor one that may be framed', async () => {
    const token = await scene.tokenFor({ email: newEmail() });
    const good = formFields(scene.partner, { email: newEmail() });
    const asked = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' };
    for (const origin of ['https://portal.example.com', 'https://evil.example', 'null', target.issuer]) {
      const answers = [
        await scene.post('token', good, { headers: { origin } }),
        await scene.post('access-token', good, { headers: { origin } }),
        await scene.post('logout', good, { headers: { origin } }),
        await scene.post('token', { ...good, client_secret: 'x' }, { headers: { origin } }),
        await target.send('/sso/token', { method: 'OPTIONS', headers: { origin, ...asked } }),
        await target.send('/sso/access-token', { method: 'OPTIONS', headers: { origin, ...asked } }),
        await target.send(loginPath(token), { method: 'OPTIONS', headers: { origin, ...asked } }),
        await target.send(loginPath(token), { headers: { origin } }),
        await target.send(loginPath('x'), { headers: { origin } }),
        await target.send(scene.requestPath('x'), { headers: { origin } }),
      ];
      for (const [index, { status, headers }] of answers.entries()) {
        const cors = Object.keys(headers).filter((name) => name.startsWith('access-control-'));
        expect(cors, `${index} ${origin} ${status}`).to.deep.equal([]);
        // A redirect shows nothing.
        if (headers.location !== undefined) continue;
        expect(headers['content-security-policy'], `${index}`).to.contain("frame-ancestors 'none'");
        expect(headers['x-frame-options'], `${index}`).to.equal('DENY');
      }
    }
    await scene.expectGood(token);
  });
});

describe('a sign-in by a partner behind a proxy that ends TLS', () => {
  let store: TestStore;
  let target: Target;
  let scene: Scene;

  before(async () => {
    store = await embeddedStore();
    target = await startTarget(store, { ISSUER: 'https://id.example.com', TRUSTED_PROXIES: '127.0.0.1/32' });
    scene = await setScene(target);
  });
  afterEach(() => target.unharmed());
  after(async () => {
    await target.close();
    await store.remove();
  });

  it('sets the cookies of the session and no others, and knows from where somebody came', async () => {
    const from = { 'x-forwarded-for': '203.0.113.5', 'user-agent': 'A browser' };
    for (const door of ['page', 'request']) {
      const email = newEmail();
      const token = await scene.tokenFor({ email });
      const { status, cookies } =
        door === 'page'
          ? await target.send('/sso/login', { body: { token }, headers: from })
          : await target.send(scene.requestPath(token), { headers: from });
      expect(status, door).to.be.oneOf([302, 303]);
      expect(
        cookies.map((cookie) => cookie.split('=')[0]),
        door,
      ).to.deep.equal(['__Host-latchkey', '__Host-latchkey.sig']);
      for (const cookie of cookies) {
        expect(cookie, door)
          .to.match(/; path=\/;/)
          .and.match(/; samesite=lax; secure; httponly/);
        expect(cookie, door).not.to.match(/domain=/i);
      }
      const { id = '' } = (await target.directory.accounts.findByEmail(email)) ?? {};
      const [session] = await target.directory.sessions.list(id);
      expect(session, door).to.include({
        address: '203.0.113.5',
        userAgent: 'A browser',
        signedInBy: scene.partner.id,
      });
      const { events } = await target.directory.audit.list({ accountId: id });
      const signIn = events.find(({ type }) => type === 'partner_sign_in');
      expect(signIn, door).to.include({ address: '203.0.113.5', userAgent: 'A browser' });
    }
  });

  it('does not believe an address that the browser itself names', async () => {
    const email = newEmail();
    const token = await scene.tokenFor({ email });
    const headers = {
      'x-forwarded-for': '192.0.2.1, 203.0.113.6',
      forwarded: 'for=192.0.2.2',
      'x-real-ip': '192.0.2.3',
    };
    await target.send(scene.requestPath(token), { headers });
    const { id = '' } = (await target.directory.accounts.findByEmail(email)) ?? {};
    expect((await target.directory.sessions.list(id))[0]?.address).to.equal('203.0.113.6');
  });
});
