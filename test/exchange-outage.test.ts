import type { RequestListener } from 'node:http';
import { expect } from 'chai';
import { embeddedStore, startApp, type TestApp, type TestStore } from './support/app.ts';
import { passMonotonic, resetClocks, setWallClock } from './support/clock.ts';
import {
  type ExchangingApp,
  exchangeToken,
  exchangingApp,
  FAKES_ALLOWED,
  type Fakes,
  fakePerson,
  linkedAccount,
  OWN,
  startFakes,
} from './support/exchange.ts';

const json = { 'content-type': 'application/json' };

/** Ways for a provider not to answer. */
const TROUBLES: Record<string, RequestListener> = {
  'drops the connection': (request) => request.socket.destroy(),
  'takes half a minute': () => undefined,
  'never ends its answer': (_request, response) => {
    response.writeHead(200, json).write('{"keys":[');
  },
  'answers 500': (_request, response) => response.writeHead(500, json).end('{}'),
  'answers 429': (_request, response) => response.writeHead(429, json).end('{}'),
  'answers a page': (_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
  'answers half of its JSON': (_request, response) =>
    response.writeHead(200, json).end('{"active":true,"keys":[{"kty"'),
  'answers other JSON': (_request, response) => response.writeHead(200, json).end('{"hello":"world"}'),
  'answers 10 000 keys': (_request, response) =>
    response.writeHead(200, json).end(JSON.stringify({ keys: Array.from({ length: 10_000 }, () => ({ kty: 'EC' })) })),
  'sends elsewhere': (_request, response) => response.writeHead(302, { location: 'http://localhost:1/' }).end(),
  'refuses our credentials': (_request, response) => response.writeHead(401, json).end('{}'),
};

describe('an identity provider that', function () {
  this.timeout(20_000);
  let store: TestStore;
  let app: TestApp;
  let fakes: Fakes;
  let client: ExchangingApp;

  beforeEach(async () => {
    [store, fakes] = await Promise.all([embeddedStore(), startFakes()]);
    app = await startApp(store, FAKES_ALLOWED);
    await fakes.register(app.directory);
    client = await exchangingApp(app.directory);
  });
  afterEach(async () => {
    resetClocks();
    await app.close();
    await fakes.close();
    await store.remove();
  });

  const exchange = (provider: string, token: string) =>
    exchangeToken(app.issuer, String(client.tokens[provider]?.token), token);

  async function expectUnavailable(provider: string, token: string, within = 3_000): Promise<void> {
    const started = performance.now();
    const { status, headers, body } = await exchange(provider, token);
    expect(body).to.deep.equal({
      provider: provider.toUpperCase(),
      errorCode: '503',
      errorMsg: 'The identity provider does not answer.',
    });
    expect(status).to.equal(503);
    expect(Number(headers.get('retry-after'))).to.be.within(1, 10);
    expect(performance.now() - started).to.be.below(within);
  }

  for (const [trouble, listener] of Object.entries(TROUBLES)) {
    it(`${trouble} is out of reach, which says nothing about a token`, async () => {
      const person = fakePerson();
      await linkedAccount(app.directory, person);
      const { github, gitlab, google, openid } = fakes;
      for (const fake of [github, gitlab, google, openid]) fake.misbehave = listener;
      await Promise.all([
        expectUnavailable('github', github.issue(person, OWN)),
        expectUnavailable('gitlab', gitlab.issue(person, OWN)),
        expectUnavailable('google', await google.idToken(person, OWN)),
        expectUnavailable('openid', await openid.idToken(person, OWN)),
        expectUnavailable('openid', openid.accessToken(person, OWN)),
        expectUnavailable('google', await google.idToken(person, OWN, { exp: 1 })),
      ]);
    });
  }

  it('is down is left alone after five failures, and asked again ten seconds later', async function () {
    this.timeout(30_000);
    const person = fakePerson();
    await linkedAccount(app.directory, person);
    const { github } = fakes;
    github.misbehave = (request) => request.socket.destroy();
    for (let failure = 0; failure < 5; failure++) await expectUnavailable('github', github.issue(person, OWN));
    const { length } = github.requests;
    for (let more = 0; more < 10; more++) await expectUnavailable('github', github.issue(person, OWN), 300);
    expect(github.requests).to.have.lengthOf(length);

    github.misbehave = undefined;
    const { body, headers } = await exchange('github', github.issue(person, OWN));
    expect(body.errorCode).to.equal('503');
    await new Promise((resolve) => setTimeout(resolve, 1_000 * (Number(headers.get('retry-after')) + 1)));
    expect((await exchange('github', github.issue(person, OWN))).status).to.equal(200);
  });

  it('fails at what strangers send is still asked about everybody else', async () => {
    const person = fakePerson();
    await linkedAccount(app.directory, person);
    const { github } = fakes;
    github.misbehave = ({ url }, response) => response.writeHead(url === '/' ? 404 : 500, json).end('{}');
    for (let n = 0; n < 12; n++) await expectUnavailable('github', `made-up-${n}`);
    github.misbehave = undefined;
    expect((await exchange('github', github.issue(person, OWN))).status).to.equal(200);
  });

  it('fails at everything is down, whatever was sent', async () => {
    const { github } = fakes;
    github.misbehave = (_request, response) => response.writeHead(500, json).end('{}');
    for (let n = 0; n < 5; n++) await expectUnavailable('github', `made-up-${n}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const { length } = github.requests;
    for (let more = 0; more < 10; more++) await expectUnavailable('github', `made-up-${more}`, 300);
    expect(github.requests).to.have.lengthOf(length);
  });

  for (const [how, seconds] of Object.entries({ back: -86_400, ahead: 86_400 })) {
    it(`is down rests for ten seconds when the wall clock is set a day ${how} meanwhile, no longer and no shorter`, async () => {
      const person = fakePerson();
      await linkedAccount(app.directory, person);
      const { github } = fakes;
      github.misbehave = (request) => request.socket.destroy();
      for (let failure = 0; failure < 5; failure++) await expectUnavailable('github', github.issue(person, OWN));
      github.misbehave = undefined;
      const { length } = github.requests;
      setWallClock(seconds);
      await expectUnavailable('github', github.issue(person, OWN), 300);
      expect(github.requests).to.have.lengthOf(length);
      passMonotonic(11);
      expect((await exchange('github', github.issue(person, OWN))).status).to.equal(200);
    });

    it(`changes its keys has the new ones asked for when the wall clock was set a day ${how}`, async () => {
      const person = fakePerson();
      await linkedAccount(app.directory, person);
      const { openid } = fakes;
      expect((await exchange('openid', await openid.idToken(person, OWN))).status).to.equal(200);
      await openid.rotate();
      // The time that the store goes by is never set back.
      const exp = Math.floor(Date.now() / 1000) + Math.max(seconds, 0) + 600;
      setWallClock(seconds);
      const rotated = await openid.idToken(person, OWN, { exp });
      passMonotonic(11);
      expect((await exchange('openid', rotated)).status).to.equal(200);
    });
  }

  it('goes down after its keys are known is not needed for ID tokens', async () => {
    const person = fakePerson();
    await linkedAccount(app.directory, person);
    const { openid } = fakes;
    expect((await exchange('openid', await openid.idToken(person, OWN))).status).to.equal(200);
    openid.misbehave = (request) => request.socket.destroy();
    for (let more = 0; more < 10; more++)
      expect((await exchange('openid', await openid.idToken(person, OWN, { jti: String(more) }))).status).to.equal(200);
  });

  it('is flooded with tokens of unknown keys is asked for them once in ten seconds', async function () {
    this.timeout(30_000);
    const person = fakePerson();
    await linkedAccount(app.directory, person);
    const { openid } = fakes;
    expect((await exchange('openid', await openid.idToken(person, OWN))).status).to.equal(200);
    await openid.rotate();
    const rotated = await openid.idToken(person, OWN);
    const fetches = () => openid.requests.filter((request) => request === 'GET /keys').length;
    const flood = await Promise.all(
      Array.from({ length: 60 }, async (_, index) =>
        exchange('openid', await openid.idToken(person, OWN, {}, { kid: `unknown-${index}` })),
      ),
    );
    expect(flood.map(({ status }) => status)).to.deep.equal(Array(60).fill(401));
    expect(fetches()).to.equal(1);

    await new Promise((resolve) => setTimeout(resolve, 11_000));
    expect((await exchange('openid', rotated)).status).to.equal(200);
    expect(fetches()).to.equal(2);
  });

  it('tells other metadata than its own is not believed', async () => {
    const person = fakePerson();
    await linkedAccount(app.directory, person);
    const { openid, google } = fakes;
    openid.misbehave = (_request, response) =>
      response
        .writeHead(200, json)
        .end(JSON.stringify({ issuer: 'https://other.example', jwks_uri: `${google.url}/keys` }));
    await expectUnavailable('openid', await google.idToken(person, OWN, { iss: openid.url }));
    expect(google.requests).to.deep.equal([]);
  });
});

describe('an identity provider at a private address', () => {
  it('is not asked unless OUTBOUND_ALLOW says so', async () => {
    const [store, fakes] = await Promise.all([embeddedStore(), startFakes()]);
    const app = await startApp(store);
    await fakes.register(app.directory);
    const client = await exchangingApp(app.directory);
    const { body } = await exchangeToken(
      app.issuer,
      client.tokens.github?.token,
      fakes.github.issue(fakePerson(), OWN),
    );
    expect(body.errorCode).to.equal('503');
    expect(fakes.github.requests).to.deep.equal([]);
    await Promise.all([app.close(), fakes.close()]);
    await store.remove();
  });
});
