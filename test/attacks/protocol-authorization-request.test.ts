import { expect } from 'chai';
import { embeddedStore, type TestClient, type TestStore } from '../support/app.ts';
import {
  claimsIn,
  encoded,
  expectPage,
  expectRefused,
  expectSentBack,
  jsonIn,
  type Params,
  type Protocol,
  STATE,
  startProtocol,
} from './protocol-target.ts';

const EVIL = 'https://evil.example/callback';

describe('an attacker of the authorization request', () => {
  let store: TestStore;
  let protocol: Protocol;
  let native: TestClient;
  let loopback: TestClient;

  before(async () => {
    store = await embeddedStore();
    protocol = await startProtocol(store);
    const { client } = protocol.target;
    native = await client({ public: true, redirectUris: ['http://127.0.0.1/cb', 'com.example.app:/cb'] });
    loopback = await client({ trusted: true, redirectUris: ['http://127.0.0.1:8080/cb'] });
  });
  afterEach(() => protocol.unharmed());
  after(async () => {
    await protocol.target.close();
    await store.remove();
  });

  describe('with a redirect URI', () => {
    const like = (change: (uri: string) => string) => change('https://app.example.com/callback');
    const neverRegistered: Record<string, string> = {
      'whose dot is another letter': like((uri) => uri.replace('app.', 'appx')),
      'of 10 kB': like((uri) => `${uri}/${'a'.repeat(10_000)}`),
      'of another path below': like((uri) => `${uri}/more`),
      'with a slash more': like((uri) => `${uri}/`),
      'of a path that leads back': like((uri) => uri.replace('/callback', '/x/../callback')),
      'of an encoded path': like((uri) => uri.replace('callback', '%63allback')),
      'with a query': like((uri) => `${uri}?next=${EVIL}`),
      'with a fragment': like((uri) => `${uri}#`),
      'with a user name': like((uri) => uri.replace('https://', 'https://app.example.com@evil.example/')),
      'that begins like it': like((uri) => uri.replace('.com', '.com.evil.example')),
      'in capitals': like((uri) => uri.replace('app', 'APP')),
      'with a port': like((uri) => uri.replace('.com', '.com:8443')),
      'with the standard port': like((uri) => uri.replace('.com', '.com:443')),
      'without TLS': like((uri) => uri.replace('https', 'http')),
      'with a blank before': like((uri) => ` ${uri}`),
      'with a line break after': like((uri) => `${uri}\r\nLocation: ${EVIL}`),
      'with a NUL': like((uri) => `${uri}\0`),
      'with a backslash': like((uri) => uri.replace('/callback', '\\callback')),
      'with look-alike letters': like((uri) => uri.replace('app', 'аpp')),
      'without a scheme': '//app.example.com/callback',
      'that is a path': '/account/callback',
      'that is a script': 'javascript:alert(1)',
      'that is data': 'data:text/html,<script>alert(1)</script>',
      'of another app': 'https://other.example.com/callback',
      'that is nothing': '',
    };
    for (const [name, uri] of Object.entries(neverRegistered)) {
      it(`${name} goes nowhere`, async () => {
        expectPage(await protocol.authorize(protocol.web, { redirect_uri: uri }));
        expectPage(await protocol.authorize(protocol.web, { redirect_uri: uri, response_type: 'id_token' }));
      });
    }

    it('that is missing goes nowhere, nor does the only one that is registered', async () => {
      expectPage(await protocol.authorize(protocol.web, { redirect_uri: undefined }));
    });

    const twice: Record<string, string[]> = {
      'the good one first': ['https://app.example.com/callback', EVIL],
      'the evil one first': [EVIL, 'https://app.example.com/callback'],
      'the same one': ['https://app.example.com/callback', 'https://app.example.com/callback'],
    };
    for (const [name, uris] of Object.entries(twice)) {
      it(`given twice, ${name}, goes nowhere`, async () => {
        expectPage(await protocol.authorize(protocol.web, { redirect_uri: uris }));
      });
    }

    it('in the query and another in a body goes nowhere', async () => {
      const { web, browser, target } = protocol;
      for (const [inQuery, inBody] of [
        [web.redirectUri, EVIL],
        [EVIL, web.redirectUri],
      ]) {
        const request = { client_id: web.id, response_type: 'code', scope: 'openid', prompt: 'none' };
        const { status, headers } = await target.send(
          `/identity/authorize?${encoded({ ...request, redirect_uri: inQuery })}`,
          { as: browser, body: { ...request, redirect_uri: inBody ?? '' } },
        );
        expect(status).to.be.within(400, 405);
        expect(headers.location).to.equal(undefined);
      }
    });

    const onOtherMachines: Record<string, string> = {
      'of another path': 'http://127.0.0.1:49152/other',
      'of another path that leads back': 'http://127.0.0.1:49152/x/../cb',
      'of localhost': 'http://localhost:49152/cb',
      'of the other loopback address': 'http://[::1]:49152/cb',
      'of the next loopback address': 'http://127.0.0.2:49152/cb',
      'of a host that begins like it': 'http://127.0.0.1.evil.example:49152/cb',
      'of a user named like it': 'http://127.0.0.1:80@evil.example/cb',
      'of an address written another way': 'http://127.1:49152/cb',
      'of a number': 'http://2130706433:49152/cb',
      'with TLS': 'https://127.0.0.1:49152/cb',
      'with a query': 'http://127.0.0.1:49152/cb?to=evil',
      'with a fragment': 'http://127.0.0.1:49152/cb#to',
      'with no such port': 'http://127.0.0.1:99999/cb',
      'of another private scheme': 'com.example.other:/cb',
      'of its own private scheme with a host': 'com.example.app://evil.example/cb',
    };
    for (const [name, uri] of Object.entries(onOtherMachines)) {
      it(`${name} is not that of an app on the device`, async () => {
        expectPage(await protocol.authorize(native, { redirect_uri: uri }));
      });
    }

    it('on any port is that of an app on the device, and only of such an app', async () => {
      const asked = await protocol.authorize(native, { redirect_uri: 'http://127.0.0.1:49152/cb', prompt: undefined });
      expect(asked.headers.location).to.match(/^\/interaction\//);
      expectPage(await protocol.authorize(loopback, { redirect_uri: 'http://127.0.0.1:49152/cb' }));
      await protocol.code(loopback);
    });
  });

  describe('that would register', () => {
    const unsafe: Record<string, readonly string[]> = {
      'a script': ['javascript:alert(1)'],
      data: ['data:text/html,x'],
      'a script of another kind': ['vbscript:x'],
      'a file': ['file:///etc/passwd'],
      'a path': ['/callback'],
      'a fragment': ['https://app.example.com/#x'],
      'an empty fragment': ['https://app.example.com/#'],
      'any host': ['https://*.example.com/callback'],
      'any path': ['https://app.example.com/*'],
      'http on the network': ['http://app.example.com/callback'],
      'a host that begins like the loopback address': ['http://127.0.0.1.evil.example/'],
      'a user name': ['https://user@app.example.com/'],
      'a line break': ['https://app.example.com/\n'],
      'a backslash': ['https://app.example.com\\@evil.example/'],
      'a scheme that anybody could have': ['myapp:/callback'],
      '10 000 addresses': Array.from({ length: 10_000 }, (_, n) => `https://app.example.com/${n}`),
    };
    for (const [name, redirectUris] of Object.entries(unsafe)) {
      it(`${name} has nothing saved`, async () => {
        const { clients, storage } = protocol.target.directory;
        const before = (await storage.list('clients')).entries.length;
        for (const field of ['redirectUris', 'postLogoutRedirectUris'] as const) {
          const refusal = await clients
            .create({ name: 'Evil', implicit: true, redirectUris: [EVIL], [field]: redirectUris })
            .then(
              () => undefined,
              (error: { code: string; field: string }) => error,
            );
          expect(refusal).to.include({ code: 'invalid_request' });
          expect(refusal?.field).to.match(/redirect_uri/);
        }
        expect((await storage.list('clients')).entries.length).to.equal(before);
      });
    }
  });

  describe('with something else wrong', () => {
    const wrong: Record<string, { changes: Params; error: string; state?: null }> = {
      'a response type nobody has': { changes: { response_type: 'token' }, error: 'unsupported_response_type' },
      'no response type': { changes: { response_type: undefined }, error: 'invalid_request' },
      'a response type the app may not use': {
        changes: { response_type: 'id_token', nonce: 'n' },
        error: 'invalid_request',
      },
      'a response mode nobody has': { changes: { response_mode: 'web_message' }, error: 'unsupported_response_mode' },
      'a prompt nobody has': { changes: { prompt: 'create' }, error: 'invalid_request' },
      'none among other prompts': { changes: { prompt: 'none login' }, error: 'invalid_request' },
      'a scope with control characters': { changes: { scope: 'openid\u0001' }, error: 'invalid_scope' },
      'a scope with a quote': { changes: { scope: 'openid "' }, error: 'invalid_scope' },
      'a scope with letters of the world': { changes: { scope: 'openid ö' }, error: 'invalid_scope' },
      'a negative age': { changes: { max_age: '-1' }, error: 'invalid_request' },
      'an age that is no number': { changes: { max_age: 'soon' }, error: 'invalid_request' },
      'an endless age': { changes: { max_age: '1e309' }, error: 'invalid_request' },
      'claims that are no JSON': { changes: { claims: '{' }, error: 'invalid_request' },
      'a resource nobody has': { changes: { resource: 'https://api.example.com' }, error: 'invalid_target' },
      'a resource that is no address': { changes: { resource: 'api' }, error: 'invalid_target' },
      'two resources': { changes: { resource: ['https://a.example', 'https://b.example'] }, error: 'invalid_target' },
      'a request object': { changes: { request: 'eyJhbGciOiJub25lIn0.e30.' }, error: 'request_not_supported' },
      'a request object elsewhere': { changes: { request_uri: EVIL }, error: 'request_uri_not_supported' },
      'a request object on this machine': {
        changes: { request_uri: 'http://127.0.0.1:6379/' },
        error: 'request_uri_not_supported',
      },
      'a pushed request that is none': {
        changes: { request_uri: 'urn:ietf:params:oauth:request_uri:x' },
        error: 'invalid_request_uri',
      },
      'a registration': { changes: { registration: '{}' }, error: 'registration_not_supported' },
      'a hint that is none': { changes: { id_token_hint: 'a.b.c' }, error: 'invalid_request' },
      'half of PKCE': { changes: { code_challenge: undefined }, error: 'invalid_request' },
      'a doubled state': { changes: { state: [STATE, 'other'] }, error: 'invalid_request', state: null },
    };
    const doubled = ['scope', 'response_type', 'response_mode', 'nonce', 'prompt', 'max_age', 'code_challenge'];
    for (const name of [
      ...doubled,
      'code_challenge_method',
      'login_hint',
      'ui_locales',
      'claims',
      'acr_values',
      'display',
    ]) {
      wrong[`a doubled ${name}`] = { changes: { [name]: ['x', 'y'] }, error: 'invalid_request' };
    }

    for (const [name, { changes, error, state }] of Object.entries(wrong)) {
      it(`learns of ${name} at the app it is registered for, and nowhere else`, async () => {
        const { web } = protocol;
        expectSentBack(await protocol.authorize(web, changes), web, error, state);
        expectPage(await protocol.authorize(web, { ...changes, redirect_uri: EVIL }));
      });
    }

    const inMode: [string, Params, string][] = [
      ['query', { response_type: 'code' }, 'query'],
      ['fragment', { response_type: 'id_token' }, 'fragment'],
      ['fragment', { response_type: 'code', response_mode: 'fragment' }, 'fragment'],
      ['form', { response_type: 'code', response_mode: 'form_post' }, 'form_post'],
      ['form', { response_type: 'id_token token', response_mode: 'form_post' }, 'form_post'],
    ];
    for (const [name, changes, mode] of inMode) {
      it(`learns of it in the ${name} of ${changes.response_type} in ${changes.response_mode ?? 'its own mode'}`, async () => {
        const { page } = protocol;
        const reply = await protocol.authorize(page, { nonce: 'n', ...changes, scope: 'openid "' });
        expectSentBack(reply, page, 'invalid_scope');
        expect(reply.mode).to.equal(mode);
      });
    }
  });

  describe('with the name of an app', () => {
    const nobody: Record<string, string | readonly string[] | undefined> = {
      'that is a script': '<script>alert(1)</script>',
      'of 3 kB': 'x'.repeat(3_000),
      'that is unknown': '0b5e7d5e-7d5e-4d5e-8d5e-0b5e7d5e7d5e',
      'that every object has': '__proto__',
      'that every object has as well': 'constructor',
      'with a NUL': 'a\0b',
      'that is a path': '../client/x',
      'that is empty': '',
      'that is missing': undefined,
      'that is doubled': ['a', 'b'],
    };
    for (const [name, id] of Object.entries(nobody)) {
      it(`${name} learns nothing and goes nowhere`, async () => {
        expectPage(await protocol.authorize(protocol.web, { client_id: id, state: '"><script>alert(1)</script>' }));
      });
    }

    it('of our own pages gets no code, no token and no other address; people still sign in to them', async () => {
      const { target, person } = protocol;
      const own = { id: 'latchkey-console', secret: '', redirectUri: `${target.issuer}/account/callback` };
      expectSentBack(await protocol.authorize(own), own, 'invalid_request');
      expectSentBack(await protocol.authorize(own, { response_type: 'id_token', nonce: 'n' }), own, 'invalid_request');
      expectPage(await protocol.authorize(own, { response_type: 'none', redirect_uri: EVIL }));
      expectRefused(await protocol.redeem(own, await protocol.code(protocol.web)), 400, 'invalid_request');
      const elsewhere = await target.send('/account/callback?state=//evil.example/', { as: protocol.browser });
      expect(elsewhere.headers.location).to.equal('/account');

      const browser = target.browser();
      const login = await browser.open('/account');
      const landing = await browser.submit(login.url.pathname, { email: person.email, password: person.password });
      expect(landing.url.pathname).to.equal('/account');
      expect(landing.text).to.contain(person.email);
    });
  });

  describe('with more scope than there is', () => {
    before(async () => {
      for (const name of ['reports', 'users']) {
        await protocol.target.directory.permissions.create({ name, description: `Your ${name}` });
      }
    });

    const grantedScope = async (client: TestClient, scope: string) => {
      const { id_token, scope: given, access_token } = await protocol.tokens(client, { scope });
      const introspected = jsonIn(await protocol.post('introspect', client, { token: access_token }));
      expect(introspected.scope).to.equal(given);
      return { given, claims: claimsIn(id_token) };
    };

    it('is not given what nobody knows, however it is spelled', async () => {
      const { given, claims } = await grantedScope(protocol.web, 'openid admin administrator OPENID * openid:write');
      expect(given).to.equal('openid');
      expect(claims).not.to.have.any.keys('email', 'name', 'administrator');
    });

    it('is not given what the person does not hold', async () => {
      const client = await protocol.target.client({ trusted: true, permissions: ['reports'] });
      expect((await grantedScope(client, 'openid reports')).given).to.equal('openid');
    });

    it('is not given what the app may not ask for', async () => {
      const { web } = protocol;
      expectSentBack(await protocol.authorize(web, { scope: 'openid users' }), web, 'invalid_scope');
      expectRefused(await protocol.post('par', web, { ...PUSHED(web), scope: 'openid users' }), 400, 'invalid_scope');
    });

    it('is not given lasting access in the fragment', async () => {
      const implicit = { response_type: 'id_token token', nonce: 'n', scope: 'openid offline_access' };
      const { params } = await protocol.authorize(protocol.page, implicit);
      expect(params.get('scope')).to.equal('openid');
      expect([...params.keys()]).not.to.include('refresh_token');
    });

    it('is given by consent what was asked and shown, whatever the form adds', async () => {
      const { target } = protocol;
      const both = ['reports', 'users'];
      const client = await target.client({ permissions: both });
      const person = await target.person({ permissions: both });
      const browser = target.browser();
      const login = await target.start(browser, client, { scope: 'openid reports' });
      const consent = await browser.submit(login.url.pathname, { email: person.email, password: person.password });
      expect(consent.text).to.contain('Your reports').and.not.to.contain('Your users');
      const more = {
        scope: 'openid reports users',
        scopes: 'users',
        'scopes[]': 'users',
        claims: 'email',
        client_id: 'x',
      };
      const landing = await browser.submit(consent.url.pathname, { decision: 'allow', ...more });
      const code = landing.url.searchParams.get('code') ?? '';
      const redeemed = await protocol.redeem(client, code, { code_verifier: undefined, scope: 'openid users' });
      expect(jsonIn(redeemed).scope).to.equal('openid reports');
      const again = await protocol.authorize(client, { scope: 'openid users' }, browser);
      expectSentBack(again, client, 'consent_required');
    });
  });
});

const PUSHED = (client: TestClient): Params => ({
  client_id: client.id,
  redirect_uri: client.redirectUri,
  response_type: 'code',
  scope: 'openid',
});
