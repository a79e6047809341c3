import { expect } from 'chai';
import { onEachEngine, startApp, type TestApp, type TestStore } from './support/app.ts';
import {
  answerOf,
  type ExchangingApp,
  exchangeToken,
  exchangingApp,
  FAKES_ALLOWED,
  type Fakes,
  FOREIGN,
  fakePerson,
  type Kind,
  linkedAccount,
  OTHER,
  OWN,
  type RestAnswer,
  startFakes,
} from './support/exchange.ts';
import { createFlows, type Flows } from './support/flow.ts';

const INVALID = 'Missing or invalid token.';

onEachEngine((openStore) => {
  describe('POST /rest/token', function () {
    this.timeout(20_000);
    let store: TestStore;
    let app: TestApp;
    let fakes: Fakes;
    let own: ExchangingApp;
    let other: ExchangingApp;
    let flows: Flows;

    before(async () => {
      [store, fakes] = await Promise.all([openStore(), startFakes()]);
      app = await startApp(store, FAKES_ALLOWED);
      await fakes.register(app.directory);
      own = await exchangingApp(app.directory);
      other = await exchangingApp(app.directory, OTHER);
      flows = createFlows(app.issuer);
    });
    after(async () => {
      await app.close();
      await fakes.close();
      await store.remove();
    });

    const tokenOf = (client: ExchangingApp, provider: string) => String(client.tokens[provider]?.token);
    const exchange = (appToken: string | undefined, providerToken: string | undefined) =>
      exchangeToken(app.issuer, appToken, providerToken);

    function expectFailure(
      { status, headers, body }: RestAnswer,
      [provider, expected, errorCode, errorMsg]: [string, number, string, string],
    ): void {
      expect(body).to.deep.equal({ provider, errorCode, errorMsg });
      expect(status).to.equal(expected);
      expect(headers.get('cache-control')).to.equal('no-store');
      expect(headers.get('access-control-allow-origin')).to.equal(null);
    }

    for (const name of [
      'a token of GitHub',
      'a token of GitLab',
      'an ID token of Google',
      'an ID token of an OpenID provider',
      'an opaque token of an OpenID provider',
    ]) {
      describe(`with ${name}`, () => {
        let kind: Kind;
        let provider: string;
        let shown: string;
        let appToken: string;

        before(() => {
          kind = fakes.kinds[name] as Kind;
          provider = kind.provider;
          shown = provider.toUpperCase();
          appToken = tokenOf(own, provider);
        });

        it('answers with an access token that is verified, introspected, listed and revoked like every other', async () => {
          const person = fakePerson();
          const account = await linkedAccount(app.directory, person);
          const { status, headers, body } = await exchange(appToken, await kind.issue(person, OWN));
          expect(status).to.equal(200);
          expect(headers.get('cache-control')).to.equal('no-store');
          expect(body).to.have.all.keys('authentication', 'token', 'expires_in', 'token_type');
          expect(body).to.include({ authentication: 'success', expires_in: 3600, token_type: 'Bearer' });

          const token = String(body.token);
          for (const scheme of ['token', 'Bearer']) {
            const me = await fetch(`${app.issuer}/api/me`, { headers: { authorization: `${scheme} ${token}` } });
            expect(await me.json()).to.deep.include({ sub: account.id, scope: 'tokens' });
          }
          const seen = await flows.introspect(own, token);
          expect(seen).to.include({ active: true, sub: account.id, client_id: own.id, scope: 'tokens' });
          expect(Number(seen.exp) - Number(seen.iat)).to.equal(3600);
          expect(await flows.introspect(other, token)).to.deep.equal({ active: false });

          expect((await flows.post('revoke', own, { token })).status).to.equal(200);
          const after = await fetch(`${app.issuer}/api/me`, { headers: { authorization: `token ${token}` } });
          expect(after.status).to.equal(401);
        });

        it('refuses what was issued to another app, ours or somebody else’s, also when it has expired', async () => {
          const person = fakePerson();
          await linkedAccount(app.directory, person);
          // GitHub tells nobody but its app of a token.
          const reason = provider === 'github' ? INVALID : 'AUDIENCE_MISMATCH';
          const saysExpired = provider !== 'gitlab';
          for (const clientId of [OTHER, FOREIGN]) {
            const given = await kind.issue(person, clientId);
            expectFailure(await exchange(appToken, given), [shown, 401, '401', reason]);
            const expired = await kind.issueExpired(person, clientId);
            expectFailure(await exchange(appToken, expired), [shown, 401, '401', saysExpired ? reason : INVALID]);
          }
          const others = await kind.issue(person, OTHER);
          expect((await exchange(tokenOf(other, provider), others)).status).to.equal(200);
          const ours = await kind.issue(person, OWN);
          const crossed = await exchange(tokenOf(other, provider), ours);
          const shownOther = provider === 'github' ? 'GITHUB-OTHER' : shown;
          expectFailure(crossed, [shownOther, 401, '401', reason]);
        });

        it('says that one has expired when it is good otherwise, where the provider says so', async () => {
          const person = fakePerson();
          await linkedAccount(app.directory, person);
          const answer = await exchange(appToken, await kind.issueExpired(person, OWN));
          // GitLab makes no difference between a token that has expired and one that never was.
          if (provider === 'gitlab') return expectFailure(answer, [shown, 401, '401', INVALID]);
          expectFailure(answer, [shown, 401, '600', 'The sent token is expired.']);
        });

        it('refuses one that the provider does not know', async () => {
          for (const token of ['gho_unknown', 'a.b.c', 'x', tokenOf(own, 'google'), 'ö'])
            expectFailure(await exchange(appToken, token), [shown, 401, '401', INVALID]);
          for (const token of [undefined, ''])
            expectFailure(await exchange(appToken, token), [shown, 401, '401', INVALID]);
        });

        it('refuses who has no account here, whatever their e-mail, and whose account is not active', async () => {
          const stranger = fakePerson({ email: 'known@example.com' });
          await app.directory.accounts.create({ email: 'known@example.com' }).catch(() => undefined);
          const nobody = [shown, 403, '403', "The user doesn't seem to have an account."] as const;
          expectFailure(await exchange(appToken, await kind.issue(stranger, OWN)), [...nobody]);

          const waiting: [string, number, string, string] = [
            shown,
            403,
            '403',
            'The user account you are using has not been approved. Please contact an administrator.',
          ];
          const person = fakePerson();
          const { id } = await linkedAccount(app.directory, person, { status: 'pending' });
          const token = await kind.issue(person, OWN);
          expectFailure(await exchange(appToken, token), waiting);
          await app.directory.accounts.approve(id);
          expect((await exchange(appToken, token)).status).to.equal(200);
          await app.directory.accounts.disable(id);
          expectFailure(await exchange(appToken, token), waiting);
          await app.directory.accounts.remove(id);
          expectFailure(await exchange(appToken, token), [...nobody]);
        });

        if (name.includes('ID token')) return;
        it('is asked about once a minute, however many come with it', async () => {
          const person = fakePerson();
          await linkedAccount(app.directory, person);
          const fake = fakes[provider as 'github' | 'gitlab' | 'openid'];
          const token = await kind.issue(person, OWN);
          const before = fake.requests.length;
          await Promise.all(Array.from({ length: 10 }, () => exchange(appToken, token)));
          expect(fake.requests.length - before).to.be.within(1, 2);
          fake.revoke(token);
          expect((await exchange(appToken, token)).status).to.equal(200);
        });
      });
    }

    it('refuses what is no app token, before it looks at anything else', async () => {
      const person = fakePerson();
      const account = await linkedAccount(app.directory, person);
      const providerToken = fakes.github.issue(person, OWN);
      const { body } = await exchange(tokenOf(own, 'github'), providerToken);
      const record = await app.directory.accounts.get(account.id);
      if (!record) throw new Error('the account is gone');
      const personal = await app.directory.personalTokens.create(record, { description: 'x' });
      const good = tokenOf(own, 'github');
      const headers = [
        {},
        { authorization: '' },
        { authorization: 'token' },
        { authorization: 'token ' },
        { authorization: `Bearer ${good}` },
        { authorization: `tok ${good}` },
        { authorization: good },
        { authorization: `token ${good} ${good}` },
        { authorization: `token ${good.slice(0, -1)}${good.endsWith('x') ? 'y' : 'x'}` },
        { authorization: `token ${personal.token}` },
        { authorization: `token ${body.token}` },
        { authorization: `token ${await fakes.google.idToken(person, OWN)}` },
        { authorization: `Basic ${Buffer.from(`${own.id}:${own.secret}`).toString('base64')}` },
      ];
      for (const header of headers) {
        const request = { method: 'POST', headers: header, body: new URLSearchParams({ providerToken }) };
        const answer = await answerOf(await fetch(`${app.issuer}/rest/token`, request));
        expectFailure(answer, ['APP_TOKEN_GILES', 401, '401', INVALID]);
      }
      for (const own of [personal.token, String(body.token), good])
        expectFailure(await exchange(good, own), ['GITHUB', 401, '401', INVALID]);
    });

    it('takes the scheme in any case and the form in both codings, the token once and nowhere else', async () => {
      const person = fakePerson();
      await linkedAccount(app.directory, person);
      const providerToken = fakes.github.issue(person, OWN);
      const good = tokenOf(own, 'github');
      const send = async (init: RequestInit, path = '/rest/token') =>
        answerOf(
          await fetch(`${app.issuer}${path}`, { method: 'POST', headers: { authorization: `token ${good}` }, ...init }),
        );
      const once = new URLSearchParams({ providerToken });
      const multipart = new FormData();
      multipart.append('providerToken', providerToken);
      for (const scheme of ['token', 'Token', 'TOKEN', 'tOkEn '])
        expect((await send({ body: once, headers: { authorization: `${scheme} ${good}` } })).status).to.equal(200);
      expect((await send({ body: multipart })).status).to.equal(200);

      const query = `/rest/token?providerToken=${providerToken}`;
      expectFailure(await send({}, query), ['GITHUB', 401, '401', INVALID]);
      multipart.append('providerToken', providerToken);
      const file = new FormData();
      file.append('providerToken', new File([providerToken], 'token.txt'));
      const json = { authorization: `token ${good}`, 'content-type': 'application/json' };
      const refused: [RequestInit, string, number][] = [
        [{ body: once }, query, 400],
        [{ body: new URLSearchParams([...once, ...once]) }, '/rest/token', 400],
        [{ body: multipart }, '/rest/token', 400],
        [{ body: file }, '/rest/token', 400],
        [{ body: JSON.stringify({ providerToken }), headers: json }, '/rest/token', 415],
        [
          {
            body: `providerToken=${providerToken}&x=${'x'.repeat(60_000)}`,
            headers: { ...json, 'content-type': 'application/x-www-form-urlencoded' },
          },
          '/rest/token',
          413,
        ],
        [
          { body: new URLSearchParams(Array.from({ length: 5_000 }, (_, i): [string, string] => [`n${i}`, 'x'])) },
          '/rest/token',
          400,
        ],
        [{ method: 'PUT', body: once }, '/rest/token', 405],
        [{ method: 'GET' }, query, 405],
      ];
      for (const [init, path, status] of refused) {
        const answer = await send(init, path);
        expect(answer.status, `${init.method ?? ''} ${path} ${String(init.body).slice(0, 40)}`).to.equal(status);
        expect(answer.body).not.to.have.property('token');
      }
    });

    it('gives what the app may ask for and the person holds, for as long as the app says', async () => {
      const { permissions, appTokens } = app.directory;
      for (const name of ['read', 'write', 'admin']) await permissions.create({ name, description: name });
      const client = await app.client({ permissions: ['read', 'write'], exchangedTokenLifetime: 4 * 3600 });
      const { token: appToken } = await appTokens.create({ clientId: client.id, identityProviderId: 'github' });
      const person = fakePerson();
      await linkedAccount(app.directory, person, { permissions: ['read', 'admin'] });
      const { body } = await exchange(appToken, fakes.github.issue(person, OWN));
      expect(body.expires_in).to.equal(14_400);
      const seen = await flows.introspect(client, String(body.token));
      expect(seen.scope).to.equal('read');
      expect(Number(seen.exp) - Number(seen.iat)).to.equal(14_400);
    });

    it('stops an app whose token, provider or self is gone, at the next request', async () => {
      const { appTokens, identityProviders, clients } = app.directory;
      const person = fakePerson();
      await linkedAccount(app.directory, person);
      const providerToken = fakes.github.issue(person, OWN);
      const revoked: [string, number, string, string] = ['APP_TOKEN_GILES', 401, '401', 'REVOKED'];
      const client = await exchangingApp(app.directory);
      const appToken = tokenOf(client, 'github');
      const second = await appTokens.create({ clientId: client.id, identityProviderId: 'github' });
      const { body } = await exchange(appToken, providerToken);

      await appTokens.revoke(client.id, String(client.tokens.github?.id));
      expectFailure(await exchange(appToken, providerToken), revoked);
      expect((await exchange(second.token, providerToken)).status).to.equal(200);
      await identityProviders.disable('github');
      expectFailure(await exchange(second.token, providerToken), revoked);
      await identityProviders.enable('github');
      expect((await exchange(second.token, providerToken)).status).to.equal(200);
      await clients.disable(client.id);
      expectFailure(await exchange(second.token, providerToken), revoked);
      const me = await fetch(`${app.issuer}/api/me`, { headers: { authorization: `token ${body.token}` } });
      expect(me.status).to.equal(401);
      await clients.enable(client.id);
      expect((await exchange(second.token, providerToken)).status).to.equal(200);
      await clients.remove(client.id);
      expectFailure(await exchange(second.token, providerToken), revoked);
    });

    it('refuses what is signed by somebody else, in another way, or is no ID token', async () => {
      const person = fakePerson();
      await linkedAccount(app.directory, person);
      const { openid, google } = fakes;
      const issuer = openid.url;
      const past = Math.floor(Date.now() / 1000) - 10;
      const good = await openid.idToken(person, OWN);
      const [head = '', payload = '', signature = ''] = good.split('.');
      const none = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url');
      const expired = (await openid.idToken(person, OWN, { exp: past })).split('.');
      const bad = [
        await google.idToken(person, OWN, { iss: issuer }),
        await google.idToken(person, OWN, { iss: issuer, exp: past }),
        await openid.idToken(person, OWN, { iss: 'https://accounts.google.com' }),
        await openid.idToken(person, OWN, { events: {} }),
        await openid.idToken(person, OWN, {}, { typ: 'logout+jwt' }),
        await openid.idToken(person, OWN, {}, { typ: 'at+jwt' }),
        await openid.idToken(person, OWN, { nbf: past + 3600 }),
        await openid.idToken(person, OWN, { sub: '' }),
        `${none}.${payload}.`,
        `${none}.${payload}.${signature}`,
        `${head}.${payload}.${signature.slice(0, -2)}AA`,
        `${expired[0]}.${expired[1]}.${signature}`,
      ];
      for (const token of bad)
        expectFailure(await exchange(tokenOf(own, 'openid'), token), ['OPENID', 401, '401', INVALID]);

      const mismatch: [string, number, string, string] = ['OPENID', 401, '401', 'AUDIENCE_MISMATCH'];
      for (const claims of [
        { aud: [] },
        { aud: [], azp: OWN },
        { aud: [''] },
        { aud: [OWN, FOREIGN] },
        { aud: [OWN, FOREIGN], azp: FOREIGN },
        { azp: FOREIGN },
        { aud: FOREIGN, azp: OWN },
      ])
        expectFailure(await exchange(tokenOf(own, 'openid'), await openid.idToken(person, OWN, claims)), mismatch);
      const both = await openid.idToken(person, OWN, { aud: [OWN, FOREIGN], azp: OWN });
      expect((await exchange(tokenOf(own, 'openid'), both)).status).to.equal(200);
    });

    it('refuses tokens that GitHub users made for themselves without asking anybody', async () => {
      const before = fakes.github.requests.length;
      for (const token of ['ghp_0123456789abcdef', 'github_pat_11AAAA'])
        expectFailure(await exchange(tokenOf(own, 'github'), token), ['GITHUB', 401, '401', INVALID]);
      expect(fakes.github.requests).to.have.lengthOf(before);
    });

    // Last: the count is not over when the suite is.
    describe('to noise', () => {
      it('answers failures with 429 beyond 100 a minute from one address, and what succeeds as before', async () => {
        const person = fakePerson();
        await linkedAccount(app.directory, person);
        const good = fakes.github.issue(person, OWN);
        const answers: RestAnswer[] = [];
        for (let guess = 0; guess < 101; guess++) answers.push(await exchange(undefined, good));
        const [last] = answers.slice(-1);
        expect(last?.status).to.equal(429);
        expect(Number(last?.headers.get('retry-after'))).to.be.within(1, 60);
        expect((await exchange(tokenOf(own, 'github'), good)).status).to.equal(200);
      });
    });
  });
});
