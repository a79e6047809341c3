/** An e-mail that only a partner's app said is held until somebody proves it: then it moves, and nothing else does. */
import { expect } from 'chai';
import {
  onEachEngine,
  PASSWORD,
  startApp,
  startProcess,
  type TestApp,
  type TestProcess,
  type TestStore,
} from './support/app.ts';
import { type Browser, createBrowser } from './support/browser.ts';
import { FAKES_ALLOWED } from './support/exchange.ts';
import { formOf, walk } from './support/flow.ts';
import { arrive, askAsPartner, loginPath, type Partner, partnerApp } from './support/partner.ts';
import { type Providers, signInWith, startProviders } from './support/provider-sign-in.ts';
import { shell, shellJson } from './support/shell.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let providers: Providers;
  let administrator: Browser;
  let partner: Partner;
  let other: TestProcess | undefined;

  before(async () => {
    [store, providers] = await Promise.all([openStore(), startProviders()]);
    app = await startApp(store, FAKES_ALLOWED);
    await providers.register(app.directory);
    await app.directory.identityProviders.update('openid', { newPeople: { policy: 'active' } });
    partner = await partnerApp(app.directory);
    administrator = createBrowser(app.issuer);
    await walk(administrator, `${app.issuer}/admin`, await app.person({ administrator: true }));
  });
  afterEach(async () => {
    await other?.kill('SIGKILL');
    other = undefined;
  });
  after(async () => {
    await app.close();
    await providers.close();
    await store.remove();
  });

  let count = 0;
  const newEmail = () => `named${++count}@partner.example`;

  /** What the partner gets for its user. */
  const ask = (email: string, { path = 'token', by = partner } = {}) =>
    askAsPartner(app.issuer, path, by, { email, first_name: 'Named' });

  /** Somebody whom the partner has named. */
  async function named(email: string) {
    const { status, body, text } = await ask(email, { path: 'access-token' });
    expect(status, text).to.equal(200);
    return { ...(await app.directory.accounts.getOrFail(email)), accessToken: String(body.access_token) };
  }

  const proveAtProvider = (email: string) =>
    signInWith({ browser: createBrowser(app.issuer), person: providers.somebody({ email }), provider: 'openid' });

  const typesOf = async (accountId: string) =>
    (await app.directory.audit.list({ accountId })).events.map(({ type }) => type);

  async function makeOnPage(email: string) {
    const path = '/admin/accounts/new';
    const { text } = await administrator.open(path);
    const { form = '' } = formOf(text.slice(text.indexOf(`action="${path}"`) - 60)).fields;
    const { url } = await administrator.submit(path, { form, email });
    expect(url.pathname).to.match(/^\/admin\/accounts\/[0-9a-f-]{36}$/);
  }

  const PROOFS: Record<string, (email: string) => Promise<unknown>> = {
    'a provider that verified it': proveAtProvider,
    'the shell': (email) => shellJson(store, 'account', 'create', '--email', email, '--password', PASSWORD),
    'an administrator’s form': makeOnPage,
    'an app that may vouch for e-mails, in another organization': async (email) => {
      const by = await partnerApp(app.directory, { sso: { vouchesForEmail: true } });
      expect((await ask(email, { by })).status).to.equal(200);
    },
  };
  for (const [who, prove] of Object.entries(PROOFS)) {
    it(`goes to the person of ${who}, and the account that had it keeps all else`, async () => {
      const email = newEmail();
      const { accessToken, ...before } = await named(email);
      expect(before).to.include({ emailVerified: false, emailSaidBy: partner.id });
      await prove(email);
      const owner = await app.directory.accounts.getOrFail(email);
      expect(owner.id).not.to.equal(before.id);
      expect(owner.emailSaidBy).to.equal(undefined);
      const { email: _, updatedAt, ...kept } = before;
      const after = await app.directory.accounts.get(before.id);
      expect(after).to.deep.include({ ...kept, email: '', emailGivenUp: email });
      expect(await typesOf(before.id)).to.include('email_given_up');
      const { events } = await app.directory.audit.list({ accountId: owner.id });
      expect(events.find(({ type }) => type === 'account_created')?.detail).to.deep.equal({ email_from: before.id });

      const headers = { authorization: `Bearer ${accessToken}` };
      const verified = await fetch(`${app.issuer}/verify`, { headers });
      expect([
        verified.status,
        verified.headers.get('x-auth-subject'),
        verified.headers.get('x-auth-email'),
      ]).to.deep.equal([200, before.id, '']);
      const me = (await (await fetch(`${app.issuer}/api/me`, { headers })).json()) as Record<string, unknown>;
      expect(me).to.include({ sub: before.id, name: 'Named' }).and.not.to.have.property('email');
    }).timeout(60_000);
  }

  it('is still how the organization’s apps name the account that had it, and never its owner', async () => {
    const email = newEmail();
    const { id } = await named(email);
    // In the same organization, whose apps would sign its people in.
    const { organizationId } = partner;
    const owner = await app.directory.accounts.create({ email, emailVerified: true, organizationId });
    const colleague = await partnerApp(app.directory, { organizationId });
    for (const by of [partner, colleague]) {
      const { status, body } = await ask(email, { by });
      expect(status).to.equal(200);
      const visitor = createBrowser(app.issuer);
      await arrive(visitor, loginPath(String(body.access_token), `${app.issuer}/account`));
      const { text } = await visitor.open('/account');
      expect(text).to.contain('No e-mail').and.not.to.contain(email);
    }
    expect(await app.directory.sessions.list(owner.id)).to.deep.equal([]);
    expect(await app.directory.sessions.list(id)).to.have.lengthOf(2);
    expect((await ask(email, { path: 'logout' })).status).to.equal(204);
    expect(await app.directory.sessions.list(id)).to.have.lengthOf(1);

    await app.directory.accounts.remove(owner.id);
    expect((await ask(email)).status).to.equal(200);
    expect(await app.directory.accounts.findByEmail(email), 'no second account is made').to.equal(undefined);
  });

  it('stays where somebody who may say so has said that it is theirs, and where nobody proves it', async () => {
    const vouching = await partnerApp(app.directory, { sso: { vouchesForEmail: true } });
    const [vouched, marked, unproven, early] = [newEmail(), newEmail(), newEmail(), newEmail()];
    expect((await ask(vouched, { by: vouching })).status).to.equal(200);
    await shellJson(store, 'account', 'verify-email', (await named(marked)).id);
    await named(unproven);
    // As accounts were written before it was written down who said the e-mail.
    await app.directory.accounts.create({ email: early, organizationId: partner.organizationId });
    expect((await ask(unproven, { by: await partnerApp(app.directory) })).status, 'another app’s word').to.equal(403);
    for (const email of [vouched, marked, early, unproven]) {
      const before = await app.directory.accounts.getOrFail(email);
      const person = providers.somebody({ email, unverified: email === unproven });
      await signInWith({ browser: createBrowser(app.issuer), person, provider: 'openid' });
      const after = await app.directory.accounts.getOrFail(email);
      expect(after.id).to.equal(before.id);
    }
  }).timeout(60_000);

  it('is shown to administrators as what it is: in the list, on the person’s page and in the shell', async () => {
    const email = newEmail();
    const { id } = await named(email);
    const list = () => administrator.open(`/admin/accounts?q=${encodeURIComponent(email)}`);
    expect((await list()).text).to.contain(`${email}, by an app’s word`);
    expect((await administrator.open(`/admin/accounts/${id}`)).text).to.contain(
      'said by the app Acme Portal, not proven',
    );
    expect(await shellJson(store, 'account', 'show', id)).to.include({ email, email_said_by: partner.id });

    await proveAtProvider(email);
    expect((await list()).text)
      .to.contain(`/admin/accounts/${id}"`)
      .and.to.contain('No e-mail');
    expect((await administrator.open(`/admin/accounts/${id}`)).text).to.contain(`None: ${email}`);
    expect((await administrator.open(`/admin/accounts/${id}/edit`)).text).not.to.contain('name="email_verified"');
    const shown = await shellJson(store, 'account', 'show', id);
    expect(shown).to.include({ email_given_up: email, email_verified: false }).and.not.to.have.property('email');
    const { status, stderr } = await shell(store, ['account', 'verify-email', id]);
    expect([status, stderr]).to.deep.equal([1, 'the account has no e-mail: somebody else proved it to be theirs\n']);
    expect(await shellJson(store, 'account', 'delete', id)).to.deep.equal({ id, status: 'deleted' });
    expect((await app.directory.accounts.getOrFail(email)).emailVerified).to.equal(true);
  }).timeout(60_000);

  it('is one account’s, whoever proves and names it at the same moment in two processes', async () => {
    other = await startProcess(store, { ISSUER: app.issuer });
    const servers = [app.issuer, other.url];
    for (let round = 0; round < 8; round++) {
      const email = newEmail();
      const isNamedBefore = round % 2 === 0;
      if (isNamedBefore) await named(email);
      const calls = Array.from({ length: 6 }, (_, index) =>
        askAsPartner(servers[index % 2] ?? '', 'token', partner, { email }).then(({ status }) => status),
      );
      const [owner, statuses] = await Promise.all([
        app.directory.accounts.create({ email, emailVerified: true }),
        Promise.all(calls),
      ]);
      expect((await app.directory.accounts.getOrFail(email)).id).to.equal(owner.id);
      const { accounts } = await app.directory.accounts.list({ organizationId: partner.organizationId, limit: 10_000 });
      const theirs = accounts.filter((account) => [account.email, account.emailGivenUp].includes(email));
      expect(theirs.map((account) => account.email)).to.deep.equal(theirs.length === 0 ? [] : ['']);
      // Without an account of theirs the owner is outside the organization.
      const after = (await ask(email)).status;
      expect(after).to.equal(theirs.length === 0 ? 403 : 200);
      // Refused where the owner was there first; nowhere does a sign-in fail for who came at the same moment.
      const possible = isNamedBefore ? [200] : [200, 403];
      expect(possible, String(statuses)).to.include.members(statuses);
    }
  }).timeout(60_000);
});
