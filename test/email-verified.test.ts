/** What apps are told of an e-mail: that it is somebody's, exactly when it was proven or somebody who may say so did. */
import { expect } from 'chai';
import { onEachEngine, PASSWORD, startApp, type TestApp, type TestStore } from './support/app.ts';
import { type Browser, createBrowser } from './support/browser.ts';
import { createFlows, type Flows, formOf, walk } from './support/flow.ts';
import { askAsPartner, partnerApp } from './support/partner.ts';
import { shellJson } from './support/shell.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let browser: Browser;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    const administrator = await app.person({ administrator: true });
    browser = createBrowser(app.issuer);
    await walk(browser, `${app.issuer}/admin`, administrator);
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  /** What an app gets to know at a sign-in, and from then on. */
  async function toldOf(email: string): Promise<unknown[]> {
    const client = await app.client({ trusted: true });
    const tokens = await flows.tokens({
      client,
      person: { email, password: PASSWORD },
      params: { scope: 'openid email' },
    });
    const userinfo = (await (await flows.userinfo(tokens.access_token)).json()) as Record<string, unknown>;
    return [userinfo.email, userinfo.email_verified];
  }

  it('says so of an account that an administrator makes so from the shell, and no longer when taken back', async () => {
    const create = ['account', 'create', '--password', PASSWORD, '--email'];
    const { id } = await shellJson(store, ...create, 'shell@proven.example', '--email-verified');
    await shellJson(store, ...create, 'shell@unproven.example');
    expect(await toldOf('shell@proven.example')).to.deep.equal(['shell@proven.example', true]);
    expect(await toldOf('shell@unproven.example')).to.deep.equal(['shell@unproven.example', false]);
    await shellJson(store, 'account', 'update', String(id), '--no-email-verified');
    expect(await toldOf('shell@proven.example')).to.deep.equal(['shell@proven.example', false]);
    await shellJson(store, 'account', 'verify-email', String(id));
    expect(await toldOf('shell@proven.example')).to.deep.equal(['shell@proven.example', true]);
  }).timeout(60_000);

  it('says so of an account that an administrator marks in its form, which shows what is', async () => {
    const person = await app.person();
    const path = `/admin/accounts/${person.id}/edit`;
    const formIn = (text: string) => formOf(text.slice(text.indexOf(`action="${path}"`) - 60)).fields;
    const page = await browser.open(path);
    expect(page.text)
      .to.contain('name="email_verified"')
      .and.not.to.match(/name="email_verified"[^>]*checked/);
    const { given_name = '', family_name = '', form = '' } = formIn(page.text);
    const saved = await browser.submit(path, { form, given_name, family_name, email_verified: 'yes' });
    expect(saved.text).to.contain('known to be theirs');
    expect(await toldOf(person.email)).to.deep.equal([person.email, true]);
    const again = await browser.open(path);
    expect(again.text).to.match(/name="email_verified"[^>]*checked/);
    const cleared = await browser.submit(path, { given_name, family_name, form: formIn(again.text).form ?? '' });
    expect(cleared.text).to.contain('not proven to be theirs');
    expect(await toldOf(person.email)).to.deep.equal([person.email, false]);
  });

  it('takes a partner’s word for it where an administrator decided so, also for those whom it named before', async () => {
    const partner = await partnerApp(app.directory);
    const emailVerified = async (email: string) => {
      expect((await askAsPartner(app.issuer, 'token', partner, { email })).status).to.equal(200);
      return (await app.directory.accounts.getOrFail(email)).emailVerified;
    };
    expect(await emailVerified('before@partner.example')).to.equal(false);
    const { sso } = await app.directory.clients.getOrFail(partner.id);
    if (!sso) throw new Error('no partner');
    await app.directory.clients.update(partner.id, { sso: { ...sso, vouchesForEmail: true } });
    expect(await emailVerified('before@partner.example')).to.equal(true);
    expect(await emailVerified('after@partner.example')).to.equal(true);
    await app.directory.clients.update(partner.id, { sso });
    expect(await emailVerified('later@partner.example')).to.equal(false);
    expect(await emailVerified('after@partner.example'), 'what was said stays').to.equal(true);
  });

  it('lets an administrator decide it from the shell and on the app’s page', async () => {
    const { id: organization } = await shellJson(store, 'organization', 'create', '--name', 'Vouching');
    await app.directory.permissions.create({ name: 'vouched', description: 'Read' });
    const client = await app.client();
    const allow = ['app', 'sso', client.id, '--organization', String(organization), '--permission', 'vouched'];
    expect(await shellJson(store, ...allow, '--vouches-for-email')).to.include({ vouches_for_email: true });
    const { text } = await browser.open(`/admin/apps/${client.id}/partner-sign-in`);
    expect(text).to.match(/name="vouches_for_email" value="yes" checked/);
    expect((await browser.open(`/admin/apps/${client.id}`)).text).to.contain('known to be those people');
    expect(await shellJson(store, ...allow)).not.to.have.any.keys('vouches_for_email');
  }).timeout(60_000);
});
