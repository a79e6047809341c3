import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { exportJWK, generateKeyPair } from 'jose';
import { embeddedStore, PASSWORD, startApp, type TestApp, type TestStore } from './support/app.ts';
import { createFlows, type Flows } from './support/flow.ts';
import { formFields } from './support/partner.ts';
import { shell, shellJson } from './support/shell.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

describe('the shell, while the server runs', function () {
  this.timeout(30_000);

  let store: TestStore;
  let app: TestApp;
  let flows: Flows;

  before(async () => {
    store = await embeddedStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  const json = (...args: string[]) => shellJson(store, ...args);

  it('makes a person, an organization, a permission and an app that work at the next request', async () => {
    const [organization, permission] = await Promise.all([
      json('organization', 'create', '--name', 'Acme'),
      json('permission', 'create', 'reports', '--description', 'Read your reports'),
    ]);
    expect(organization).to.deep.equal({ id: organization.id, name: 'Acme' });
    expect(permission).to.deep.equal({ name: 'reports' });

    const names = ['--given-name', 'Ada', '--family-name', 'Lovelace'];
    const member = ['--organization', String(organization.id), '--permission', 'reports'];
    const [person, client] = await Promise.all([
      json('account', 'create', '--email', 'Ada@Example.com', '--password', PASSWORD, ...names, ...member),
      json(
        'app',
        'create',
        '--name',
        'Reader',
        '--redirect-uri',
        'https://app.example.com/cb',
        '--permission',
        'reports',
      ),
    ]);
    expect(person).to.include({ email: 'ada@example.com', givenName: 'Ada', status: 'active', administrator: false });
    expect(person.id).to.match(UUID);
    expect(JSON.stringify(person)).not.to.match(/argon2|passwordHash/);
    expect(client).to.have.all.keys('client_id', 'client_secret');

    const reader = {
      id: String(client.client_id),
      secret: String(client.client_secret),
      redirectUri: 'https://app.example.com/cb',
    };
    const visit = { client: reader, person: { email: 'ada@example.com', password: PASSWORD } };
    const tokens = await flows.tokens({ ...visit, params: { scope: 'openid profile reports' } });
    expect(tokens.scope).to.equal('openid profile reports');
    expect(tokens.claims()).to.deep.include({ sub: person.id, name: 'Ada Lovelace', organization });
  });

  it('suspends, revives, approves and deletes an account by id or e-mail, effective at once', async () => {
    const client = await app.client();
    const person = await app.person({ status: 'pending' });
    expect(await json('account', 'approve', person.email)).to.deep.equal({ id: person.id, status: 'active' });
    const { access_token: token } = await flows.tokens({ client, person });
    expect((await flows.userinfo(token)).status).to.equal(200);
    expect(await json('account', 'disable', person.id)).to.deep.equal({ id: person.id, status: 'disabled' });
    expect((await flows.userinfo(token)).status).to.equal(401);
    expect(await json('account', 'enable', person.email.toUpperCase())).to.deep.equal({
      id: person.id,
      status: 'active',
    });
    expect((await flows.userinfo(token)).status).to.equal(401);
    expect(await json('account', 'delete', person.id)).to.deep.equal({ id: person.id, status: 'deleted' });
    const gone = await shell(store, ['account', 'disable', person.email]);
    expect(gone).to.include({ status: 1, stdout: '' });
  });

  it('makes every kind of app', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'latchkey-cli-'));
    const jwks = join(directory, 'jwks.json');
    const { publicKey } = await generateKeyPair('ES256', { extractable: true });
    await writeFile(jwks, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' }] }));
    const uri = ['--redirect-uri', 'https://app.example.com/cb', '--redirect-uri', 'https://app.example.com/cb2'];
    const goodbye = ['--post-logout-redirect-uri', 'https://app.example.com/bye'];
    const [spa, service, api, trusted, signer] = await Promise.all([
      json('app', 'create', '--name', 'Page', '--public', '--implicit', ...uri, ...goodbye),
      json('app', 'create', '--name', 'Service', '--client-credentials'),
      json('app', 'create', '--name', 'API', '--introspection'),
      json(
        'app',
        'create',
        '--name',
        'Ours',
        '--trusted',
        ...uri,
        '--backchannel-logout-uri',
        'https://app.example.com/out',
      ),
      json('app', 'create', '--name', 'Signer', ...uri, '--jwks', jwks),
    ]);
    await rm(directory, { recursive: true });
    const record = (made: Record<string, unknown> | undefined) => app.directory.clients.get(String(made?.client_id));

    expect(spa?.client_secret).to.equal(null);
    expect(await record(spa)).to.include({ public: true, implicit: true });
    expect(await record(spa)).to.deep.include({
      redirectUris: ['https://app.example.com/cb', 'https://app.example.com/cb2'],
      postLogoutRedirectUris: ['https://app.example.com/bye'],
    });
    const secret = String(service?.client_secret);
    expect(secret).to.have.length.above(40);
    expect(JSON.stringify(await record(service))).not.to.contain(secret);
    expect(await record(service)).to.include({ clientCredentials: true });
    expect(await record(api)).to.include({ introspection: true });
    expect(await record(trusted)).to.include({ trusted: true, backchannelLogoutUri: 'https://app.example.com/out' });
    expect(signer?.client_secret).to.equal(null);
  });

  it('makes an identity provider that people can sign in with at the next request, or that only apps use', async () => {
    const make = (id: string, ...more: string[]) =>
      json('identity-provider', 'create', id, '--kind', 'github', '--client-id', 'x', '--client-secret', 'y', ...more);
    const [made] = await Promise.all([
      make('hub', '--name', 'Hub', '--new-people', 'pending'),
      make('quiet', '--name', 'Quiet', '--no-sign-in'),
    ]);
    expect(made).to.deep.equal({ id: 'hub' });
    const { text } = await flows.browser().open('/account');
    expect(text).to.contain('Continue with Hub').and.not.to.contain('Continue with Quiet');
    const provider = await app.directory.identityProviders.get('hub');
    expect(provider?.newPeople).to.deep.equal({ policy: 'pending' });
    const wrong = await shell(store, ['identity-provider', 'create', 'z', '--kind', 'google', '--new-people', 'all']);
    expect(wrong).to.include({ status: 1, stdout: '' });
  });

  it('lets an app sign people in within ceilings, which hold at the next request', async () => {
    const { id: organization } = await json('organization', 'create', '--name', 'Partner');
    await json('permission', 'create', 'orders', '--description', 'Read your orders');
    const made = await json('app', 'create', '--name', 'Portal', '--redirect-uri', 'https://portal.example.com/cb');
    const [id, secret] = [String(made.client_id), String(made.client_secret)];
    const partner = { id, secret, organizationId: String(organization) };
    const post = async (email: string, permissions: string) => {
      const body = new URLSearchParams(formFields(partner, { email, permissions }));
      return (await fetch(`${app.issuer}/sso/token`, { method: 'POST', body })).status;
    };
    expect(await post('uma@partner.example', '')).to.equal(401);

    const narrow = ['--permission', 'orders', '--next-origin', 'https://help.example.com/'];
    const ceiling = ['--email-domain', 'Partner.example', '--rate', '3'];
    const allowed = await json('app', 'sso', id, '--organization', String(organization), ...narrow, ...ceiling);
    expect(allowed).to.deep.equal({
      client_id: id,
      organizations: [organization],
      email_domains: ['partner.example'],
      permissions: ['orders'],
      creates_people: true,
      next_origins: ['https://help.example.com'],
      rate_per_minute: 3,
    });
    expect(await post('uma@partner.example', 'orders')).to.equal(200);
    expect(await post('uma@elsewhere.example', '')).to.equal(403);
    expect(await post('uma@partner.example', 'tokens')).to.equal(400);
    expect(await post('uma@partner.example', '')).to.equal(429);

    const wrong: Record<string, string[]> = {
      organization: ['--organization', 'nowhere', '--permission', 'orders'],
      permission: ['--organization', String(organization), '--permission', 'unheard-of'],
      tokens: ['--organization', String(organization), '--permission', 'tokens'],
      rate: ['--organization', String(organization), '--permission', 'orders', '--rate', 'often'],
      origin: ['--organization', String(organization), '--permission', 'orders', '--next-origin', 'http://a.example'],
      domain: ['--organization', String(organization), '--permission', 'orders', '--email-domain', '@a.example'],
    };
    await Promise.all(
      Object.entries(wrong).map(async ([name, args]) => {
        const { status, stderr } = await shell(store, ['app', 'sso', id, ...args]);
        expect([status, stderr.trim().split('\n').length], `${name}: ${stderr}`).to.deep.equal([1, 1]);
      }),
    );
    const { sso } = (await app.directory.clients.get(id)) ?? {};
    expect(sso, 'as it was').to.include({ ratePerMinute: 3 });
    expect(await json('app', 'sso-end', id)).to.deep.equal({ client_id: id });
    expect(await post('uma@partner.example', ''), 'the right is gone').to.equal(401);
    const open = await json('app', 'create', '--name', 'SPA', '--public', '--redirect-uri', 'https://spa.example/cb');
    const { status } = await shell(store, ['app', 'sso', String(open.client_id), ...(wrong.organization ?? [])]);
    expect(status, 'an app without a secret').to.equal(1);
  });

  it('makes administrators, and says in plain text what it says in JSON', async () => {
    const args = ['account', 'create', '--email', 'root@example.com', '--password', PASSWORD, '--admin', '--pending'];
    const { status, stdout, stderr } = await shell(store, args);
    expect({ status, stderr }).to.deep.equal({ status: 0, stderr: '' });
    expect(stdout).to.contain('email: root@example.com').and.to.contain('status: pending').and.not.to.contain(PASSWORD);
    expect(stdout).to.contain('administrator: true');
  });

  it('takes --json before the command, too, and then prints one value and nothing else', async () => {
    const { stdout, stderr, status } = await shell(store, ['--json', 'organization', 'create', '--name', 'One']);
    expect({ stderr, status }).to.deep.equal({ stderr: '', status: 0 });
    expect(stdout.trim().split('\n')).to.have.length(1);
    expect(JSON.parse(stdout)).to.have.all.keys('id', 'name');
  });

  it('says what failed in one line on stderr, and exits 1', async () => {
    const taken = (await app.person()).email;
    const create = ['account', 'create', '--password', PASSWORD, '--email'];
    const cases: [args: string[], said: RegExp][] = [
      [[...create, taken], /e-mail/],
      [['account', 'create', '--email', 'a@example.com', '--password', 'short'], /password/],
      [[...create, 'b@example.com', '--permission', 'unheard.of'], /permission "unheard.of"/],
      [[...create, 'c@example.com', '--organization', 'nowhere'], /organization/],
      [['account', 'disable', 'nobody@example.com'], /no such account/],
      [['permission', 'create', 'Bad Name', '--description', 'x'], /name/],
      [['app', 'create', '--name', 'x', '--redirect-uri', 'javascript:alert(1)'], /redirect_uri/],
      [['app', 'create', '--name', 'x', '--public', '--client-credentials'], /secret/],
      [['app', 'create', '--name', 'x', '--jwks', '/nowhere.json'], /nowhere/],
    ];
    const printed = await Promise.all(cases.map(([args]) => shell(store, [...args, '--json'])));
    for (const [index, { status, stdout, stderr }] of printed.entries()) {
      const [args, said] = cases[index] ?? [[], /./];
      expect({ status, stdout }, args.join(' ')).to.deep.equal({ status: 1, stdout: '' });
      expect(stderr, args.join(' '))
        .to.match(said)
        .and.to.match(/^[^\n]+\n$/)
        .and.not.to.contain(PASSWORD);
    }
  });

  it('exits 2 when it is used wrongly, and explains itself when asked', async () => {
    const wrong = [
      ['accounts'],
      ['account', 'create', '--email', 'a@example.com'],
      ['permission', 'create', 'x'],
      ['app', 'create', '--unheard-of'],
      ['keys'],
      [],
    ];
    const [help, ...printed] = await Promise.all([['--help'], ...wrong].map((args) => shell(store, args)));
    for (const [index, { status, stdout, stderr }] of printed.entries()) {
      expect({ status, stdout }, wrong[index]?.join(' ')).to.deep.equal({ status: 2, stdout: '' });
      expect(stderr)
        .not.to.equal('')
        .and.not.to.match(/\n\s+at /);
    }
    expect(help?.status).to.equal(0);
    expect(help?.stdout).to.contain('account').and.to.contain('keys');
  });

  it('says in one line that the store or a setting is at fault', async () => {
    const [unreachable, unset] = await Promise.all([
      shell({ storeUrl: 'redis://127.0.0.1:1' }, ['organization', 'create', '--name', 'x', '--json']),
      shell({ storeUrl: 'carrier-pigeon:' }, ['organization', 'create', '--name', 'x', '--json']),
    ]);
    for (const { status, stdout, stderr } of [unreachable, unset]) {
      expect({ status, stdout }).to.deep.equal({ status: 1, stdout: '' });
      expect(stderr).to.match(/^[^\n]+\n$/);
    }
    expect(unset.stderr).to.contain('STORE_URL');
  });
});
