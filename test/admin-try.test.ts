/** Trying an app: its own request, shown step by step to the administrator who began it, and to nobody else. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AxeBuilder } from '@axe-core/playwright';
import { expect } from 'chai';
import type { Browser as Chromium, Page } from 'playwright-core';
import type { NewClient } from '../src/clients/clients.ts';
import {
  embeddedStore,
  onEachEngine,
  PASSWORD,
  startApp,
  startProcess,
  type TestApp,
  type TestClient,
  type TestProcess,
  type TestStore,
} from './support/app.ts';
import { type Browser, createBrowser, type Landing } from './support/browser.ts';
import { launchChromium, openProfile } from './support/chromium.ts';
import { createFlows, type Flows, formOf, titleOf, walk } from './support/flow.ts';

type Person = { id: string; email: string; password: string };

const CALLBACK = '/admin/apps/try/callback';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let other: TestProcess;
  let flows: Flows;
  let admin: Person;
  let second: Person;
  let browser: Browser;

  before(async function start() {
    this.timeout(20_000);
    store = await openStore();
    app = await startApp(store, { TRUSTED_PROXIES: '127.0.0.1/32' });
    other = await startProcess(store, { ISSUER: app.issuer });
    flows = createFlows(app.issuer);
    await app.directory.permissions.create({ name: 'orders', description: 'See your orders' });
    admin = await app.person({ administrator: true, permissions: ['orders'] });
    second = await app.person({ administrator: true });
    browser = await signedIn(admin);
  });
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await store.remove();
  });

  async function signedIn(person: Person, origin = app.issuer): Promise<Browser> {
    const fresh = createBrowser(app.issuer, origin);
    await walk(fresh, `${app.issuer}/account`, person);
    return fresh;
  }

  const statusOf = async (landing: Promise<Landing>) => (await landing).response?.status;

  /** Begins a trial and answers its request page. */
  async function begin(client: TestClient, fields: Record<string, string> = {}, who = browser): Promise<Landing> {
    const sent = new URLSearchParams({ scope: 'profile', ...fields });
    if (fields.scope === undefined) sent.append('scope', 'email');
    return who.open(`/admin/apps/${client.id}/try`, { method: 'POST', body: sent });
  }

  /** The address that the request page sends the browser to. */
  const requestOf = ({ text }: Landing) =>
    unescaped(/<a class="button button--primary" href="([^"]+)"/.exec(text)?.[1]);

  /** From the request to the page that its answer brings. */
  async function send(page: Landing, who = browser, person: Person = admin): Promise<Landing> {
    return walk(who, `${app.issuer}${requestOf(page)}`, person);
  }

  /** The answer itself, where the browser would follow it. */
  async function answerTo(page: Landing, who = browser): Promise<URL> {
    let url = new URL(requestOf(page), app.issuer);
    for (let hop = 0; hop < 10 && url.pathname !== CALLBACK; hop++) {
      const response = await who.request(url.href);
      if (url.pathname.startsWith('/interaction/')) {
        const allowed = await who.request(url.href, {
          method: 'POST',
          body: new URLSearchParams({ decision: 'allow' }),
        });
        url = new URL(String(allowed.headers.get('location')), url);
      } else url = new URL(String(response.headers.get('location')), url);
    }
    return url;
  }

  function redeem(page: Landing, fields: Record<string, string>, who = browser): Promise<Landing> {
    const { action, fields: hidden } = formIn(page.text);
    return who.submit(action, { ...hidden, ...fields } as Record<string, string>);
  }

  async function tokensOf(client: TestClient): Promise<number> {
    const { storage } = app.directory;
    const { entries } = await storage.list(`engine:account:${admin.id}`, { limit: 1000 });
    const grants = entries.filter(
      ({ key, value }) => key.startsWith('Grant:') && (value as { clientId?: string }).clientId === client.id,
    );
    const standing = grants.map(({ key }) => storage.list(key.replace('Grant:', 'engine:grant:')));
    const records = (await Promise.all(standing)).flatMap((page) => page.entries);
    return records.filter(({ key }) => /^(AccessToken|RefreshToken):/.test(key)).length;
  }

  it('shows the request, the answer, the tokens and who it is, of an app with a secret', async () => {
    const client = await app.client({ name: 'Shop', permissions: ['orders'] });
    const start = await browser.open(`/admin/apps/${client.id}/try`);
    expect(start.text).to.contain('value="orders" checked').and.contain('60 seconds');
    const page = await begin(client, { scope: 'orders' });
    const request = new URL(requestOf(page), app.issuer).searchParams;
    expect(Object.fromEntries(request)).to.include({
      client_id: client.id,
      response_type: 'code',
      scope: 'openid orders',
      redirect_uri: `${app.issuer}${CALLBACK}`,
      code_challenge_method: 'S256',
    });
    for (const value of request.values()) expect(unescaped(page.text)).to.contain(value);

    const answer = await send(page);
    expect(titleOf(answer.text)).to.equal('Try Shop');
    expect(answer.text).to.contain('name="client_secret" type="password"').and.contain('&lt;client secret&gt;');
    const result = await redeem(answer, { client_secret: ` ${client.secret}\n` });
    const text = unescaped(result.text);
    expect(result.response?.headers.get('cache-control')).to.equal('no-store');
    for (const shown of [admin.id, 'See your orders', 'The signature is by one of our published keys', 'status 200'])
      expect(text).to.contain(shown);
    expect(text).to.contain('was revoked').and.not.to.contain(client.secret).and.not.to.contain('findings__item--bad');
    expect(text).to.match(/<dt><code>access_token<\/code><\/dt><dd><code>[\w-]{8}…</);
    expect(await tokensOf(client)).to.equal(0);
    const { events } = await app.directory.audit.list({ clientId: client.id });
    expect(events.filter(({ type }) => type === 'administration')[0]).to.deep.include({ actorId: admin.id });
    expect(JSON.stringify(events)).not.to.contain(client.secret);
    for (const file of await readdir(store.directory, { recursive: true })) {
      const content = await readFile(join(store.directory, file)).catch(() => Buffer.alloc(0));
      for (const secret of [client.secret, formIn(answer.text).fields.code ?? ''])
        expect(content.includes(secret), file).to.equal(false);
    }
  });

  it('redeems for an app without a secret by itself, with PKCE', async () => {
    const client = await app.client({ public: true });
    const result = await send(await begin(client));
    expect(result.text).to.contain('code_verifier').and.contain('was revoked').and.contain(admin.email);
    expect(result.text).not.to.contain('client_secret');
    expect(await tokensOf(client)).to.equal(0);
  });

  it('explains a fragment that a script hands over', async () => {
    for (const isPublic of [true, false]) {
      const client = await app.client({ public: isPublic, implicit: true });
      const page = await begin(client, { flow: 'implicit' });
      const url = await answerTo(page);
      const empty = await browser.open(CALLBACK);
      expect(empty.text).to.contain('test-run.js').and.contain('<noscript>');
      const token = String(new URLSearchParams(url.hash.slice(1)).get('access_token'));
      expect((await flows.userinfo(token)).status).to.equal(200);
      const result = await browser.submit(CALLBACK, { answer: url.hash.slice(1) });
      expect(unescaped(result.text)).to.contain('nonce is the one that was sent').and.contain(admin.email);
      expect(result.text).to.contain('was revoked').and.not.to.contain(token);
      expect((await flows.userinfo(token)).status).to.equal(401);
      expect(await statusOf(browser.submit(CALLBACK, { answer: url.hash.slice(1) }))).to.equal(400);
    }
  });

  it('shows an answer whose ID token is none, as what it is', async () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    for (const idToken of [
      `x.${part({ sub: 'x' })}.x`,
      `.${part({})}.`,
      `${part({ alg: 'none' })}.${part({})}.`,
      'x',
    ]) {
      const client = await app.client({ implicit: true });
      const url = await answerTo(await begin(client, { flow: 'implicit' }));
      const answer = new URLSearchParams(url.hash.slice(1));
      answer.set('id_token', idToken);
      expect(await statusOf(browser.submit(CALLBACK, { answer: `${answer}` })), idToken).to.equal(200);
      expect(await tokensOf(client)).to.equal(0);
    }
  });

  it('ends no token but the one that it got', async () => {
    const client = await app.client({ implicit: true, trusted: true });
    const others = [
      { client: await app.client({ implicit: true, trusted: true }), person: admin },
      { client, person: await app.person() },
    ];
    for (const { client: theirs, person } of others) {
      const request = { response_type: 'id_token token', redirect_uri: theirs.redirectUri, nonce: 'x' };
      const url = flows.authorizeUrl(theirs, { ...request, scope: 'openid' });
      const { url: got } = await walk(createBrowser(app.issuer), url, person);
      const token = String(new URLSearchParams(got.hash.slice(1)).get('access_token'));
      const answer = new URLSearchParams((await answerTo(await begin(client, { flow: 'implicit' }))).hash.slice(1));
      answer.set('access_token', token);
      expect(await statusOf(browser.submit(CALLBACK, { answer: `${answer}` }))).to.equal(200);
      expect((await flows.userinfo(token)).status).to.equal(200);
    }
  });

  it('says in words what went wrong, and what to do', async () => {
    const client = await app.client();
    const page = await begin(client, { asks_again: 'yes' });
    const consent = await browser.open(requestOf(page));
    const denied = await browser.submit(consent.url.pathname, { decision: 'deny' });
    expect(denied.text).to.contain('access_denied').and.contain('said no, or cancelled');

    const wrong = await redeem(await send(await begin(client)), { client_secret: 'wrong' });
    expect(wrong.text).to.contain('invalid_client').and.contain('Check the secret').and.contain('status 401');

    const answer = await send(await begin(client));
    const code = formIn(answer.text).fields.code;
    const forgotten = await redeem(answer, { client_secret: '' });
    expect(forgotten.response?.status).to.equal(400);
    expect(forgotten.text).to.contain('client_secret-problem').and.contain(String(code));
    const stolen = await redeem(forgotten, { client_secret: client.secret, code: 'another' });
    expect(stolen.text).to.contain('invalid_grant').and.contain('60 seconds');

    const keys = { keys: [{ kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' }] };
    const signing = await send(await begin(await app.client({ jwks: keys })));
    expect(signing.text).to.contain('client_assertion=').and.not.to.contain('type="password"');

    const doomed = await app.client({ public: true });
    const url = await answerTo(await begin(doomed));
    await app.directory.clients.disable(doomed.id);
    expect((await browser.open(url.href)).text).to.contain('invalid_client');
  });

  it('counts a wrong secret against whoever pasted it', async () => {
    const client = await app.client();
    const { action, fields } = formIn((await send(await begin(client))).text);
    const body = new URLSearchParams({ ...fields, client_secret: 'wrong' } as Record<string, string>);
    await browser.open(action, { method: 'POST', body, headers: { 'x-forwarded-for': '203.0.113.7' } });
    const { events } = await app.directory.audit.list({ clientId: client.id });
    const refused = events.filter(({ type }) => type === 'client_refused');
    expect(refused.map(({ address }) => address)).to.deep.equal(['203.0.113.7']);
  });

  it('wants nothing of what a person does not hold', async () => {
    const client = await app.client({ public: true, permissions: ['orders'] });
    const there = await signedIn(second);
    const result = await send(await begin(client, { scope: 'orders' }, there), there, second);
    expect(unescaped(result.text)).to.contain('Not granted: you do not hold it').and.contain('was revoked');
    const more = await begin(client, { scope: 'offline_access' });
    expect(new URL(requestOf(more), app.issuer).searchParams.get('scope')).to.equal('openid');
  });

  it('shows and redeems an answer once, on whichever process', async () => {
    const there = await signedIn(admin, other.url);
    const client = await app.client({ public: true, trusted: true });
    const url = await answerTo(await begin(client));
    const shown = await Promise.all([browser, there, browser, there].map((who) => who.open(url.href)));
    expect(shown.map(({ response }) => response?.status).sort()).to.deep.equal([200, 400, 400, 400]);
    expect(await statusOf(browser.open(url.href))).to.equal(400);

    const secretive = await app.client({ trusted: true });
    const answer = await send(await begin(secretive));
    const secret = { client_secret: secretive.secret };
    const redeemed = await Promise.all([browser, there, browser].map((who) => redeem(answer, secret, who)));
    expect(redeemed.filter(({ text }) => text.includes('was revoked'))).to.have.length(1);
    expect(redeemed.filter(({ response }) => response?.status === 400)).to.have.length(2);
    expect([await tokensOf(client), await tokensOf(secretive)]).to.deep.equal([0, 0]);
  });

  it('gives nobody else’s answer away, and leaves it to whom it belongs', async () => {
    const client = await app.client({ public: true, trusted: true });
    const page = await begin(client);
    const url = await answerTo(page);
    const path = page.url.pathname;
    const colleague = await signedIn(second);
    const nobody = await signedIn(await app.person());
    expect(await statusOf(colleague.open(url.href))).to.equal(400);
    expect(await statusOf(colleague.open(path))).to.equal(400);
    expect(await statusOf(nobody.open(url.href))).to.equal(403);
    for (const refused of [path, `/admin/apps/${client.id}/try`, CALLBACK])
      expect(await statusOf(nobody.open(refused)), refused).to.equal(403);
    const signedOut = await createBrowser(app.issuer).open(url.href);
    expect(signedOut.text)
      .to.contain('name="password"')
      .and.not.to.contain(url.searchParams.get('code') ?? '');
    expect(await tokensOf(client)).to.equal(0);
    expect((await browser.open(url.href)).text).to.contain('was revoked');

    const secretive = await app.client({ trusted: true });
    const answer = await send(await begin(secretive));
    const secret = { client_secret: secretive.secret };
    expect(await statusOf(redeem(answer, secret, colleague))).to.equal(400);
    expect(await statusOf(redeem(answer, secret, nobody))).to.equal(403);
    expect((await redeem(answer, secret)).text).to.contain('was revoked');

    // Somebody is sent through a request that another administrator began.
    const lure = await begin(client, {}, colleague);
    const landed = await send(lure, browser);
    expect([landed.response?.status, titleOf(landed.text)]).to.deep.equal([400, 'This answer is not shown']);
    expect(await tokensOf(client)).to.equal(0);
  });

  it('takes no forged answer', async () => {
    const client = await app.client({ public: true, implicit: true, trusted: true });
    const url = await answerTo(await begin(client));
    const good = Object.fromEntries(url.searchParams);
    const forged = [
      { ...good, state: 'none' },
      { ...good, state: '' },
      { ...good, iss: 'https://evil.example' },
      { code: String(good.code), state: String(good.state) },
      { state: String(good.state), iss: String(good.iss) },
      { ...good, code: `x' -o /etc/passwd '` },
    ];
    for (const answer of forged) {
      expect(
        await statusOf(browser.open(`${CALLBACK}?${new URLSearchParams(answer)}`)),
        JSON.stringify(answer),
      ).to.equal(400);
    }
    expect(await statusOf(browser.open(`${url.href}&state=${good.state}`))).to.equal(400);
    expect(await statusOf(browser.submit(CALLBACK, { answer: url.search.slice(1) })), 'another flow').to.equal(400);
    for (const answer of ['', 'x', '&&&', 'state=%00', '%', `state=${good.state}&__proto__=x`])
      expect(await statusOf(browser.submit(CALLBACK, { answer })), answer).to.equal(400);
    const shown = await browser.open(`${url.href}&error_description=<script>`);
    expect(shown.text).to.contain('was revoked').and.not.to.contain('<script>');
    expect(await tokensOf(client)).to.equal(0);
  });

  it('is begun and redeemed on our own pages only', async () => {
    const client = await app.client();
    const answer = await send(await begin(client));
    const { action, fields } = formIn(answer.text);
    // Other pages cannot know what proves that this one was seen.
    const { form_token, ...known } = fields;
    const secret = { ...known, client_secret: client.secret } as Record<string, string>;
    expect(form_token).to.be.a('string');
    for (const headers of [{ origin: 'https://evil.example' }, { origin: '' }, { 'sec-fetch-site': 'cross-site' }]) {
      for (const path of [action, CALLBACK, `/admin/apps/${client.id}/try`]) {
        const init = { method: 'POST', body: new URLSearchParams(secret), headers: headers as Record<string, string> };
        expect(await statusOf(browser.open(path, init)), path).to.equal(403);
      }
    }
    const away = new URL(action, app.issuer).pathname.replace(client.id, (await app.client()).id);
    expect(await statusOf(browser.submit(away, secret)), 'as another app').to.equal(400);
    expect((await redeem(answer, { client_secret: client.secret })).text).to.contain('was revoked');
    expect(await statusOf(browser.open('/admin/apps/none/try'))).to.equal(404);
    for (const flow of ['implicit', 'token']) {
      expect(await statusOf(begin(client, { flow })), flow).to.be.oneOf([400, 409]);
    }
    const machine = await app.directory.clients.create({ name: 'Machine', clientCredentials: true });
    expect((await browser.open(`/admin/apps/${machine.client.id}/try`)).text).to.contain('no redirect URI');
    expect((await browser.open(`/admin/apps/${machine.client.id}`)).text).not.to.contain('/try"');
  });

  describe('the page the answer comes to', () => {
    const requests = (client: TestClient, redirectUri: string) =>
      flows.authorizeUrl(client, {
        redirect_uri: redirectUri,
        response_type: 'code',
        scope: 'openid',
        code_challenge: 'x'.repeat(43),
        code_challenge_method: 'S256',
      });

    it('is allowed to the letter, for apps that sign people in', async () => {
      const port = new URL(app.issuer).port;
      const native: Partial<NewClient> = { public: true, redirectUris: ['http://localhost/cb', 'com.example.app:/cb'] };
      const clients = [await app.client(), await app.client(native)];
      const near = [
        `${app.issuer}${CALLBACK}/`,
        `${app.issuer}${CALLBACK}?x=1`,
        `${app.issuer}/admin/apps/try/Callback`,
        `${app.issuer.replace(port, '1')}${CALLBACK}`,
        `http://localhost${CALLBACK}`,
        `${app.issuer.replace('localhost', '127.0.0.1')}${CALLBACK}`,
        `${app.issuer}/admin/apps/try/../try/callback`,
        `https://evil.example${CALLBACK}`,
      ];
      for (const client of clients) {
        const exact = await browser.request(requests(client, `${app.issuer}${CALLBACK}`));
        expect(exact.status).to.equal(303);
        const answer = new URL(String(exact.headers.get('location'))).searchParams;
        expect(answer.get('error')).to.equal('access_denied');
        for (const uri of near) {
          const { status, headers } = await browser.request(requests(client, uri));
          expect([status, headers.get('location')], uri).to.deep.equal([400, null]);
        }
      }
      const none = await app.directory.clients.create({ name: 'API', clientCredentials: true });
      for (const id of [none.client.id, 'latchkey-console']) {
        const { status } = await browser.request(
          requests({ ...clients[0], id } as TestClient, `${app.issuer}${CALLBACK}`),
        );
        expect(status, id).to.equal(400);
      }
    });

    it('gets no code but for the trial that is open: not of an app that has it registered, nor of another state, app or person', async () => {
      const client = await app.client({ public: true, trusted: true });
      const callback = `${app.issuer}${CALLBACK}`;
      const taken = await app.directory.clients
        .create({ name: 'Sly', redirectUris: [callback] })
        .catch((error) => error);
      expect(taken).to.include({ code: 'invalid_request', field: 'redirect_uris' });
      const changed = await app.directory.clients
        .update(client.id, { redirectUris: [callback] })
        .catch((error) => error);
      expect(changed).to.include({ code: 'invalid_request', field: 'redirect_uris' });

      const url = new URL(requestOf(await begin(client)), app.issuer);
      const other = await app.client({ public: true, trusted: true });
      const person = await app.person();
      const attempts: [string, Browser, Record<string, string>][] = [
        ['another state', browser, { state: crypto.randomUUID() }],
        ['another app', browser, { client_id: other.id }],
        ['a challenge of its own', browser, { code_challenge: 'x'.repeat(43) }],
        ['another administrator', await signedIn(second), {}],
        ['a person', await signedIn(person), {}],
      ];
      for (const [what, who, changes] of attempts) {
        const sent = new URL(url);
        for (const [name, value] of Object.entries(changes)) sent.searchParams.set(name, value);
        const answer = new URL(String((await who.request(sent.href)).headers.get('location')));
        expect(answer.searchParams.get('error'), what).to.equal('access_denied');
      }
      const allowed = await browser.request(requestOf(await begin(client)));
      expect(new URL(String(allowed.headers.get('location'))).searchParams.get('code')).to.be.a('string');
    });

    it('is none of the app’s own', async () => {
      const client = await app.client({ public: true });
      const pages = [`/admin/apps/${client.id}`, `/admin/apps/${client.id}/edit`, '/.well-known/openid-configuration'];
      for (const path of pages) expect((await browser.open(path)).text, path).not.to.contain(CALLBACK);
      expect((await app.directory.clients.get(client.id))?.redirectUris).to.deep.equal([client.redirectUri]);
      const { status, headers } = await fetch(`${app.issuer}/identity/token`, {
        method: 'POST',
        headers: { origin: app.issuer },
        body: new URLSearchParams({ client_id: client.id, grant_type: 'authorization_code', code: 'x' }),
      });
      expect([status, headers.get('access-control-allow-origin')]).to.deep.equal([400, null]);
    });
  });
});

describe('trying an app in a browser', function pages() {
  this.timeout(60_000);
  let chromium: Chromium;
  let store: TestStore;
  let app: TestApp;
  let admin: Person;

  before(async () => {
    store = await embeddedStore();
    [chromium, app] = await Promise.all([launchChromium(), startApp(store)]);
    await app.directory.permissions.create({ name: 'orders', description: 'See your orders' });
    admin = await app.person({ administrator: true, givenName: 'Ada', familyName: 'Admin', permissions: ['orders'] });
  });
  after(async () => {
    await Promise.all([chromium.close(), app.close()]);
    await store.remove();
  });

  async function look(page: Page, heading: string): Promise<void> {
    await page.locator('h1', { hasText: heading }).waitFor();
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze();
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
      expect(found, `${heading}, ${colorScheme}`).to.deep.equal([]);
    }
    for (const width of [360, 1280]) {
      await page.setViewportSize({ width, height: 740 });
      const over = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
      expect(over, `${heading} at ${width}`).to.equal(0);
    }
  }

  async function visit(client: TestClient, options: object, walkThrough: (page: Page) => Promise<void>): Promise<void> {
    const { context, problems } = await openProfile(chromium, options);
    const page = await context.newPage();
    page.setDefaultTimeout(5_000);
    await page.goto(`${app.issuer}/admin/apps/${client.id}`);
    await page.fill('#email', admin.email);
    await page.fill('#password', PASSWORD);
    await page.click('.button--primary');
    await page.click('a[href$="/try"]');
    await walkThrough(page);
    await context.close();
    expect(problems.filter((problem) => !/status of 4/.test(problem))).to.deep.equal([]);
  }

  const submit = (page: Page) => page.click('form[method=post] .button--primary');

  it('leads from the button over consent and the secret to what the app got', async () => {
    const client = await app.client({ name: 'Shop', permissions: ['orders'] });
    await visit(client, { javaScriptEnabled: true }, async (page) => {
      await look(page, 'Try Shop');
      await submit(page);
      await page.getByText('Nothing has been sent yet').waitFor();
      await look(page, 'Try Shop');
      await page.click('text=Send the request');
      await page.click('[value=allow]');
      await page.fill('#client_secret', 'wrong');
      await submit(page);
      await page.getByText('Check the secret').waitFor();
      await look(page, 'Try Shop');
      await page.click('text=Try again');
      await submit(page);
      await page.click('text=Send the request');
      await look(page, 'Try Shop');
      await page.fill('#client_secret', client.secret);
      await submit(page);
      await page.getByText('The access token was revoked').waitFor();
      await look(page, 'Try Shop');
      expect(await page.content()).not.to.contain(client.secret);
    });
  });

  it('reads the fragment of an implicit answer, which leaves the address', async () => {
    const client = await app.client({ name: 'Old', public: true, implicit: true });
    await visit(client, { javaScriptEnabled: true, locale: 'fi-FI' }, async (page) => {
      await page.check('[value=implicit]');
      await submit(page);
      await page.click('text=Lähetä pyyntö');
      await page.click('[value=allow]');
      await page.getByText('Access token mitätöitiin').waitFor();
      await look(page, 'Kokeile: Old');
      expect(page.url()).to.equal(`${app.issuer}${CALLBACK}`);
      expect(await page.evaluate('performance.getEntriesByType("navigation")[0].name')).not.to.contain('token');
    });
  });

  it('works without scripts', async () => {
    const client = await app.client({ name: 'Plain', public: true, trusted: true });
    await visit(client, { javaScriptEnabled: false }, async (page) => {
      await submit(page);
      await page.click('text=Send the request');
      await page.getByText('The access token was revoked').waitFor();
    });
  });
});

/** The one form of a page that is sent. */
function formIn(page: string): ReturnType<typeof formOf> {
  return formOf(page.slice(Math.max(page.indexOf('<form method="post"'), 0)));
}

function unescaped(text = ''): string {
  return text
    .replace(/&#(\d+);/g, (_all, code: string) => String.fromCodePoint(Number(code)))
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&');
}
