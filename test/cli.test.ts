import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { exportJWK, generateKeyPair } from 'jose';
import { embeddedStore, PASSWORD, startApp, type TestApp, type TestStore } from './support/app.ts';
import { createBrowser } from './support/browser.ts';
import { createFlows, type Flows, walk } from './support/flow.ts';
import { formFields } from './support/partner.ts';
import { shell, shellJson } from './support/shell.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

describe('the shell, while the server runs', function () {
  this.timeout(60_000);

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
    expect(person).to.include({ email: 'ada@example.com', given_name: 'Ada', status: 'active', administrator: false });
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
      json('app', 'create', '--name', 'Service', '--client-credentials', '--no-refresh-token-rotation'),
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
    const lasting = await shell(store, ['app', 'create', '--name', 'Page', '--public', '--no-refresh-token-rotation']);
    expect(lasting.status).to.equal(1);
    expect(lasting.stderr).to.contain('cannot keep its refresh tokens');
    expect(await record(spa)).to.deep.include({
      redirectUris: ['https://app.example.com/cb', 'https://app.example.com/cb2'],
      postLogoutRedirectUris: ['https://app.example.com/bye'],
    });
    const secret = String(service?.client_secret);
    expect(secret).to.have.length.above(40);
    expect(JSON.stringify(await record(service))).not.to.contain(secret);
    expect(await record(service)).to.include({ clientCredentials: true, refreshTokenRotation: false });
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

  describe('each kind of thing', () => {
    /** Names on the wire, at every depth. */
    function namesIn(value: unknown): string[] {
      if (Array.isArray(value)) return value.flatMap(namesIn);
      if (typeof value !== 'object' || value === null) return [];
      return Object.entries(value).flatMap(([name, inner]) => [name, ...namesIn(inner)]);
    }
    const list = async (...args: string[]) => {
      const found: unknown = await json(...args);
      return found as Record<string, unknown>[];
    };

    it('an account is shown, listed, searched, changed and emptied, without a secret, in snake_case', async () => {
      const { id: organization } = await json('organization', 'create', '--name', 'People');
      await json('permission', 'create', 'people.read', '--description', 'Read people');
      const names = ['--given-name', 'Grace', '--family-name', 'Hopper', '--preferred-username', 'grace'];
      const held = ['--permission', 'people.read', '--permission', 'tokens', '--email-verified'];
      const there = ['--organization', String(organization)];
      const email = ['--email', 'grace@people.example', '--password', PASSWORD];
      const made = await json('account', 'create', ...email, ...names, ...held, ...there);
      expect(made).to.deep.include({
        email_verified: true,
        preferred_username: 'grace',
        organization,
        permissions: ['people.read'],
      });
      expect(await json('account', 'show', 'GRACE@people.example')).to.deep.equal(made);
      expect(await list('account', 'list', '--search', 'hopper')).to.deep.equal([made]);
      expect(await list('account', 'list', '--organization', String(organization))).to.deep.equal([made]);
      const changed = await json(
        ...['account', 'update', String(made.id), '--family-name', 'Murray', '--no-given-name', '--no-organization'],
        ...['--no-permission', '--no-email-verified'],
      );
      expect(changed).to.deep.include({ family_name: 'Murray', permissions: [], email_verified: false });
      expect(changed).to.not.have.any.keys('given_name', 'organization');
      expect(changed.preferred_username, 'what was not mentioned stays').to.equal('grace');
      expect(await json('account', 'verify-email', String(made.id))).to.deep.equal({
        id: made.id,
        email_verified: true,
      });
      for (const name of namesIn([made, changed])) expect(name).to.match(/^[a-z0-9_]+$/);
      expect(JSON.stringify([made, changed])).not.to.match(/argon2/);
    });

    it('a list goes on where it ended, and ends where it is told to', async () => {
      for (let n = 0; n < 3; n++) await app.person();
      const all = await list('account', 'list');
      expect(all.length).to.be.above(2);
      const ids = all.map(({ id }) => id);
      expect((await list('account', 'list', '--limit', '2')).map(({ id }) => id)).to.deep.equal(ids.slice(0, 2));
      const rest = await list('account', 'list', '--after', String(ids[1]));
      expect(rest.map(({ id }) => id)).to.deep.equal(ids.slice(2));
      expect(await list('account', 'list', '--search', 'nobody-is-called-so')).to.deep.equal([]);
      for (const limit of ['0', '-1', 'many', '1.5'])
        expect((await shell(store, ['account', 'list', '--limit', limit])).status, limit).to.equal(2);
    });

    it('an organization is shown, listed, renamed, and deleted when nobody belongs to it', async () => {
      const made = await json('organization', 'create', '--name', 'Harbor');
      const id = String(made.id);
      const renamed = await json('organization', 'update', id, '--name', 'Harbour');
      expect(renamed).to.include({ id, name: 'Harbour' });
      expect(await json('organization', 'show', id)).to.deep.equal(renamed);
      expect(await list('organization', 'list', '--search', 'harbour')).to.deep.equal([renamed]);
      const person = await app.person({ organizationId: id });
      const full = await shell(store, ['organization', 'delete', id]);
      expect(full).to.include({ status: 1, stdout: '' });
      expect(full.stderr)
        .to.contain(person.id)
        .and.to.match(/^[^\n]+\n$/);
      await app.directory.accounts.remove(person.id);
      expect(await json('organization', 'delete', id)).to.deep.equal({ id, status: 'deleted' });
      expect((await shell(store, ['organization', 'show', id])).status).to.equal(1);
    });

    it('a permission is listed, reworded, and taken from everybody when it is deleted, at the next request', async () => {
      await json('permission', 'create', 'gone.soon', '--description', 'Go soon');
      expect(await json('permission', 'update', 'gone.soon', '--description', 'Leave')).to.include({
        name: 'gone.soon',
        description: 'Leave',
      });
      expect(await list('permission', 'list', '--search', 'gone')).to.have.lengthOf(1);
      const person = await app.person({ permissions: ['gone.soon'] });
      const client = await app.client({ permissions: ['gone.soon'] });
      const { access_token: token } = await flows.tokens({ client, person, params: { scope: 'openid gone.soon' } });
      const scopeOf = async () =>
        (await fetch(`${app.issuer}/verify`, { headers: { authorization: `Bearer ${token}` } })).headers.get(
          'x-auth-scope',
        );
      expect(await scopeOf()).to.contain('gone.soon');
      expect(await json('permission', 'delete', 'gone.soon')).to.deep.equal({ name: 'gone.soon', status: 'deleted' });
      expect(await scopeOf()).not.to.contain('gone.soon');
      expect((await app.directory.accounts.getOrFail(person.id)).permissions).to.deep.equal([]);
      await json('permission', 'create', 'gone.soon', '--description', 'Back');
      expect(await scopeOf(), 'made again, it is nobody’s').not.to.contain('gone.soon');
    });

    it('an app is shown, listed, changed, stopped, started and deleted', async () => {
      const made = await json('app', 'create', '--name', 'Ledger', '--redirect-uri', 'https://ledger.example/cb');
      const id = String(made.client_id);
      const shown = await json('app', 'show', id);
      expect(shown).to.deep.include({ client_id: id, name: 'Ledger', redirect_uris: ['https://ledger.example/cb'] });
      expect(JSON.stringify(shown)).not.to.contain(String(made.client_secret));
      for (const name of namesIn(shown)) expect(name).to.match(/^[a-z0-9_]+$/);
      const uris = ['--redirect-uri', 'https://ledger.example/a', '--redirect-uri', 'https://ledger.example/b'];
      const changed = await json('app', 'update', id, '--name', 'Books', ...uris, '--trusted');
      expect(changed).to.deep.include({
        name: 'Books',
        trusted: true,
        redirect_uris: ['https://ledger.example/a', 'https://ledger.example/b'],
      });
      expect(await json('app', 'update', id, '--no-trusted')).to.include({ trusted: false, name: 'Books' });
      expect((await list('app', 'list', '--search', 'ledger.example')).map((one) => one.client_id)).to.include(id);
      expect(await json('app', 'disable', id)).to.deep.equal({ client_id: id, status: 'disabled' });
      expect((await json('app', 'show', id)).status).to.equal('disabled');
      expect(await json('app', 'enable', id)).to.deep.equal({ client_id: id, status: 'active' });
      expect(await json('app', 'delete', id)).to.deep.equal({ client_id: id, status: 'deleted' });
      expect((await shell(store, ['app', 'show', id])).status).to.equal(1);
    });

    it('an app has two secrets while it changes from one to the other, and its tokens are listed without them', async () => {
      const made = await json('app', 'create', '--name', 'Service', '--client-credentials');
      const id = String(made.client_id);
      const [first] = (await json('app', 'show', id)).secrets as { id: string }[];
      const second = await json('app', 'secret', 'create', id);
      const works = async (secret: unknown) => {
        const body = new URLSearchParams({ grant_type: 'client_credentials' });
        const authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
        const answer = await fetch(`${app.issuer}/identity/token`, {
          method: 'POST',
          body,
          headers: { authorization },
        });
        return answer.status === 200;
      };
      expect([await works(made.client_secret), await works(second.client_secret)]).to.deep.equal([true, true]);
      expect(await json('app', 'secret', 'revoke', id, String(first?.id))).to.deep.equal({
        client_id: id,
        id: first?.id,
      });
      expect([await works(made.client_secret), await works(second.client_secret)]).to.deep.equal([false, true]);
      const only = await shell(store, ['app', 'secret', 'revoke', id, String(second.id)]);
      expect(only).to.include({ status: 1, stdout: '' });

      await json('identity-provider', 'create', 'tokens-of', '--kind', 'google', '--client-id', 'x');
      const token = await json('app', 'token', 'create', id, '--identity-provider', 'tokens-of');
      const listed = await list('app', 'token', 'list', id);
      expect(listed).to.have.lengthOf(1);
      expect(listed[0]).to.include({ id: token.id, identity_provider: 'tokens-of' });
      expect(JSON.stringify(listed)).not.to.contain(String(token.token));
    });

    it('an app keeps the id and the secret that another system knows it by', async () => {
      const [id, secret] = ['legacy-shop', 'the secret of the old system'];
      const create = ['app', 'create', '--name', 'Shop', '--client-credentials', '--client-id', id];
      const made = await shell(store, [...create, '--client-secret-stdin', '--json'], {}, `${secret}\n`);
      expect(JSON.parse(made.stdout)).to.deep.equal({ client_id: id, client_secret: secret });
      const body = new URLSearchParams({ grant_type: 'client_credentials', client_id: id, client_secret: secret });
      expect((await fetch(`${app.issuer}/identity/token`, { method: 'POST', body })).status).to.equal(200);
      const refused = [
        [...create, '--client-secret-stdin'],
        ['app', 'create', '--name', 'x', '--client-id', 'latchkey-console'],
        ['app', 'create', '--name', 'x', '--client-id', '../x'],
        ['app', 'create', '--name', 'x', '--public', '--client-secret-stdin'],
      ];
      for (const args of refused) {
        const { status, stdout, stderr } = await shell(store, args, {}, secret);
        expect({ status, stdout }, args.join(' ')).to.deep.equal({ status: 1, stdout: '' });
        expect(stderr)
          .to.match(/^[^\n]+\n$/)
          .and.not.to.contain(secret);
      }
      const short = await shell(store, ['app', 'create', '--name', 'x', '--client-secret-stdin'], {}, 'short');
      expect(short.stderr).to.contain('client_secret').and.to.contain('16');
    });

    it('an identity provider is shown, listed, changed and deleted, without its secret', async () => {
      const keys = ['--client-id', 'ours', '--client-secret', 'their secret'];
      await json('identity-provider', 'create', 'corp', '--kind', 'oidc', '--issuer', 'https://corp.example', ...keys);
      const shown = await json('identity-provider', 'show', 'corp');
      expect(shown).to.include({ id: 'corp', kind: 'oidc', client_id: 'ours', sign_in: true, new_people: 'refuse' });
      const { id: organization } = await json('organization', 'create', '--name', 'Corp');
      const change = ['identity-provider', 'update', 'corp', '--name', 'Corp', '--no-sign-in'];
      const people = ['--new-people', 'active', '--organization', String(organization)];
      const changed = await json(...change, ...people);
      expect(changed).to.include({ name: 'Corp', sign_in: false, new_people: 'active', organization });
      expect(await json('identity-provider', 'update', 'corp', '--new-people', 'pending')).to.include({
        new_people: 'pending',
        organization,
      });
      expect(await list('identity-provider', 'list', '--search', 'corp.example')).to.have.lengthOf(1);
      for (const name of namesIn(changed)) expect(name).to.match(/^[a-z0-9_]+$/);
      expect(JSON.stringify([shown, changed]))
        .not.to.contain('their secret')
        .and.not.to.match(/sealed/i);
      expect(await json('identity-provider', 'delete', 'corp')).to.deep.equal({ id: 'corp', status: 'deleted' });
      expect((await shell(store, ['identity-provider', 'show', 'corp'])).status).to.equal(1);
    });
  });

  it('keeps the last active administrator, whichever way they would go, and lets go of any other', async () => {
    const own = await embeddedStore();
    const run = (...args: string[]) => shell(own, args);
    const create = (email: string, ...more: string[]) =>
      run('account', 'create', '--password', PASSWORD, '--email', email, ...more);
    await create('one@example.com', '--admin');
    await create('person@example.com');
    await create('waiting@example.com', '--admin', '--pending');
    const ends = [
      ['account', 'delete', 'one@example.com'],
      ['account', 'disable', 'one@example.com'],
      ['account', 'update', 'one@example.com', '--no-admin'],
    ];
    for (const args of ends) {
      const { status, stdout, stderr } = await run(...args);
      expect({ status, stdout }, args.join(' ')).to.deep.equal({ status: 1, stdout: '' });
      expect(stderr).to.match(/^[^\n]*last active administrator[^\n]*\n$/);
    }
    expect((await run('account', 'disable', 'person@example.com')).status).to.equal(0);
    await run('account', 'approve', 'waiting@example.com');
    const both = await Promise.all(
      ['one', 'waiting'].map((name) => run('account', 'update', `${name}@example.com`, '--no-admin')),
    );
    expect(both.map(({ status }) => status).toSorted(), 'two who stop each other at once').to.deep.equal([0, 1]);
    const listed = JSON.parse((await run('account', 'list', '--json')).stdout) as { administrator: boolean }[];
    expect(listed.filter(({ administrator }) => administrator)).to.have.lengthOf(1);
    await own.remove();
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
      [['account', 'disable', 'nobody@example.com'], /^there is no account "nobody@example.com"$/m],
      [['account', 'show', 'nobody'], /^there is no account "nobody"$/m],
      [['app', 'show', 'nothing'], /^there is no app "nothing"$/m],
      [['app', 'secret', 'create', 'nothing'], /^there is no app "nothing"$/m],
      [['organization', 'show', 'nowhere'], /^there is no organization "nowhere"$/m],
      [['permission', 'delete', 'unheard.of'], /^there is no permission "unheard.of"$/m],
      [['identity-provider', 'disable', 'nobody'], /^there is no identity provider "nobody"$/m],
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

  it('names the file of keys that it cannot read', async () => {
    const [folder, create] = [await mkdtemp(join(tmpdir(), 'keys-')), ['app', 'create', '--name', 'x', '--jwks']];
    const file = join(folder, 'broken.json');
    await writeFile(file, '{ "keys": [');
    const { status, stderr } = await shell(store, [...create, file]);
    await rm(folder, { recursive: true });
    expect(status).to.equal(1);
    expect(stderr.slice(0, file.length)).to.equal(file);
  });

  it('gives an account the password on standard input, which ends the sessions begun under the old one', async () => {
    const person = await app.person();
    const browser = createBrowser(app.issuer);
    await walk(browser, `${app.issuer}/account`, person);
    const set = (password: string) => shell(store, ['account', 'set-password', person.email, '--json'], {}, password);
    const refused = await set('short\n');
    expect([refused.status, refused.stderr]).to.deep.equal([1, 'password must have at least 8 characters\n']);
    expect((await browser.open('/account')).url.pathname, 'nothing has changed').to.equal('/account');
    const { status, stdout } = await set('another horse entirely\n');
    expect([status, JSON.parse(stdout)]).to.deep.equal([0, { id: person.id }]);
    expect((await browser.open('/account')).url.pathname).to.match(/^\/interaction\//);
    const landed = await walk(createBrowser(app.issuer), `${app.issuer}/account`, {
      ...person,
      password: 'another horse entirely',
    });
    expect(landed.url.pathname).to.equal('/account');
  });

  it('says in its help what each command does, and takes --json with each', async () => {
    const groups = [
      'account',
      'organization',
      'permission',
      'app',
      'app secret',
      'app token',
      'identity-provider',
      'keys',
    ];
    for (const group of ['', ...groups]) {
      const { status, stdout } = await shell(store, [...group.split(' ').filter(Boolean), '--help']);
      expect(status).to.equal(0);
      expect(stdout).to.contain('--json');
      const [, listed = ''] = stdout.split('Commands:\n');
      for (const line of listed.trimEnd().split('\n'))
        expect(line, group).to.match(/^ {2}\S+( \[options\]| \[command\]| <\S+>)* {2,}\S|^ {10,}\S/);
    }
  }).timeout(30_000);

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
      if (stderr.startsWith('Usage:')) expect(stderr).to.match(/\nerror: no command was given\n$/);
      else expect(stderr).to.match(/^error: [^\n]+; see --help\n$/);
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
