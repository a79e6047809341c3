import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { exportJWK, generateKeyPair } from 'jose';
import type { NewClient } from '../../src/clients/clients.ts';
import { AppError } from '../../src/errors.ts';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { launchChromium, openProfile } from '../support/chromium.ts';
import { createFlows, type Flows } from '../support/flow.ts';

const kinds: Record<string, Partial<NewClient>> = {
  'an app with a secret': {},
  'an app without': { public: true },
  'an implicit app': { public: true, implicit: true },
  'an implicit app with a secret': { implicit: true },
  'a trusted app that also acts for itself': { trusted: true, clientCredentials: true },
};

const uris = [
  ...['https://app.example.com/cb', 'https://app.example.com', 'https://app.example.com:8443/cb?a=b&c=%20'],
  ...['https://app.example.com:443/cb', 'https://app.example.com:0/', 'https://APP.example.com/Cb', 'https://x'],
  ...[
    'https://bücher.example/cb',
    'https://xn--bcher-kva.example/cb',
    'https://app.example.com/ä',
    'https://[2001:db8::1]/cb',
  ],
  ...[
    'https://localhost/cb',
    'https://127.0.0.1:3000/cb',
    'https://app.example.com/a/../b',
    'https://app.example.com./cb',
  ],
  ...[
    'http://localhost/cb',
    'http://localhost:3000/cb',
    'http://127.0.0.1/cb',
    'http://127.0.0.2:3000/cb',
    'http://[::1]/cb',
  ],
  ...['http://shop.localhost:3000/cb', 'http://a.b.localhost/cb', 'http://localhost.:3000/cb', 'http://127.1/cb'],
  ...['http://localhost.example.com/cb', 'http://notlocalhost/cb', 'http://app.example.com/cb'],
  ...['com.example.phone:/cb', 'com.example.phone://cb', 'com.example.phone:cb', 'COM.Example.Phone:/cb', 'a.b:/'],
  ...[
    'myapp:/cb',
    'myapp://cb',
    'javascript:alert(1)',
    'data:text/html,x',
    'file:///cb',
    'about:blank',
    'urn:ietf:wg:oauth:2.0:oob',
  ],
  ...[
    'https://app.example.com/cb#',
    'com.example.phone:/cb#x',
    'https://user@app.example.com/cb',
    'https://*.example.com/cb',
  ],
  ...['/cb', '', '//app.example.com/cb', 'https://', 'https://app.example.com/ cb', 'ftp.example:/cb'],
];

const addresses: Partial<NewClient>[] = [
  ...['https://logo.example/a.png', 'https://bücher.example/a.png', 'https://localhost/a.png'].map((logoUri) => ({
    logoUri,
  })),
  ...['http://a.example', 'https://a.example/#x', 'http://localhost:3000', 'https://a.example:1/ä'].flatMap((uri) => [
    { clientUri: uri },
    { policyUri: uri },
    { tosUri: uri },
    { backchannelLogoutUri: uri },
  ]),
  ...['RS256', 'ES256', 'EdDSA'].map((alg) => ({ idTokenSigningAlg: alg as 'RS256' })),
  { name: 'Ä 😀' },
  { description: 'x'.repeat(500) },
];

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  /** The app, or undefined when registering it is refused with a reason. */
  async function register(input: Partial<NewClient>): Promise<TestClient | undefined> {
    try {
      return await app.client(input);
    } catch (error) {
      expect(error, JSON.stringify(input)).to.be.instanceOf(AppError).with.property('status', 400);
      expect(error).to.have.property('field').a('string');
      return undefined;
    }
  }

  /** A request that nobody is signed in for is answered at the app's URI, however that is spelled. */
  async function expectAnswer(client: TestClient, redirectUri = client.redirectUri): Promise<void> {
    const location = URL.parse(await answer(client, redirectUri));
    const { protocol, host, pathname } = new URL(redirectUri);
    expect(location, redirectUri).to.include({ protocol, host, pathname });
    expect(`${location?.search}${location?.hash}`, redirectUri).to.contain('error=login_required');
  }

  async function answer(client: TestClient, redirectUri: string): Promise<string> {
    const implicit = client.record.implicit ? { response_type: 'id_token' } : {};
    const { url } = await flows.start({ client: { ...client, redirectUri }, params: { prompt: 'none', ...implicit } });
    const response = await fetch(url, { redirect: 'manual' });
    return response.headers.get('location') ?? `${response.status} ${await response.text()}`;
  }

  for (const [kind, input] of Object.entries(kinds)) {
    it(`takes of ${kind} no redirect URI that it then refuses`, async () => {
      const taken = [];
      for (const uri of uris) {
        const client = await register({ ...input, redirectUris: [uri] });
        if (!client) continue;
        taken.push(uri);
        await expectAnswer(client, uri);
      }
      expect(taken).to.include.members([
        'https://app.example.com/cb',
        'com.example.phone:/cb',
        'http://shop.localhost:3000/cb',
      ]);
      expect(
        taken.filter((uri) => /^(javascript|data|file|about|urn|http:\/\/(app|notlocalhost|localhost\.ex))/.test(uri)),
      ).to.deep.equal([]);
    });

    it(`takes of ${kind} any of them side by side`, async () => {
      const good = [
        'https://app.example.com/cb',
        'com.example.phone:/cb',
        'http://localhost:3000/cb',
        'http://127.0.0.2/cb',
      ];
      const client = await app.client({ ...input, redirectUris: good });
      for (const uri of good) await expectAnswer(client, uri);
    });

    it(`takes of ${kind} no page to return to after signing out that it then refuses`, async () => {
      for (const uri of uris) {
        const client = await register({ ...input, postLogoutRedirectUris: [uri] });
        if (!client) continue;
        await expectAnswer(client);
        const query = new URLSearchParams({ client_id: client.id, post_logout_redirect_uri: uri });
        const page = await fetch(`${app.issuer}/identity/logout?${query}`, { headers: { accept: 'text/html' } });
        expect(page.status, uri).to.equal(200);
      }
    });
  }

  it('signs a person in to an app at a name below localhost, in a browser', async () => {
    const shop = createServer((_request, response) => response.end('the shop'));
    shop.listen(0, '127.0.0.1');
    await once(shop, 'listening');
    const redirectUri = `http://shop.localhost:${(shop.address() as AddressInfo).port}/cb`;
    const client = await app.client({ redirectUris: [redirectUri], trusted: true });
    const person = await app.person();
    const chromium = await launchChromium();
    try {
      const { context, problems } = await openProfile(chromium);
      const page = await context.newPage();
      await page.goto((await flows.start({ client })).url);
      await page.fill('[name="email"]', person.email);
      await page.fill('[name="password"]', person.password);
      await page.press('[name="password"]', 'Enter');
      await page.waitForURL(`${redirectUri}?code=*`);
      expect(problems.filter((problem) => problem.includes('Content Security Policy'))).to.deep.equal([]);
    } finally {
      await chromium.close();
      shop.closeAllConnections();
      shop.close();
    }
  });

  it('takes nothing else that it then refuses', async () => {
    const { publicKey } = await generateKeyPair('ES256', { extractable: true });
    const jwk = await exportJWK(publicKey);
    const keys: Partial<NewClient>[] = [
      jwk,
      { ...jwk, use: 'sig', alg: 'ES256', kid: 'a' },
      { ...jwk, use: 'enc' },
      { ...jwk, alg: 'RS256' },
      { kty: 'EC' },
      { kty: 'oct', k: 'AAAA' },
      { kty: 'XX' },
    ].map((key) => ({ jwks: { keys: [key] } }));
    for (const input of [...addresses, ...keys]) {
      const client = await register(input);
      if (!client) continue;
      await expectAnswer(client);
    }
  });

  it('keeps no change of an app that it then refuses', async () => {
    for (const uri of uris) {
      const client = await app.client();
      const changed = await app.directory.clients.update(client.id, { redirectUris: [uri] }).catch(() => undefined);
      const expected = changed ? uri : client.redirectUri;
      await expectAnswer(client, expected);
    }
  });
});
