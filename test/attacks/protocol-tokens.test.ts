import { hash } from 'node:crypto';
import { mock } from 'node:test';
import { expect } from 'chai';
import { cookieName } from '../../src/oidc/cookie-name.ts';
import { unavailable } from '../../src/storage/storage.ts';
import { onEachEngine, type TestStore } from '../support/app.ts';
import {
  basic,
  expectRefused,
  expectSentBack,
  granted,
  jsonIn,
  OFFLINE,
  type Params,
  type Protocol,
  startProtocol,
  type Tokens,
} from './protocol-target.ts';
import type { Answer } from './web-target.ts';

const DAY = 24 * 60 * 60;

onEachEngine((openStore) => {
  describe('an attacker of tokens', () => {
    let store: TestStore;
    let protocol: Protocol;

    before(async () => {
      store = await openStore();
      protocol = await startProtocol(store);
    });
    afterEach(async () => {
      mock.timers.reset();
      await protocol.unharmed();
    });
    after(async () => {
      await protocol.target.close();
      await store.remove();
    });

    const refresh = (client: Protocol['web'], refreshToken: string, params: Params = {}): Promise<Answer> =>
      protocol.post('token', client, { grant_type: 'refresh_token', refresh_token: refreshToken, ...params });

    describe('holds a refresh token', () => {
      const attempts: Record<string, { as?: 'other' | 'page'; changes?: Params; error?: string }> = {
        'as another app': { as: 'other' },
        'as an app without a secret': { as: 'page' },
        'for a scope that was not asked for': { changes: { scope: 'openid profile' }, error: 'invalid_scope' },
        'for a scope nobody knows': { changes: { scope: 'openid admin' }, error: 'invalid_scope' },
        'for a scope with control characters': { changes: { scope: 'openid\u0007' }, error: 'invalid_scope' },
        'for two scopes': { changes: { scope: ['openid', 'email'] }, error: 'invalid_request' },
        'beside another': { changes: { refresh_token: ['x', 'y'] }, error: 'invalid_request' },
        'with a blank after it': { changes: {} },
        'for another kind of grant': { changes: { grant_type: 'authorization_code' }, error: 'invalid_request' },
      };
      for (const [name, { as = 'web', changes, error = 'invalid_grant' }] of Object.entries(attempts)) {
        it(`and gets nothing for it ${name}; its app still does`, async () => {
          const { refresh_token } = await protocol.offlineTokens(protocol.web);
          const presented = name.startsWith('with a blank') ? `${refresh_token} ` : refresh_token;
          expectRefused(await refresh(protocol[as], presented, changes), 400, error);
          granted(await refresh(protocol.web, refresh_token));
        });
      }

      it('without a secret of the app it belongs to, and gets nothing for it', async () => {
        const { web } = protocol;
        const { refresh_token } = await protocol.offlineTokens(web);
        const params = { grant_type: 'refresh_token', refresh_token, client_id: web.id };
        expectRefused(await protocol.post('token', undefined, params), 401, 'invalid_client');
        granted(await refresh(web, refresh_token));
      });

      it('that was used, and with it ends what the family has, whoever uses it', async () => {
        mock.timers.enable({ apis: ['Date'], now: Date.now() });
        const first = await protocol.offlineTokens(protocol.web);
        const second = granted<Tokens & { refresh_token: string }>(await refresh(protocol.web, first.refresh_token));
        expectRefused(await refresh(protocol.other, first.refresh_token), 400, 'invalid_grant');
        expect(await protocol.userinfo(second.access_token)).to.equal(200);
        mock.timers.tick(11_000);
        expectRefused(await refresh(protocol.web, first.refresh_token), 400, 'invalid_grant');
        expect(await protocol.userinfo(second.access_token)).to.equal(401);
        expectRefused(await refresh(protocol.web, second.refresh_token), 400, 'invalid_grant');
        mock.timers.reset();
      });

      it('and cannot keep it alive beyond 90 days, however often it is used', async () => {
        let { refresh_token } = await protocol.offlineTokens(protocol.web);
        mock.timers.enable({ apis: ['Date'], now: Date.now() });
        for (let day = 0; day < 88; day += 11) {
          mock.timers.tick(11 * DAY * 1000);
          ({ refresh_token } = granted<Tokens & { refresh_token: string }>(await refresh(protocol.web, refresh_token)));
        }
        mock.timers.tick(2 * DAY * 1000 + 1000);
        expectRefused(await refresh(protocol.web, refresh_token), 400, 'invalid_grant');
        mock.timers.reset();
      });
    });

    describe('holds what one thing is worth and wants another for it', () => {
      /** Everything a server hands out, by what it is. */
      async function everything(): Promise<Record<string, string>> {
        const { web, browser, target } = protocol;
        const { access_token, id_token, refresh_token } = await protocol.offlineTokens(web);
        const service = await target.client({ clientCredentials: true });
        const own = granted(await protocol.post('token', service, { grant_type: 'client_credentials' }));
        const waiting = await target.start(target.browser(), web);
        return {
          'access token': access_token,
          'refresh token': refresh_token,
          'ID token': id_token,
          code: await protocol.code(web),
          'token of an app itself': own.access_token,
          'session id':
            browser.cookies().find(({ name }) => name === cookieName(target.issuer, 'latchkey'))?.value ?? '',
          'interaction id': waiting.url.pathname.split('/').at(-1) ?? '',
          'client secret': web.secret,
          'account id': protocol.person.id,
        };
      }

      const worth: Record<string, { asks: (thing: string) => Promise<Answer>; only?: string; refusal: RegExp }> = {
        'a person’s data': {
          asks: (thing) => userinfo(`Bearer ${thing}`),
          only: 'access token',
          refusal: /invalid_token|insufficient_scope/,
        },
        'a refresh': {
          asks: (thing) => refresh(protocol.web, thing),
          only: 'refresh token',
          refusal: /invalid_grant/,
        },
        tokens: { asks: (thing) => protocol.redeem(protocol.web, thing), only: 'code', refusal: /invalid_grant/ },
        'a look at it by another app': {
          asks: (thing) => protocol.post('introspect', protocol.other, { token: thing }),
          refusal: /^\{"active":false\}$/,
        },
        'a look at it by the app of our own pages': {
          asks: (thing) => protocol.post('introspect', undefined, { client_id: 'latchkey-console', token: thing }),
          refusal: /^\{"active":false\}$/,
        },
        'a place in the app’s name': {
          asks: (thing) =>
            protocol.post(
              'introspect',
              undefined,
              { token: 'x' },
              {
                headers: { authorization: basic(protocol.other.id, thing) },
              },
            ),
          refusal: /invalid_client/,
        },
      };
      for (const [name, { asks, only, refusal }] of Object.entries(worth)) {
        it(`, which is ${name}, and gets it for ${only ? `the ${only}` : 'nothing'} alone`, async () => {
          for (const [kind, thing] of Object.entries(await everything())) {
            expect(thing, kind).to.have.length.above(20);
            const { status, text } = await asks(thing);
            if (kind === only) expect(status, `${kind}: ${text}`).to.equal(200);
            else expect(text, kind).to.match(refusal);
          }
        });
      }

      it('cannot sign in with it as a cookie', async () => {
        for (const thing of Object.values(await everything())) {
          const { headers } = await protocol.target.send('/account', {
            headers: { cookie: `${cookieName(protocol.target.issuer, 'latchkey')}=${thing}` },
          });
          expect(headers.location).to.match(/^\/identity\/authorize\?/);
        }
      });

      it('may show one app’s token where any app may: the data are the person’s', async () => {
        const { access_token } = await protocol.tokens(protocol.other, { scope: 'openid email' });
        expect(jsonIn(await userinfo(`Bearer ${access_token}`))).to.include({
          sub: protocol.person.id,
          email: protocol.person.email,
        });
      });
    });

    describe('shows an access token', () => {
      const ways: Record<string, { send: (token: string) => Promise<Answer>; status: number }> = {
        'in the address': { send: (token) => userinfo(undefined, `?access_token=${token}`), status: 400 },
        'in the address and the header': {
          send: (token) => userinfo(`Bearer ${token}`, `?access_token=${token}`),
          status: 400,
        },
        'in the body and the header': {
          send: (token) =>
            protocol.post(
              'userinfo',
              undefined,
              { access_token: token },
              { headers: { authorization: `Bearer ${token}` } },
            ),
          status: 400,
        },
        'twice in the body': {
          send: (token) => protocol.post('userinfo', undefined, { access_token: [token, token] }),
          status: 400,
        },
        'as a password': { send: (token) => userinfo(basic(token, token)), status: 401 },
        'before another word': { send: (token) => userinfo(`Bearer ${token} x`), status: 401 },
        'without a scheme': { send: (token) => userinfo(token), status: 401 },
        'after another scheme': { send: (token) => userinfo(`DPoP ${token}`), status: 401 },
        'after another scheme and in the body': {
          send: (token) =>
            protocol.post(
              'userinfo',
              undefined,
              { access_token: token },
              { headers: { authorization: `Basic ${token}` } },
            ),
          status: 401,
        },
        'with more scope than it has': {
          send: (token) => userinfo(`Bearer ${token}`, '?scope=openid+profile'),
          status: 403,
        },
        'with two scopes': { send: (token) => userinfo(`Bearer ${token}`, '?scope=openid&scope=email'), status: 400 },
        'with a letter more': { send: (token) => userinfo(`Bearer ${token}x`), status: 401 },
        'with a letter less': { send: (token) => userinfo(`Bearer ${token.slice(0, -1)}`), status: 401 },
        'in capitals': { send: (token) => userinfo(`Bearer ${token.toUpperCase()}`), status: 401 },
        'by its digest': { send: (token) => userinfo(`Bearer ${hash('sha256', token, 'base64url')}`), status: 401 },
      };
      for (const [name, { send, status }] of Object.entries(ways)) {
        it(`${name} and learns nothing`, async () => {
          const { access_token } = await protocol.tokens(protocol.web);
          const answer = await send(access_token);
          expect(answer.status, answer.text).to.equal(status);
          expect(answer.headers['www-authenticate']).to.match(/^Bearer .*, Token realm="http/);
          expect(answer.text).not.to.contain(protocol.person.id);
        });
      }
    });

    describe('would end or read a token of others', () => {
      it('and cannot, whichever kind it says the token is', async () => {
        const { web, other, page } = protocol;
        const { access_token, refresh_token } = await protocol.offlineTokens(web);
        for (const token of [access_token, refresh_token]) {
          for (const token_type_hint of [
            undefined,
            'access_token',
            'refresh_token',
            'client_credentials',
            '__proto__',
          ]) {
            for (const client of [other, page]) {
              const params = { token, token_type_hint };
              expect((await protocol.post('revoke', client, params)).status).to.equal(200);
              expect(jsonIn(await protocol.post('introspect', client, params))).to.deep.equal({ active: false });
            }
          }
        }
        expect(await protocol.userinfo(access_token)).to.equal(200);
        granted(await refresh(web, refresh_token));
      });

      const malformed: Record<string, Params> = {
        nothing: { token: undefined },
        'two tokens': { token: ['a', 'b'] },
        'two hints': { token: 'a', token_type_hint: ['access_token', 'refresh_token'] },
        '100 kB': { token: 'x'.repeat(100_000) },
      };
      for (const [name, params] of Object.entries(malformed)) {
        it(`by sending ${name}, and gets a refusal`, async () => {
          for (const path of ['revoke', 'introspect']) {
            expectRefused(await protocol.post(path, protocol.web, params), 400, 'invalid_request');
          }
        });
      }

      const unknown = ['x', '\0', '\ud800', '__proto__', 'AccessToken:x', 'x'.repeat(40_000), 'a.b.c', 'lk_pat_x', '*'];
      it('by sending what is no token, and learns that it is none', async () => {
        for (const token of unknown) {
          expect(jsonIn(await protocol.post('introspect', protocol.web, { token }))).to.deep.equal({ active: false });
          expect((await protocol.post('revoke', protocol.web, { token })).status).to.be.oneOf([200, 400]);
        }
      });
    });

    describe('keeps what it had', () => {
      it('and has nothing after the password is changed: no session, no token, no code, no open page', async () => {
        const { web, target } = protocol;
        const person = await target.person();
        const browser = target.browser();
        await target.signIn(browser, person, web);
        const codeOf = async (changes: Params) => {
          const { params } = await protocol.authorize(web, changes, browser);
          return params.get('code') ?? '';
        };
        const code = await codeOf(OFFLINE);
        const tokens = granted<Tokens & { refresh_token: string }>(await protocol.redeem(web, code));
        const unused = await codeOf({});
        const open = await target.start(browser, await target.client());

        await target.directory.accounts.setPassword(person.id, 'another correct horse battery');
        expect(await protocol.userinfo(tokens.access_token)).to.equal(401);
        expectRefused(await refresh(web, tokens.refresh_token), 400, 'invalid_grant');
        expectRefused(await protocol.redeem(web, unused), 400, 'invalid_grant');
        const result = await browser.submit(open.url.pathname, { decision: 'allow' });
        expect(result.url.searchParams.has('code')).to.equal(false);
        expectSentBack(await protocol.authorize(web, {}, browser), web, 'login_required');
      });

      it('and has nothing after the person takes back what an app was allowed, which then has to ask again', async () => {
        const { target } = protocol;
        const client = await target.client();
        const person = await target.person();
        const browser = target.browser();
        const login = await target.start(browser, client, OFFLINE);
        const consent = await browser.submit(login.url.pathname, { email: person.email, password: person.password });
        const landing = await browser.submit(consent.url.pathname, { decision: 'allow' });
        const code = landing.url.searchParams.get('code') ?? '';
        const plainly = { code_verifier: undefined };
        const tokens = granted<Tokens & { refresh_token: string }>(await protocol.redeem(client, code, plainly));
        const unused = (await protocol.authorize(client, {}, browser)).params.get('code') ?? '';

        await browser.submit(`/account/apps/${client.id}/remove`, {});
        expect(await protocol.userinfo(tokens.access_token)).to.equal(401);
        expectRefused(await refresh(client, tokens.refresh_token), 400, 'invalid_grant');
        expectRefused(await protocol.redeem(client, unused), 400, 'invalid_grant');
        expectSentBack(await protocol.authorize(client, {}, browser), client, 'consent_required');
      });

      it('and has nothing of what its app gives up: one access token, or all that came with a refresh token', async () => {
        const { web } = protocol;
        for (const kind of ['access_token', 'refresh_token'] as const) {
          const tokens = await protocol.offlineTokens(web);
          expect((await protocol.post('revoke', web, { token: tokens[kind] })).status).to.equal(200);
          expect(await protocol.userinfo(tokens.access_token)).to.equal(401);
          if (kind === 'refresh_token') expectRefused(await refresh(web, tokens.refresh_token), 400, 'invalid_grant');
        }
      });
    });

    it('gets nothing out of a server whose store goes away during a request, and its log says so', async () => {
      const { target, web, post } = protocol;
      const { clients } = target.directory;
      const { findActive } = clients;
      const before = target.log().length;
      target.expectOutage(true);
      clients.findActive = () => Promise.reject(unavailable(new Error('the plug was pulled')));
      try {
        const answer = await post('token', web, { grant_type: 'authorization_code', code: 'x' });
        expectRefused(answer, 503, 'temporarily_unavailable');
      } finally {
        clients.findActive = findActive;
        target.expectOutage(false);
      }
      const lines = target.log().slice(before);
      expect(lines).to.match(/"level":50.*"code":"temporarily_unavailable".*"route":"\/identity\/token"/);
      expect(lines).to.contain('the plug was pulled');
    });

    const userinfo = (authorization: string | undefined, query = ''): Promise<Answer> =>
      protocol.target.send(`/identity/userinfo${query}`, {
        headers: { accept: '*/*', ...(authorization === undefined ? {} : { authorization }) },
      });
  });
});
