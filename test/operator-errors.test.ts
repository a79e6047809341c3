/** What goes wrong says what was sent, what was expected, and which setting changes it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import {
  embeddedStore,
  startApp,
  startProcess,
  type TestApp,
  type TestProcess,
  type TestStore,
} from './support/app.ts';
import { createBrowser } from './support/browser.ts';
import { shell } from './support/shell.ts';

describe('an error', function () {
  this.timeout(60_000);

  let store: TestStore;
  let app: TestApp;
  let server: TestProcess;

  before(async () => {
    store = await embeddedStore();
    app = await startApp(store);
    server = await startProcess(store, { LOG_LEVEL: 'info' });
  });
  after(async () => {
    await server.kill('SIGTERM');
    await app.close();
    await store.remove();
  });

  const visitor = () => createBrowser(server.url);
  const linesOf = (code: RegExp) =>
    server
      .output()
      .split('\n')
      .filter((line) => code.test(line));

  it('of a redirect URI names the one that was sent and the app, on the page and in the log, and leads nowhere', async () => {
    const client = await app.client({ name: 'Ledger & <Sons>' });
    const sent = 'https://evil.example/"><script>alert(1)</script>';
    const query = new URLSearchParams({ client_id: client.id, response_type: 'code', scope: 'openid' });
    query.set('redirect_uri', sent);
    const { url, response, text } = await visitor().open(`/identity/authorize?${query}`);
    expect(response?.status).to.equal(400);
    expect(url.origin).to.equal(server.url);
    expect(text).to.contain('https://evil.example/').and.to.contain('Ledger &amp; &lt;Sons&gt;');
    expect(text)
      .not.to.contain('<script>alert')
      .and.not.to.match(/(href|action|src)="https:\/\/evil/);
    const [line = '{}'] = linesOf(/redirect_uri_mismatch/);
    expect(JSON.parse(line).detail).to.contain('https://evil.example/').and.to.contain('Ledger');
  });

  it('of a redirect URI is a line of the log where no page says it: pushed, or sent with a code', async () => {
    const { id, secret } = await app.client();
    const headers = { authorization: `Basic ${btoa(`${id}:${secret}`)}` };
    const send = (path: string, form: Record<string, string>) =>
      fetch(`${server.url}${path}`, { method: 'POST', headers, body: new URLSearchParams(form) });
    const pushed = {
      client_id: id,
      response_type: 'code',
      scope: 'openid',
      redirect_uri: `https://pushed.example/${id}`,
    };
    expect((await send('/identity/par', pushed)).status).to.equal(400);
    const withCode = { grant_type: 'authorization_code', code: 'unknown', redirect_uri: `https://sent.example/${id}` };
    expect((await send('/identity/token', withCode)).status).to.equal(400);
    const lineOf = async (address: string) => {
      let line: string | undefined;
      while (line === undefined) {
        await sleep(20);
        [line] = linesOf(new RegExp(address));
      }
      return JSON.parse(line);
    };
    expect(await lineOf(pushed.redirect_uri))
      .to.include({ client: id, msg: 'request refused' })
      .and.to.have.property('detail')
      .that.contains('redirect_uri');
    expect(await lineOf(withCode.redirect_uri)).to.include({ client: id, msg: 'request refused' });
  });

  it('of a provider on a private address is one line of the log, with the address and the setting', async () => {
    const { id } = await app.directory.identityProviders.create({
      id: `inside${Math.round(performance.now())}`,
      kind: 'oidc',
      issuer: 'http://127.0.0.1:24599',
      clientId: 'x',
      clientSecret: 'y',
    });
    const browser = visitor();
    for (let turn = 0; turn < 3; turn++) {
      const login = await browser.open('/account');
      const action = `/interaction/${login.url.pathname.split('/')[2]}/provider`;
      expect((await browser.submit(action, { identity_provider: id })).response?.status).to.equal(503);
    }
    const lines = linesOf(/OUTBOUND_ALLOW/);
    expect(lines).to.have.lengthOf(1);
    expect(lines[0]).to.contain('127.0.0.1');
  });

  it('of a wildcard says that there are none, in every field that takes an address of an app', async () => {
    const { id } = await app.directory.organizations.create({ name: 'Acme' });
    const client = await app.client();
    await app.directory.permissions.create({ name: 'read', description: 'Read' });
    const wrong = [
      ['app', 'create', '--name', 'x', '--redirect-uri', 'https://*.example.com/cb'],
      ['app', 'create', '--name', 'x', '--post-logout-redirect-uri', 'https://example.com/*'],
      ['app', 'sso', client.id, '--organization', id, '--permission', 'read', '--next-origin', 'https://*.example.com'],
    ];
    for (const args of wrong) {
      const { status, stderr } = await shell(store, args);
      expect(status).to.equal(1);
      expect(stderr, args.join(' ')).to.contain('no wildcards');
    }
  });
});
