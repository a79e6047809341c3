import { expect } from 'chai';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from './support/app.ts';
import {
  exchangeToken,
  FAKES_ALLOWED,
  type Fakes,
  fakePerson,
  linkedAccount,
  OWN,
  startFakes,
} from './support/exchange.ts';
import { failureOf } from './support/people.ts';
import { shell, shellJson } from './support/shell.ts';

onEachEngine((openStore) => {
  describe('app tokens', function () {
    this.timeout(20_000);
    let store: TestStore;
    let app: TestApp;
    let fakes: Fakes;
    let client: TestClient;

    before(async () => {
      [store, fakes] = await Promise.all([openStore(), startFakes()]);
      app = await startApp(store, FAKES_ALLOWED);
      await fakes.register(app.directory);
    });
    beforeEach(async () => {
      client = await app.client();
    });
    after(async () => {
      await app.close();
      await fakes.close();
      await store.remove();
    });

    const create = (identityProviderId: string, providerClientIds: string[] = []) =>
      app.directory.appTokens.create({ clientId: client.id, identityProviderId, providerClientIds });

    it('are 50 at most, however many are asked for at once', async () => {
      const made = await Promise.allSettled(Array.from({ length: 150 }, () => create('github')));
      expect(made.filter(({ status }) => status === 'fulfilled')).to.have.lengthOf(50);
      expect(await app.directory.appTokens.list(client.id)).to.have.lengthOf(50);
    });

    it('are shown once, have a checksum, and live beside each other until they are revoked', async () => {
      const { appTokens } = app.directory;
      const [first, second] = [await create('github'), await create('github')];
      expect(first.token).to.match(/^lk_app_[0-9A-Za-z]{36}$/);
      const listed = await appTokens.list(client.id);
      expect(listed.map(({ id }) => id)).to.have.members([first.record.id, second.record.id]);
      expect(JSON.stringify(listed)).not.to.contain(first.token.slice(8, 36));

      await appTokens.revoke(client.id, first.record.id);
      await appTokens.revoke(client.id, first.record.id);
      expect(await appTokens.authenticate(first.token)).to.equal('revoked');
      expect(await appTokens.authenticate(second.token)).to.deep.include({ record: second.record });
      expect(await appTokens.list(client.id)).to.have.lengthOf(1);
      expect(await appTokens.authenticate(`${second.token.slice(0, -1)}_`)).to.equal(undefined);
    });

    it('are revoked only as the app’s own', async () => {
      const { record } = await create('github');
      const stranger = await app.client();
      const { appTokens } = app.directory;
      expect((await failureOf(appTokens.revoke(stranger.id, record.id))).code).to.equal('not_found');
      expect((await failureOf(appTokens.revoke(client.id, 'nothing'))).code).to.equal('not_found');
    });

    it('are revoked by whoever has found one', async () => {
      const { token } = await create('github');
      const report = async () => {
        const headers = { 'content-type': 'application/json' };
        const url = `${app.issuer}/.well-known/report-leaked-secrets`;
        const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ token }) });
        return ((await answer.json()) as { label: string }[]).map(({ label }) => label);
      };
      expect(await report()).to.deep.equal(['true_positive']);
      expect(await app.directory.appTokens.authenticate(token)).to.equal('revoked');
      expect(await report()).to.deep.equal(['false_positive']);
    });

    it('say when they were last used', async () => {
      const { token } = await create('github');
      const person = fakePerson();
      await linkedAccount(app.directory, person);
      await exchangeToken(app.issuer, token, fakes.github.issue(person, OWN));
      const [listed] = await app.directory.appTokens.list(client.id);
      expect(listed?.lastUsedAt).to.be.closeTo(Date.now() / 1000, 5);
    });

    it('are not made for what could never be proven', async () => {
      const { code, field } = await failureOf(create('google'));
      expect({ code, field }).to.deep.equal({ code: 'invalid_request', field: 'provider_client_id' });
      expect((await failureOf(create('github', ['another-app']))).field).to.equal('provider_client_id');
      expect((await failureOf(create('nowhere'))).field).to.equal('identity_provider');
      const nobody = app.directory.appTokens.create({ clientId: 'nobody', identityProviderId: 'github' });
      expect((await failureOf(nobody)).code).to.equal('not_found');
    });

    it('are made, used and revoked from the shell while the server runs', async () => {
      const json = (...args: string[]) => shellJson(store, ...args);
      const hub = [
        '--kind',
        'github',
        '--client-id',
        OWN,
        '--client-secret',
        'own-secret',
        '--base-url',
        fakes.github.url,
      ];
      expect(await json('identity-provider', 'create', 'Hub', ...hub)).to.deep.equal({ id: 'Hub' });
      const person = fakePerson();
      const { id, email } = await app.person();
      const who = ['--identity-provider', 'hub', '--subject', person.subject];
      expect(await json('account', 'link', email, ...who)).to.deep.equal({ id });
      const made = await json('app', 'token', 'create', client.id, '--identity-provider', 'hub');
      expect(made).to.have.all.keys('id', 'token');
      const providerToken = fakes.github.issue(person, OWN);
      expect((await exchangeToken(app.issuer, String(made.token), providerToken)).status).to.equal(200);
      expect(await json('app', 'token', 'revoke', client.id, String(made.id))).to.deep.equal({ id: made.id });
      const { body } = await exchangeToken(app.issuer, String(made.token), providerToken);
      expect(body.errorMsg).to.equal('REVOKED');

      const wrong = [
        ['identity-provider', 'create', 'hub', ...hub],
        ['identity-provider', 'create', 'x', '--kind', 'github'],
        ['identity-provider', 'create', 'x', '--kind', 'saml'],
        ['identity-provider', 'create', 'x', '--kind', 'oidc', '--issuer', 'ftp://x'],
        ['account', 'link', email, '--identity-provider', 'nowhere', '--subject', '1'],
        ['app', 'token', 'create', client.id, '--identity-provider', 'nowhere'],
        ['app', 'token', 'revoke', client.id, 'nothing'],
      ];
      for (const args of wrong) {
        const { status, stdout, stderr } = await shell(store, [...args, '--json']);
        expect({ status, stdout }, args.join(' ')).to.deep.equal({ status: 1, stdout: '' });
        expect(stderr.trim().split('\n')).to.have.lengthOf(1);
      }
      expect((await shell(store, ['app', 'token', 'create', client.id])).status).to.equal(2);
    }).timeout(60_000);
  });
});
