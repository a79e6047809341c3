/**
 * A data folder of the first release, and what its people, apps and scripts had in hand when it was stopped. Made by that release:
 * an administrator Ada; Ben, who has signed in to apps and made personal tokens; Cy, who is disabled; Dee, who waits; Uma, whom a
 * partner signs in. The data are `data.sql`; `known.json` says the rest.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { type FakeGitHub, startFakeGitHub } from '../examples/fake-providers/github.ts';
import { startProcess, type TestProcess } from './support/app.ts';
import { createBrowser } from './support/browser.ts';
import { clockAhead } from './support/clock.ts';
import { exchangeToken, FAKES_ALLOWED } from './support/exchange.ts';
import { createFlows, type Flows } from './support/flow.ts';
import { type MailServer, startMailServer } from './support/mail.ts';
import { arrive, askAsPartner, loginPath, ssoToken } from './support/partner.ts';
import { shell } from './support/shell.ts';

const FIXTURE = fileURLToPath(new URL('./fixtures/first-release', import.meta.url));
const BEN = { subject: '1001', login: 'ben', email: 'ben@elsewhere.example' };
const UMA = { email: 'uma@acme.example', first_name: 'Uma', last_name: 'User' };

interface App {
  id: string;
  secret: string;
  redirectUri: string;
}

interface Known {
  /** When the release was stopped. */
  at: number;
  issuer: string;
  secretKey: string;
  password: string;
  ids: Record<'ada' | 'ben' | 'cy' | 'dee' | 'organization', string>;
  apps: Record<'web' | 'spa' | 'api' | 'machine', App> & { portal: App & { organizationId: string } };
  appToken: string;
  tokens: Record<
    'access' | 'refresh' | 'id' | 'spent' | 'successor' | 'personal' | 'byHand' | 'machine' | 'partner' | 'exchanged',
    string
  >;
  /** By name, as the browser had them. */
  cookies: Record<'ben' | 'uma', Record<string, string>>;
}

describe('a data folder of the first release', function () {
  this.timeout(30_000);

  let known: Known;
  let directory: string;
  let server: TestProcess;
  let flows: Flows;
  let github: FakeGitHub;
  let mails: MailServer;
  let environment: NodeJS.ProcessEnv;

  before(async () => {
    known = JSON.parse(await readFile(join(FIXTURE, 'known.json'), 'utf8'));
    directory = await mkdtemp(join(tmpdir(), 'latchkey-earlier-'));
    [github, mails] = await Promise.all([startFakeGitHub({ 'own-app': 'own-secret' }), startMailServer()]);
    github.people.push(BEN);
    const data = await readFile(join(FIXTURE, 'data.sql'), 'utf8');
    const database = new DatabaseSync(join(directory, 'latchkey.sqlite'));
    database.exec(data.replace('http://localhost:24681', github.url));
    database.close();
    // Two minutes after it was stopped.
    const ahead = known.at + 120 - Math.floor(Date.now() / 1000);
    environment = {
      SECRET_KEY: known.secretKey,
      ISSUER: known.issuer,
      SMTP_URL: mails.url,
      ...clockAhead(ahead),
      ...FAKES_ALLOWED,
    };
    server = await startProcess(
      { storeUrl: `file:${directory}`, directory, remove: async () => undefined },
      environment,
    );
    flows = createFlows(known.issuer, server.url, ahead);
  });
  after(async () => {
    await server.kill('SIGKILL');
    await Promise.all([github.close(), mails.stop()]);
    await rm(directory, { recursive: true });
  });

  async function latchkey(...args: string[]): Promise<Record<string, unknown>> {
    const { stdout, stderr } = await shell({ storeUrl: `file:${directory}` }, [...args, '--json'], environment);
    if (stderr) throw new Error(stderr);
    return JSON.parse(stdout);
  }

  async function me(authorization: string): Promise<Record<string, unknown>> {
    const response = await fetch(`${server.url}/api/me`, { headers: { authorization } });
    return (await response.json()) as Record<string, unknown>;
  }

  /** Where a browser with these cookies is led by a request of the app that shows no page. */
  async function silently(cookies: Record<string, string>, issuer = known.issuer): Promise<URLSearchParams> {
    const cookie = Object.entries(cookies).map(([name, value]) => `${name}=${value}`);
    const { url } = await flows.start({ client: known.apps.web, params: { prompt: 'none' } });
    const { pathname, search } = new URL(url);
    const response = await fetch(`${server.url}${pathname}${search}`, {
      redirect: 'manual',
      headers: { cookie: cookie.join('; '), accept: 'text/html' },
    });
    return new URL(response.headers.get('location') ?? issuer).searchParams;
  }

  it('delivers the mail that was waiting in it', async () => {
    while (mails.received.length < 2) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(mails.received.map(({ to }) => to)).to.deep.equal([['ben@example.com'], ['ben@example.com']]);
    expect(mails.received[0]?.header('subject')).to.equal('A personal token was created for your account');
  });

  it('keeps the tokens of people, apps and scripts', async () => {
    const { tokens, ids, apps } = known;
    for (const token of [tokens.personal, tokens.byHand])
      expect(await me(`Token ${token}`)).to.deep.include({ sub: ids.ben, scope: 'reports' });
    expect(await me(`Bearer ${tokens.access}`)).to.include({ sub: ids.ben });
    expect(await me(`Bearer ${tokens.exchanged}`)).to.include({ sub: ids.ben });
    expect(await me(`Bearer ${tokens.partner}`)).to.include({ email: UMA.email, scope: 'reports' });
    for (const token of [tokens.access, tokens.machine, tokens.partner, tokens.personal])
      expect(await flows.introspect(apps.api, token)).to.include({ active: true });
    expect((await flows.userinfo(tokens.access)).status).to.equal(200);
  });

  it('keeps its signing keys', async () => {
    const keys = createRemoteJWKSet(new URL(`${server.url}/identity/jwks`));
    const currentDate = new Date(known.at * 1000);
    const { payload } = await jwtVerify(known.tokens.id, keys, { issuer: known.issuer, currentDate });
    expect(payload.sub).to.equal(known.ids.ben);
  });

  it('keeps its sessions', async () => {
    expect((await silently(known.cookies.ben)).get('code'), 'of who has signed in').to.be.a('string');
    expect((await silently(known.cookies.uma)).get('error'), 'of who was signed in').to.equal('consent_required');
    for (const cookies of [{}, { ...known.cookies.ben, 'latchkey.sig': String(known.cookies.uma['latchkey.sig']) }])
      expect((await silently(cookies)).get('error'), JSON.stringify(cookies)).to.equal('login_required');
  });

  it('signs its people in by their passwords, and nobody who was stopped', async () => {
    const { password, apps, ids } = known;
    const { claims } = await flows.tokens({ client: apps.web, person: { email: 'ada@example.com', password } });
    expect(claims()?.sub).to.equal(ids.ada);
    for (const email of ['cy@example.com', 'dee@example.com']) {
      const failure = await flows.authorize({ client: apps.web, person: { email, password } }).catch(String);
      expect(failure, email).to.match(/^Error: no code at/);
    }
  });

  it('refreshes its tokens, and a used refresh token ends its family as before', async () => {
    const { apps, tokens } = known;
    const next = await flows.refresh(apps.web, tokens.refresh);
    expect(next.status, JSON.stringify(next.body)).to.equal(200);
    expect((await flows.refresh(apps.web, String(next.body.refresh_token))).status).to.equal(200);
    expect((await flows.refresh(apps.spa, tokens.spent)).body.error).to.equal('invalid_grant');
    expect((await flows.refresh(apps.spa, tokens.successor)).body.error).to.equal('invalid_grant');
  });

  it('exchanges tokens of its identity provider, and signs people in there', async () => {
    const { status, body } = await exchangeToken(server.url, known.appToken, github.issue(BEN, 'own-app'));
    expect(status, JSON.stringify(body)).to.equal(200);
    expect(await me(`Bearer ${body.token}`)).to.include({ sub: known.ids.ben });
  });

  it('signs in whom its partners bring, as who they were', async () => {
    const { portal } = known.apps;
    const was = (await me(`Bearer ${known.tokens.partner}`)).sub;
    const again = await askAsPartner(server.url, 'access-token', { ...portal, record: undefined as never }, UMA);
    expect(again.status, again.text).to.equal(200);
    expect((await me(`Bearer ${again.body.access_token}`)).sub).to.equal(was);
    const next = 'https://portal.example.com/welcome';
    const token = await ssoToken(server.url, { ...portal, record: undefined as never }, UMA);
    const { url } = await arrive(createBrowser(known.issuer, server.url), loginPath(token, next));
    expect(url.href).to.equal(next);
  });

  it('is shown, changed and ended in as any other', async () => {
    expect(await latchkey('account', 'show', 'ben@example.com')).to.include({ id: known.ids.ben, status: 'active' });
    await latchkey('account', 'disable', 'ben@example.com');
    expect(await me(`Token ${known.tokens.personal}`)).to.include({ errorCode: '401' });
    expect((await silently(known.cookies.ben)).get('error')).to.equal('login_required');
    expect(await latchkey('account', 'enable', 'cy@example.com')).to.include({ status: 'active' });
    const person = { email: 'cy@example.com', password: known.password };
    expect((await flows.tokens({ client: known.apps.web, person })).claims()?.sub).to.equal(known.ids.cy);
  });
});
