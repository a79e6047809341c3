import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { createIdentityProviders } from '../src/identity-providers/identity-providers.ts';
import { createSealing } from '../src/secrets/sealing.ts';
import { onEachEngine, SECRET_KEY, startApp, type TestApp, type TestStore } from './support/app.ts';
import { exchangeToken, FAKES_ALLOWED, type Fakes, fakePerson, OWN, startFakes } from './support/exchange.ts';
import { countOf, failureOf, outcomeOf } from './support/people.ts';
import { shell } from './support/shell.ts';

onEachEngine((openStore) => {
  describe('identity providers', function () {
    this.timeout(20_000);
    let store: TestStore;
    let app: TestApp;
    let fakes: Fakes;

    before(async () => {
      [store, fakes] = await Promise.all([openStore(), startFakes()]);
      app = await startApp(store, FAKES_ALLOWED);
      await fakes.register(app.directory);
    });
    after(async () => {
      await app.close();
      await fakes.close();
      await store.remove();
    });

    it('are named once in whatever case, and say what each kind needs', async () => {
      const { identityProviders } = app.directory;
      const hub = { kind: 'github', clientId: 'a', clientSecret: 'b' } as const;
      expect((await failureOf(identityProviders.create({ ...hub, id: 'GitHub' }))).code).to.equal('conflict');
      const wrong = [
        [{ ...hub, id: 'app_token_giles' }, 'id'],
        [{ ...hub, id: 'a b' }, 'id'],
        [{ id: 'x', kind: 'github', clientSecret: 'b' }, 'client_id'],
        [{ id: 'x', kind: 'github', clientId: 'a' }, 'client_secret'],
        [{ id: 'x', kind: 'gitlab', issuer: 'https://x.example' }, 'issuer'],
        [{ id: 'x', kind: 'gitlab', clientSecret: 'b' }, 'client_id'],
        [{ id: 'x', kind: 'oidc' }, 'issuer'],
        [{ id: 'x', kind: 'oidc', issuer: 'https://user:pw@x.example' }, 'issuer'],
        [{ id: 'x', kind: 'oidc', issuer: 'https://x.example?a=b' }, 'issuer'],
        [{ id: 'x', kind: 'google', issuer: 'https://x.example' }, 'issuer'],
        [{ id: 'x', kind: 'google', newPeople: { policy: 'active', organizationId: 'none' } }, 'organization'],
      ] as const;
      for (const [input, field] of wrong) {
        const failure = await failureOf(identityProviders.create(input));
        expect(failure.field, JSON.stringify(input)).to.equal(field);
      }
      expect((await identityProviders.list()).map(({ id }) => id)).to.deep.equal([
        'github',
        'github-other',
        'gitlab',
        'google',
        'openid',
      ]);
    });

    it('give back the secret that was sealed, and another one once it is replaced', async () => {
      const { identityProviders } = app.directory;
      const made = await identityProviders.create({
        id: 'sealed',
        kind: 'oidc',
        issuer: 'https://x.example',
        clientId: 'a',
        clientSecret: 'upstream-secret',
      });
      expect(JSON.stringify(made)).not.to.contain('upstream-secret');
      expect(await identityProviders.secretOf(made)).to.equal('upstream-secret');
      const changed = await identityProviders.update('sealed', { clientSecret: 'newer' });
      expect(await identityProviders.secretOf(changed)).to.equal('newer');
      expect((await failureOf(identityProviders.update('sealed', { clientId: undefined }))).field).to.equal(
        'client_id',
      );
      await identityProviders.remove('sealed');
      expect(await identityProviders.get('sealed')).to.equal(undefined);
      expect((await failureOf(identityProviders.remove('sealed'))).code).to.equal('not_found');
    });

    it('link a person to one account only, also when two are tried at once', async () => {
      const { links, accounts } = app.directory;
      const [first, second] = [await app.person(), await app.person()];
      const person = { identityProviderId: 'github', subject: fakePerson().subject };
      const tries = Array.from({ length: 20 }, (_, index) =>
        outcomeOf(links.add({ ...person, accountId: index % 2 ? first.id : second.id })),
      );
      const outcomes = await Promise.all(tries);
      expect(countOf(outcomes, 'ok')).to.equal(10);
      expect(countOf(outcomes, 'conflict')).to.equal(10);

      const owner = String((await links.find(person))?.accountId);
      const loser = owner === first.id ? second.id : first.id;
      expect((await failureOf(links.remove(loser, person))).code).to.equal('not_found');
      expect(await links.list(owner)).to.have.lengthOf(1);
      await accounts.remove(owner);
      expect(await links.find(person)).to.equal(undefined);
      await links.add({ ...person, accountId: loser });
      await links.remove(loser, person);
      expect(await links.list(loser)).to.deep.equal([]);
    });

    it('forget who people are when they go', async () => {
      const { links, identityProviders } = app.directory;
      await identityProviders.create({ id: 'passing', kind: 'google' });
      const { id } = await app.person();
      await links.add({ identityProviderId: 'passing', subject: '1', accountId: id });
      await identityProviders.remove('passing');
      expect(await links.list(id)).to.deep.equal([]);
      await identityProviders.create({ id: 'passing', kind: 'google' });
      expect(await links.find({ identityProviderId: 'passing', subject: '1' })).to.equal(undefined);
    });

    it('bring new people as the setting says, with a verified e-mail that nobody has', async () => {
      const { identityProviders, appTokens, accounts, organizations, links } = app.directory;
      const organization = await organizations.create({ name: 'Newcomers' });
      const client = await app.client();
      const made = await appTokens.create({ clientId: client.id, identityProviderId: 'openid' });
      const exchange = (token: string) => exchangeToken(app.issuer, made.token, token);
      const newcomer = (name: string) =>
        fakePerson({ email: `${name}-${Date.now()}@example.com`, givenName: 'New', familyName: '<b>' });

      await identityProviders.update('openid', { newPeople: { policy: 'active', organizationId: organization.id } });
      const active = newcomer('active');
      const token = await fakes.openid.idToken(active, OWN);
      const answers = await Promise.all([exchange(token), exchange(token)]);
      expect(answers.map(({ status }) => status)).to.deep.equal([200, 200]);
      const account = await accounts.findByEmail(String(active.email));
      expect(account).to.deep.include({
        status: 'active',
        emailVerified: true,
        givenName: 'New',
        familyName: '‹b›',
        organizationId: organization.id,
      });
      expect((await links.list(String(account?.id))).map(({ subject }) => subject)).to.deep.equal([active.subject]);

      const squatter = { ...fakePerson(), email: String(active.email) };
      const unverified = await fakes.openid.idToken(newcomer('unverified'), OWN, { email_verified: false });
      for (const refused of [
        await fakes.openid.idToken(squatter, OWN),
        unverified,
        await fakes.openid.idToken(fakePerson(), OWN),
      ])
        expect((await exchange(refused)).body.errorMsg).to.equal("The user doesn't seem to have an account.");

      await identityProviders.update('openid', { newPeople: { policy: 'pending' } });
      const waiting = newcomer('waiting');
      expect((await exchange(await fakes.openid.idToken(waiting, OWN))).body.errorMsg).to.match(
        /has not been approved/,
      );
      expect((await accounts.findByEmail(String(waiting.email)))?.status).to.equal('pending');
    });

    // Last: this server has the old key alone.
    it('keep their secrets when the secret key is replaced and keys are rotated', async () => {
      const { storage, audit, identityProviders } = app.directory;
      await identityProviders.create({
        id: 'kept',
        kind: 'oidc',
        issuer: 'https://x.example',
        clientId: 'a',
        clientSecret: 'upstream-secret',
      });
      const fresh = randomBytes(32).toString('base64url');
      const rotate = await shell(store, ['keys', 'rotate'], { SECRET_KEY: `${fresh},${SECRET_KEY}` });
      expect(rotate).to.include({ status: 0, stderr: '' });
      const later = createIdentityProviders({
        storage,
        now: () => 0,
        audit,
        sealing: createSealing([Buffer.from(fresh, 'base64url')]),
        organizationName: async () => undefined,
        forgetLinks: async () => undefined,
      });
      for (const provider of await later.list())
        expect((await later.secretOf(provider)) ?? 'none').to.match(/^(upstream|own|other)-secret$|^none$/);
    });
  });
});
