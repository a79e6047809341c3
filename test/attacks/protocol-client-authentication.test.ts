import { expect } from 'chai';
import { embeddedStore, type TestClient, type TestStore } from '../support/app.ts';
import {
  type App,
  basic,
  encoded,
  expectRefused,
  granted,
  jsonIn,
  type Params,
  type Protocol,
  startProtocol,
} from './protocol-target.ts';

const OWN_TOKEN = { grant_type: 'client_credentials' };

/** Every endpoint where an app proves who it is, with a request that is otherwise fine. */
const ENDPOINTS: Record<string, (client: App) => Params> = {
  token: () => OWN_TOKEN,
  introspect: () => ({ token: 'x' }),
  revoke: () => ({ token: 'x' }),
  par: ({ id, redirectUri }) => ({
    client_id: id,
    response_type: 'code',
    scope: 'openid',
    redirect_uri: redirectUri,
  }),
};

describe('an attacker who poses as an app', () => {
  let store: TestStore;
  let protocol: Protocol;
  /** May have tokens of its own, for its secret. */
  let service: TestClient;

  before(async () => {
    store = await embeddedStore();
    protocol = await startProtocol(store);
    service = await protocol.target.client({ clientCredentials: true });
  });
  afterEach(() => protocol.unharmed());
  after(async () => {
    await protocol.target.close();
    await store.remove();
  });

  /** As nobody, unless the attack says otherwise. */
  const ask = (params: Params, headers: Record<string, string> = {}) =>
    protocol.post('token', undefined, params, { headers });
  const raw = (bytes: Buffer | string) => ({ authorization: `Basic ${Buffer.from(bytes).toString('base64')}` });

  describe('with a secret', () => {
    const inHeader: Record<string, { header: () => Record<string, string>; status?: number }> = {
      'that is wrong': { header: () => raw(`${service.id}:wrong`), status: 401 },
      'that is the digest of it': {
        header: () => raw(`${service.id}:${service.record.secrets[0]?.digest}`),
        status: 401,
      },
      'that is most of it': { header: () => raw(`${service.id}:${service.secret.slice(0, -1)}`), status: 401 },
      'with a blank after it': { header: () => raw(`${service.id}:${service.secret}%20`), status: 401 },
      'of 9 kB': { header: () => raw(`${service.id}:${'x'.repeat(9_000)}`), status: 401 },
      'of another app': { header: () => raw(`${service.id}:${protocol.web.secret}`), status: 401 },
      'of an app that is unknown': { header: () => raw(`nobody:${service.secret}`), status: 401 },
      'of an app every object has': { header: () => raw(`__proto__:${service.secret}`), status: 401 },
      'that is empty': { header: () => raw(`${service.id}:`) },
      'and no name': { header: () => raw(`:${service.secret}`) },
      'and no colon': { header: () => raw(service.id) },
      'in bytes that are no UTF-8': { header: () => raw(Buffer.from([0xff, 0xfe, 0x3a, 0xc0, 0x80])) },
      'with a NUL': { header: () => raw(`${service.id}:a\0b`) },
      'in a broken encoding': { header: () => raw('%zz:%') },
      'that is no base64': { header: () => ({ authorization: 'Basic !!!!' }) },
      'that is nothing': { header: () => ({ authorization: 'Basic ' }) },
      'in two parts': { header: () => ({ authorization: `Basic ${Buffer.from('a:b').toString('base64')} x` }) },
      'as a bearer token': { header: () => ({ authorization: `Bearer ${service.secret}` }) },
      'as a digest': { header: () => ({ authorization: `Digest username="${service.id}"` }) },
    };
    for (const [name, { header, status = 400 }] of Object.entries(inHeader)) {
      it(`${name}, in the header, gets nothing`, async () => {
        const answer = await ask(OWN_TOKEN, header());
        expectRefused(answer, status, status === 401 ? 'invalid_client' : 'invalid_request');
        const challenge = answer.headers['www-authenticate'];
        if (status === 401) expect(challenge).to.match(/^Basic realm=/);
      });
    }

    it('that is larger than any header gets no answer but that', async () => {
      expect((await ask(OWN_TOKEN, raw(`${service.id}:${'x'.repeat(20_000)}`))).status).to.equal(431);
    });

    const inBody: Record<string, { secret: () => string | string[] | undefined; status?: number }> = {
      'that is wrong': { secret: () => 'wrong', status: 401 },
      'that is empty': { secret: () => '', status: 401 },
      'that is missing': { secret: () => undefined, status: 401 },
      'of 50 kB': { secret: () => 'x'.repeat(50_000), status: 401 },
      'of 100 kB': { secret: () => 'x'.repeat(100_000) },
      'with a NUL after it': { secret: () => `${service.secret}\0`, status: 401 },
      'beside a wrong one': { secret: () => [service.secret, 'wrong'] },
    };
    for (const [name, { secret, status = 400 }] of Object.entries(inBody)) {
      it(`${name}, in the body, gets nothing`, async () => {
        const answer = await ask({ ...OWN_TOKEN, client_id: service.id, client_secret: secret() });
        expectRefused(answer, status, status === 401 ? 'invalid_client' : 'invalid_request');
      });
    }

    it('in the address gets nothing', async () => {
      const query = encoded({ ...OWN_TOKEN, client_id: service.id, client_secret: service.secret });
      expectRefused(await protocol.post(`token?${query}`, undefined, {}), 400, 'invalid_request');
    });

    it('with every character encoded, in the header, is the app', async () => {
      const percent = (text: string) => [...text].map((letter) => `%${letter.charCodeAt(0).toString(16)}`).join('');
      granted(await ask(OWN_TOKEN, raw(`${percent(service.id)}:${percent(service.secret)}`)));
    });
  });

  describe('in two ways at once', () => {
    const both: Record<string, () => [Params, Record<string, string>]> = {
      'header and body': () => [
        { client_id: service.id, client_secret: service.secret },
        raw(`${service.id}:${service.secret}`),
      ],
      'a right header and a wrong body': () => [{ client_secret: 'wrong' }, raw(`${service.id}:${service.secret}`)],
      'a header and another name': () => [{ client_id: protocol.web.id }, raw(`${service.id}:${service.secret}`)],
      'a header and two names': () => [
        { client_id: [service.id, protocol.web.id] },
        raw(`${service.id}:${service.secret}`),
      ],
      'a header and an assertion': () => [{ client_assertion: 'a.b.c' }, raw(`${service.id}:${service.secret}`)],
      'a body and an assertion': () => [
        { client_id: service.id, client_secret: service.secret, client_assertion: 'a.b.c' },
        {},
      ],
      'no way': () => [{}, {}],
    };
    for (const [name, attack] of Object.entries(both)) {
      it(`(${name}) gets nothing`, async () => {
        const [params, headers] = attack();
        expectRefused(await ask({ ...OWN_TOKEN, ...params }, headers), 400, 'invalid_request');
      });
    }
  });

  describe('in another way than the app’s own', () => {
    const code = async (client: TestClient) => ({ code: await protocol.code(client), ...redemption(client) });
    const redemption = ({ redirectUri }: TestClient) => ({
      grant_type: 'authorization_code',
      redirect_uri: redirectUri,
      code_verifier: 'x'.repeat(43),
    });

    it('gets nothing with a secret of an app that has none', async () => {
      const { page } = protocol;
      const request = await code(page);
      for (const secret of ['x', service.secret]) {
        expectRefused(await ask({ ...request, client_id: page.id, client_secret: secret }), 401, 'invalid_client');
        expectRefused(await ask(request, raw(`${page.id}:${secret}`)), 401, 'invalid_client');
      }
    });

    it('gets nothing with the name alone of an app that has a secret', async () => {
      const { web } = protocol;
      expectRefused(await ask({ ...(await code(web)), client_id: web.id }), 401, 'invalid_client');
    });

    it('gets no token for an app itself that has no secret, or was not made for it', async () => {
      const { page, web } = protocol;
      expectRefused(await ask({ ...OWN_TOKEN, client_id: page.id }), 400, 'invalid_request');
      expectRefused(await protocol.post('token', web, OWN_TOKEN), 400, 'invalid_request');
      const impossible = protocol.target.client({ public: true, clientCredentials: true });
      expect(await impossible.catch((error: { code: string }) => error.code)).to.equal('invalid_request');
    });

    for (const grant of [
      'password',
      'implicit',
      'urn:ietf:params:oauth:grant-type:jwt-bearer',
      '__proto__',
      'constructor',
      '',
    ]) {
      it(`gets nothing for the grant type ${JSON.stringify(grant)}`, async () => {
        const { person, web } = protocol;
        const params = { grant_type: grant, username: person.email, password: person.password, assertion: 'a.b.c' };
        const error = grant === '' ? 'invalid_request' : 'unsupported_grant_type';
        expectRefused(await protocol.post('token', web, params), 400, error);
      });
    }
  });

  describe('at every endpoint', () => {
    for (const [path, params] of Object.entries(ENDPOINTS)) {
      it(`(${path}) gets nothing without proof, with a wrong one, or as two`, async () => {
        const request = params(service);
        const anonymous = await protocol.post(path, undefined, { ...request, client_id: service.id });
        expectRefused(anonymous, 401, 'invalid_client');
        const wrong = { headers: raw(`${service.id}:wrong`) };
        expectRefused(await protocol.post(path, undefined, request, wrong), 401, 'invalid_client');
        const twice = { ...request, client_id: [service.id, service.id] };
        expectRefused(await protocol.post(path, service, twice), 400, 'invalid_request');
        for (const [name, value] of Object.entries(request)) {
          const doubled = { ...request, [name]: [String(value), 'x'] };
          expectRefused(await protocol.post(path, service, doubled), 400, 'invalid_request');
        }
      });

      it(`(${path}) gets a page instead of JSON, which is as empty`, async () => {
        const headers = { accept: 'text/html', ...raw(`${service.id}:wrong`) };
        const { status, text } = await protocol.post(path, undefined, params(service), { headers });
        expect(status).to.equal(401);
        expect(text).to.contain('<h1>').and.not.to.contain(service.id);
      });
    }
  });
});

describe('an attacker who guesses secrets', () => {
  let store: TestStore;
  let protocol: Protocol;

  before(async () => {
    store = await embeddedStore();
    protocol = await startProtocol(store, { TRUSTED_PROXIES: '127.0.0.1/32' });
  });
  afterEach(() => protocol.unharmed());
  after(async () => {
    await protocol.target.close();
    await store.remove();
  });

  /** Answers to 25 guesses at once, from an address of their own. */
  async function guess(path: string, source: string, accept = '*/*'): Promise<number[]> {
    const client = protocol.other;
    const headers = { accept, authorization: basic(client.id, 'wrong'), 'x-forwarded-for': source };
    const params = ENDPOINTS[path]?.(client) ?? {};
    const attempts = Array.from({ length: 25 }, () => protocol.post(path, undefined, params, { headers }));
    return (await Promise.all(attempts)).map(({ status }) => status);
  }

  it('is stopped after 100 in a minute, whichever endpoint and format is tried', async () => {
    const source = '192.0.2.1';
    const first = [
      await guess('token', source),
      await guess('introspect', source, 'text/html'),
      await guess('par', source),
      await guess('revoke', source, 'text/html'),
    ];
    expect(first.flat().filter((status) => status === 401)).to.have.length(100);
    for (const path of Object.keys(ENDPOINTS)) {
      for (const accept of ['*/*', 'text/html']) {
        expect((await guess(path, source, accept)).filter((status) => status === 429)).to.have.length(25);
      }
    }
  });

  it('judges nothing more from there, not even the right secret, and says when it will', async () => {
    const headers = { 'x-forwarded-for': '192.0.2.1' };
    for (const path of ['introspect', 'token', 'revoke']) {
      const params = ENDPOINTS[path]?.(protocol.other) ?? {};
      const answer = await protocol.post(path, protocol.other, params, { headers });
      expect(answer.status, path).to.equal(429);
      expect(Number(answer.headers['retry-after']), path).to.be.within(1, 60);
    }
  });

  it('stops no other app there, and the app that is guessed at nowhere else', async () => {
    const [other] = [await protocol.target.client({})];
    for (const [client, source] of [
      [other, '192.0.2.1'],
      [protocol.other, '192.0.2.2'],
    ] as const) {
      const headers = { 'x-forwarded-for': source };
      const answer = await protocol.post('introspect', client, { token: 'x' }, { headers });
      expect(jsonIn(answer)).to.deep.equal({ active: false });
    }
    expect(await guess('token', '192.0.2.2')).to.include(401);
  });
});
