import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import { cookieName } from '../../src/oidc/cookie-name.ts';
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
import { clockAhead } from '../support/clock.ts';
import { createFlows, type Flows, OFFLINE, walk } from '../support/flow.ts';
import { shell } from '../support/shell.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let directory: Core;
  let server: TestProcess;
  let issuer: string;
  let flows: Flows;
  let person: { id: string; email: string; password: string };
  let client: TestClient;

  before(async () => {
    store = await openStore();
    directory = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
    server = await startProcess(store, { LOG_LEVEL: 'trace' });
    issuer = server.url;
    flows = createFlows(issuer);
    person = await fixtures(directory).person();
    client = await fixtures(directory).client();
  });
  after(async () => {
    await server.kill('SIGKILL');
    await directory.storage.close();
    await store.remove();
  });

  /** The server dies without a chance to finish anything, and another one takes its place. */
  async function killAndRestart(environment: NodeJS.ProcessEnv = {}): Promise<void> {
    await server.kill('SIGKILL');
    server = await startProcess(store, { ISSUER: issuer, LOG_LEVEL: 'trace', ...environment });
    flows = createFlows(issuer, server.url);
  }

  /** What a signed-in browser is answered without a page. */
  async function silently(browser: Browser): Promise<URLSearchParams> {
    const url = new URL((await flows.start({ client, params: { prompt: 'none' } })).url);
    const cookie = browser
      .cookies()
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
    const response = await fetch(`${server.url}${url.pathname}${url.search}`, {
      redirect: 'manual',
      headers: { cookie },
    });
    return new URL(String(response.headers.get('location'))).searchParams;
  }

  it('keeps account, app, session and tokens through kill -9, and what was dead stays dead', async () => {
    const browser = flows.browser();
    const tokens = await flows.tokens({ client, person, browser, params: OFFLINE });
    const used = await flows.authorize({ client, person });
    const fresh = await flows.authorize({ client, person });
    const family = await used.redeem();
    const spent = await flows.tokens({ client, person, params: OFFLINE });
    const { body: successor } = await flows.refresh(client, String(spent.refresh_token));
    const revoked = await flows.tokens({ client, person });
    await flows.post('revoke', client, { token: revoked.access_token });

    await killAndRestart();
    expect((await flows.userinfo(tokens.access_token)).status).to.equal(200);
    expect((await flows.userinfo(String(successor.access_token))).status).to.equal(200);
    expect((await flows.userinfo(revoked.access_token)).status).to.equal(401);
    expect((await flows.redeem(client, fresh)).status).to.equal(200);
    expect((await flows.redeem(client, used)).body.error).to.equal('invalid_grant');
    expect((await flows.userinfo(family.access_token)).status).to.equal(401);
    expect((await silently(browser)).get('code')).to.be.a('string');
    const { status, body } = await flows.refresh(client, String(tokens.refresh_token));
    expect(status).to.equal(200);

    // Longer than a used refresh token may be sent again in.
    await killAndRestart(clockAhead(15));
    expect((await flows.refresh(client, String(tokens.refresh_token))).body.error).to.equal('invalid_grant');
    expect((await flows.refresh(client, String(body.refresh_token))).body.error).to.equal('invalid_grant');
    expect((await flows.refresh(client, String(spent.refresh_token))).body.error).to.equal('invalid_grant');
    expect((await flows.userinfo(String(successor.access_token))).status).to.equal(401);
    expect((await flows.tokens({ client, person })).claims()?.sub).to.equal(person.id);
  }).timeout(30_000);

  it('goes on with a sign-in that was under way when the server died', async () => {
    const browser = flows.browser();
    const { url } = await flows.start({ client });
    const login = await browser.open(url);
    await killAndRestart();
    const cookie = browser
      .cookies()
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
    const response = await fetch(`${server.url}${login.url.pathname}`, {
      method: 'POST',
      redirect: 'manual',
      headers: { cookie, origin: issuer, accept: 'text/html' },
      body: new URLSearchParams({ email: person.email, password: person.password }),
    });
    expect(response.status).to.equal(303);
  }).timeout(20_000);

  it('writes no code, token, session, secret or password into its files or its log', async () => {
    const browser = flows.browser();
    const redirected = await flows.authorize({ client, person, browser, params: OFFLINE });
    const tokens = await redirected.redeem();
    const { body: rotated } = await flows.refresh(client, String(tokens.refresh_token));
    const unused = await flows.authorize({ client, person });
    const waiting = flows.browser();
    const interaction = (await waiting.open((await flows.start({ client })).url)).url.pathname;
    // A page that is open while its browser is signed in: what is kept of it must not lead into that session.
    await browser.open((await flows.start({ client, params: { prompt: 'consent' } })).url);
    await flows.redeem(client, unused);
    await flows.introspect(client, tokens.access_token);
    await flows.browser().open('/nowhere?token=something');
    const keys = (await directory.signingKeys.load()).keys;
    // What is kept of a sign-in elsewhere, and of forms that may be sent once.
    await directory.identityProviders.create({
      id: 'hub',
      kind: 'github',
      clientId: 'hub',
      clientSecret: 'its secret',
    });
    const leaving = flows.browser();
    const left = (await leaving.open((await flows.start({ client })).url)).url.pathname;
    const away = await leaving.request(`${left}/provider`, {
      method: 'POST',
      body: new URLSearchParams({ identity_provider: 'hub' }),
    });
    const signedIn = flows.browser();
    await walk(signedIn, `${issuer}/account`, person);
    const page = await signedIn.open('/account/tokens/new');

    const secrets: Record<string, string | undefined> = {
      password: person.password,
      'client secret': client.secret,
      code: redirected.code,
      'unredeemed code': unused.code,
      verifier: unused.verifier,
      'access token': tokens.access_token,
      'refresh token': tokens.refresh_token,
      'rotated access token': String(rotated.access_token),
      'rotated refresh token': String(rotated.refresh_token),
      'ID token': tokens.id_token?.split('.')[2],
      'session cookie': cookieOf(browser, cookieName(issuer, 'latchkey')),
      'interaction cookie': cookieOf(waiting, cookieName(issuer, 'latchkey-interaction')),
      'interaction path': interaction.split('/')[2],
      'interaction that went elsewhere': left.split('/')[2],
      'state for a provider': String(new URL(String(away.headers.get('location'))).searchParams.get('state')),
      'one-time form': /name="form" value="([^"]+)"/.exec(page.text)?.[1],
      'setup code': await directory.setup.code(),
      'secret key': SECRET_KEY,
      ...Object.fromEntries(keys.map(({ d, alg }) => [`private key ${alg}`, d])),
    };
    const written = await everythingIn(store.directory);
    expect(written).to.contain(person.id).and.to.contain(client.id);
    for (const [what, secret] of Object.entries(secrets)) {
      expect(secret, what).to.be.a('string').with.length.above(10);
      for (const spelling of spellingsOf(String(secret))) {
        expect(written.includes(spelling), `${what} in the store`).to.equal(false);
        // The link to make the first administrator is printed on purpose.
        if (what !== 'setup code') expect(server.output().includes(spelling), `${what} in the log`).to.equal(false);
      }
    }
  });

  it('takes a new secret key before the old one, and after a rotation without it; a wrong one does not start', async () => {
    const fresh = randomBytes(32).toString('base64url');
    const browser = flows.browser();
    const before = await flows.tokens({ client, person, browser });
    await killAndRestart({ SECRET_KEY: `${fresh},${SECRET_KEY}` });
    expect((await silently(browser)).get('code')).to.be.a('string');

    const rotate = await shell(store, ['keys', 'rotate'], { SECRET_KEY: `${fresh},${SECRET_KEY}` });
    expect(rotate).to.include({ status: 0, stderr: '' });
    await killAndRestart({ SECRET_KEY: fresh });
    const keys = (await (await fetch(`${server.url}/identity/jwks`)).json()) as JSONWebKeySet;
    await jwtVerify(String(before.id_token), createLocalJWKSet(keys));
    expect((await flows.tokens({ client, person })).claims()?.sub).to.equal(person.id);

    const failure = await startProcess(store, { SECRET_KEY }).catch((error: Error) => error.message);
    expect(failure)
      .to.be.a('string')
      .that.contains('SECRET_KEY is not the key')
      .and.does.not.match(/\n\s+at /);
  }).timeout(30_000);
});

function cookieOf(browser: Browser, wanted: string): string | undefined {
  return browser.cookies().find(({ name }) => name === wanted)?.value;
}

/** A secret as it is, and as an encoding without padding or line breaks would have it. */
function spellingsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const encoded = [bytes.toString('base64').replaceAll('=', ''), bytes.toString('base64url'), bytes.toString('hex')];
  return [secret, encodeURIComponent(secret), ...encoded];
}

/** All files of a directory, as text in which every byte is one character. */
async function everythingIn(directory: string): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const contents = await Promise.all(files.map((entry) => readFile(join(entry.parentPath, entry.name), 'latin1')));
  return contents.join('\n');
}
