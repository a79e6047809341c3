import { mock } from 'node:test';
import { expect } from 'chai';
import { onEachEngine, type TestStore } from '../support/app.ts';
import {
  type App,
  basic,
  CHALLENGE,
  expectPage,
  expectRefused,
  expectSentBack,
  jsonIn,
  type Params,
  type Protocol,
  type Reply,
  startProtocol,
} from './protocol-target.ts';

/** Parameters beside the pushed ones, which count instead of them. */
const NOTHING_BESIDE: Params = {
  redirect_uri: undefined,
  response_type: undefined,
  scope: undefined,
  state: undefined,
  prompt: undefined,
  code_challenge: undefined,
  code_challenge_method: undefined,
};

onEachEngine((openStore) => {
  describe('an attacker of pushed requests', () => {
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

    const requestOf = (client: App, changes: Params = {}): Params => ({
      client_id: client.id,
      redirect_uri: client.redirectUri,
      response_type: 'code',
      scope: 'openid',
      state: 'pushed',
      code_challenge: CHALLENGE,
      code_challenge_method: 'S256',
      ...changes,
    });

    async function pushed(client: App, changes?: Params): Promise<string> {
      const answer = await protocol.post('par', client, requestOf(client, changes));
      expect(answer.status, answer.text).to.equal(201);
      return String(jsonIn(answer).request_uri);
    }

    const use = (client: App, uri: string, beside: Params = {}, browser = protocol.browser): Promise<Reply> =>
      protocol.authorize(client, { ...NOTHING_BESIDE, request_uri: uri, ...beside }, browser);

    it('gets one code for one, however often and however fast it is used', async () => {
      const { web } = protocol;
      const uri = await pushed(web);
      const replies = await Promise.all(Array.from({ length: 20 }, () => use(web, uri)));
      expect(replies.filter(({ params }) => params.has('code'))).to.have.length(1);
      for (const again of [await use(web, uri), await use(web, uri, { prompt: 'none' })]) expectPage(again);
    });

    it('gets no second code for one that asks for no page', async () => {
      const { web } = protocol;
      const uri = await pushed(web, { prompt: 'none' });
      expect((await use(web, uri)).params.has('code')).to.equal(true);
      expectPage(await use(web, uri));
    });

    it('gets nothing for one of another app', async () => {
      const { web, other, page } = protocol;
      const uri = await pushed(web);
      expectPage(await use(other, uri));
      expectPage(await use(page, uri));
      const beside = { redirect_uri: other.redirectUri, response_type: 'code', scope: 'openid' };
      expect((await use(other, uri, beside)).params.get('error')).to.equal('invalid_request_object');
      expect((await use(web, uri)).params.has('code')).to.equal(true);
    });

    it('gets nothing for one after its minute', async () => {
      const uri = await pushed(protocol.web);
      mock.timers.enable({ apis: ['Date'], now: Date.now() + 61_000 });
      expectPage(await use(protocol.web, uri));
    });

    it('changes nothing of one by what stands beside it', async () => {
      const { web } = protocol;
      const { params, to } = await use(web, await pushed(web), {
        redirect_uri: 'https://evil.example/',
        scope: 'openid email',
        state: 'injected',
        response_mode: 'fragment',
        code_challenge: 'x'.repeat(43),
        claims: '{"id_token":{"email":null}}',
      });
      expect(params.get('state')).to.equal('pushed');
      expect(to).to.include({ origin: new URL(web.redirectUri).origin, hash: '' });
      const answer = await protocol.redeem(web, params.get('code') ?? '');
      expect(jsonIn(answer).scope).to.equal('openid');
    });

    const notOurs: Record<string, string | readonly string[]> = {
      unknown: 'urn:ietf:params:oauth:request_uri:unknown',
      empty: 'urn:ietf:params:oauth:request_uri:',
      'with a NUL': 'urn:ietf:params:oauth:request_uri:\0',
      'that every object has': 'urn:ietf:params:oauth:request_uri:__proto__',
      'of 8 kB': `urn:ietf:params:oauth:request_uri:${'x'.repeat(8_000)}`,
      'in capitals': 'URN:IETF:PARAMS:OAUTH:REQUEST_URI:x',
      'on another server': 'https://evil.example/request',
      'on this machine': 'http://localhost:3000/',
      'in a file': 'file:///etc/passwd',
      doubled: ['urn:ietf:params:oauth:request_uri:a', 'urn:ietf:params:oauth:request_uri:b'],
    };
    for (const [name, request_uri] of Object.entries(notOurs)) {
      it(`gets nothing for one that is ${name}`, async () => {
        const { web } = protocol;
        expectPage(await protocol.authorize(web, { ...NOTHING_BESIDE, request_uri }));
        const error = Array.isArray(request_uri)
          ? 'invalid_request'
          : /^urn/.test(String(request_uri))
            ? 'invalid_request_uri'
            : 'request_uri_not_supported';
        expectSentBack(await protocol.authorize(web, { request_uri }), web, error);
      });
    }

    it('gets nothing for one together with a request object', async () => {
      const { web } = protocol;
      expectPage(await use(web, await pushed(web), { request: 'eyJhbGciOiJub25lIn0.e30.' }));
    });

    const refused: Record<string, { changes: Params; error: string }> = {
      'another in itself': {
        changes: { request_uri: 'urn:ietf:params:oauth:request_uri:x' },
        error: 'request_uri_not_supported',
      },
      'a request object': { changes: { request: 'eyJhbGciOiJub25lIn0.e30.' }, error: 'request_not_supported' },
      'a redirect URI that is not registered': {
        changes: { redirect_uri: 'https://evil.example/' },
        error: 'invalid_request',
      },
      'two redirect URIs': {
        changes: { redirect_uri: ['https://app.example.com/callback', 'https://evil.example/'] },
        error: 'invalid_request',
      },
      'no redirect URI': { changes: { redirect_uri: undefined }, error: 'invalid_request' },
      'the plain method': { changes: { code_challenge_method: 'plain' }, error: 'invalid_request' },
      'a response type it may not use': {
        changes: { response_type: 'id_token', nonce: 'n' },
        error: 'invalid_request',
      },
      'a response mode nobody has': { changes: { response_mode: 'jwt' }, error: 'unsupported_response_mode' },
      'none among other prompts': { changes: { prompt: 'none login' }, error: 'invalid_request' },
      'a resource nobody has': { changes: { resource: 'https://api.example.com' }, error: 'invalid_target' },
      'the name of another app': { changes: { client_id: 'another' }, error: 'invalid_request' },
      'two names': { changes: { client_id: ['a', 'b'] }, error: 'invalid_request' },
      'a hint that is unsigned': { changes: { id_token_hint: 'eyJhbGciOiJub25lIn0.e30.' }, error: 'invalid_request' },
    };
    for (const [name, { changes, error }] of Object.entries(refused)) {
      it(`cannot push one with ${name}`, async () => {
        const { web } = protocol;
        expectRefused(await protocol.post('par', web, requestOf(web, changes)), 400, error);
      });
    }

    it('cannot push one in the name of an app without its secret', async () => {
      const { web, page } = protocol;
      expectRefused(await protocol.post('par', undefined, requestOf(web)), 401, 'invalid_client');
      const wrong = { headers: { authorization: basic(web.id, 'wrong') } };
      expectRefused(await protocol.post('par', undefined, requestOf(web), wrong), 401, 'invalid_client');
      const without = { code_challenge: undefined, code_challenge_method: undefined };
      expectRefused(await protocol.post('par', page, requestOf(page, without)), 400, 'invalid_request');
    });

    it('cannot use one anywhere else', async () => {
      const { web } = protocol;
      const uri = await pushed(web);
      const value = uri.slice(uri.lastIndexOf(':') + 1);
      for (const token of [uri, value]) {
        expect(await protocol.userinfo(token)).to.equal(401);
        expectRefused(await protocol.redeem(web, token), 400, 'invalid_grant');
        expect(jsonIn(await protocol.post('introspect', web, { token }))).to.deep.equal({ active: false });
      }
      const read = await protocol.target.send('/identity/par', { headers: { accept: '*/*' } });
      expect(read.status).to.be.oneOf([404, 405]);
    });
  });
});
