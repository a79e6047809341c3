import { expect } from 'chai';
import { onEachEngine, startApp, type TestApp, type TestStore } from '../support/app.ts';
import {
  type ExchangingApp,
  exchangingApp,
  FAKES_ALLOWED,
  type Fakes,
  fakePerson,
  linkedAccount,
  OTHER,
  OWN,
  startFakes,
} from '../support/exchange.ts';
import { createFlows, type Flows } from '../support/flow.ts';

const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';

onEachEngine((openStore) => {
  describe('token exchange at the token endpoint', function () {
    this.timeout(20_000);
    let store: TestStore;
    let app: TestApp;
    let fakes: Fakes;
    let flows: Flows;
    let client: ExchangingApp;

    before(async () => {
      [store, fakes] = await Promise.all([openStore(), startFakes()]);
      app = await startApp(store, FAKES_ALLOWED);
      await fakes.register(app.directory);
      client = await exchangingApp(app.directory);
      flows = createFlows(app.issuer);
    });
    after(async () => {
      await app.close();
      await fakes.close();
      await store.remove();
    });

    const exchange = (subject: Record<string, string>, by: { id: string; secret: string } = client) =>
      flows.post('token', by, {
        grant_type: GRANT,
        subject_token_type: ACCESS_TOKEN,
        subject_issuer: 'github',
        ...subject,
      });

    it('answers with an access token of the same kind as /rest/token', async () => {
      const person = fakePerson();
      const { id } = await linkedAccount(app.directory, person);
      const { status, headers, body } = await exchange({ subject_token: fakes.github.issue(person, OWN) });
      const { access_token: token, ...rest } = body;
      expect(rest).to.deep.equal({
        issued_token_type: ACCESS_TOKEN,
        token_type: 'Bearer',
        expires_in: 3600,
        scope: 'tokens',
      });
      expect(status).to.equal(200);
      expect(headers.get('cache-control')).to.equal('no-store');
      expect(await flows.introspect(client, String(token))).to.include({ active: true, sub: id, client_id: client.id });

      const subject = { subject_issuer: 'openid', subject_token_type: ID_TOKEN };
      const idToken = await fakes.openid.idToken(person, OWN);
      expect((await exchange({ ...subject, subject_token: idToken })).status).to.equal(200);
    });

    it('refuses what /rest/token refuses, as OAuth has it', async () => {
      const person = fakePerson();
      await linkedAccount(app.directory, person);
      const waiting = fakePerson();
      await linkedAccount(app.directory, waiting, { status: 'pending' });
      const good = fakes.github.issue(person, OWN);
      const openid = { subject_issuer: 'openid', subject_token_type: ID_TOKEN };
      const cases: [Record<string, string>, string][] = [
        [{ subject_token: 'gho_unknown' }, 'invalid_request'],
        [{ ...openid, subject_token: await fakes.openid.idToken(person, OTHER) }, 'invalid_request'],
        [{ ...openid, subject_token: await fakes.openid.idToken(person, OWN, { exp: 1 }) }, 'invalid_request'],
        [{ subject_token: fakes.github.issue(fakePerson(), OWN) }, 'invalid_request'],
        [{ subject_token: fakes.github.issue(waiting, OWN) }, 'invalid_request'],
        [{ subject_token: '' }, 'invalid_request'],
        [{ subject_token: good, subject_token_type: 'urn:ietf:params:oauth:token-type:saml2' }, 'invalid_request'],
        [{ subject_token: good, requested_token_type: ID_TOKEN }, 'invalid_request'],
        [{ subject_token: good, actor_token: good }, 'invalid_request'],
        [{ subject_token: good, resource: 'https://api.example.com' }, 'invalid_target'],
        [{ subject_token: good, subject_issuer: '' }, 'invalid_request'],
        [{ subject_token: good, subject_issuer: 'nowhere' }, 'unauthorized_client'],
        [{ subject_token: good, subject_issuer: 'github-other' }, 'unauthorized_client'],
        [{ subject_token: good, scope: 'reports' }, 'invalid_scope'],
      ];
      for (const [subject, error] of cases) {
        const { status, body } = await exchange(subject);
        expect(body.error, JSON.stringify(subject)).to.equal(error);
        expect(status).to.equal(400);
      }
    });

    it('is for apps that prove themselves and have an app token that works', async () => {
      const person = fakePerson();
      await linkedAccount(app.directory, person);
      const subject = { subject_token: fakes.github.issue(person, OWN) };
      const without = await app.client();
      expect((await exchange(subject, without)).body.error).to.equal('unauthorized_client');
      expect((await exchange(subject, { ...client, secret: 'wrong' })).body.error).to.equal('invalid_client');
      const inBrowser = await app.client({ public: true });
      expect((await exchange(subject, inBrowser)).status).to.equal(400);
      const revoked = await exchangingApp(app.directory);
      await app.directory.appTokens.revoke(revoked.id, String(revoked.tokens.github?.id));
      expect((await exchange(subject, revoked)).body.error).to.equal('unauthorized_client');
    });

    it('is out of reach while the provider is', async () => {
      fakes.google.misbehave = (request) => request.socket.destroy();
      const subject = { subject_issuer: 'google', subject_token_type: ID_TOKEN };
      const { status, headers, body } = await exchange({
        ...subject,
        subject_token: await fakes.google.idToken(fakePerson(), OWN),
      });
      expect(body.error).to.equal('temporarily_unavailable');
      expect(status).to.equal(503);
      expect(Number(headers.get('retry-after'))).to.be.within(1, 10);
    });
  });
});
