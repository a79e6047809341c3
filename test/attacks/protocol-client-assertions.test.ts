import { createHmac, type KeyObject, randomBytes, randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, type JWTHeaderParameters, SignJWT } from 'jose';
import { embeddedStore, type TestClient, type TestStore } from '../support/app.ts';
import { expectRefused, granted, type Params, type Protocol, startProtocol } from './protocol-target.ts';
import type { Answer } from './web-target.ts';

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const OWN_TOKEN = { grant_type: 'client_credentials' };

describe('an attacker who poses as an app with an assertion', () => {
  let store: TestStore;
  let protocol: Protocol;
  let keys: { privateKey: CryptoKey; publicKey: CryptoKey };
  /** Nobody's. */
  let foreign: typeof keys;
  let client: TestClient;

  before(async () => {
    store = await embeddedStore();
    protocol = await startProtocol(store);
    [keys, foreign] = await Promise.all([keyPair(), keyPair()]);
    client = await withKeys(keys.publicKey);
  });
  afterEach(() => protocol.unharmed());
  after(async () => {
    await protocol.target.close();
    await store.remove();
  });

  async function withKeys(publicKey: CryptoKey): Promise<TestClient> {
    const jwk = (await exportJWK(publicKey)) as Record<string, unknown>;
    return protocol.target.client({
      clientCredentials: true,
      jwks: { keys: [{ ...jwk, kid: 'its key', use: 'sig' }] },
    });
  }

  const keyPair = () => generateKeyPair('RS256', { extractable: true });
  const now = () => Math.floor(Date.now() / 1000);
  const claims = (changes: Record<string, unknown> = {}) => ({
    iss: client.id,
    sub: client.id,
    aud: protocol.target.issuer,
    jti: randomUUID(),
    iat: now(),
    exp: now() + 60,
    ...changes,
  });
  const sign = (
    changes: Record<string, unknown> = {},
    header: Partial<JWTHeaderParameters> = {},
    key: CryptoKey | KeyObject | Uint8Array = keys.privateKey,
  ) => new SignJWT(claims(changes)).setProtectedHeader({ alg: 'RS256', kid: 'its key', ...header }).sign(key);
  const present = (assertion: string, params: Params = OWN_TOKEN, path = 'token'): Promise<Answer> =>
    protocol.post(path, undefined, { client_assertion_type: ASSERTION_TYPE, client_assertion: assertion, ...params });

  const changed: Record<string, () => Record<string, unknown>> = {
    'for another server': () => ({ aud: 'https://evil.example' }),
    'for an address that begins like ours': () => ({ aud: `${protocol.target.issuer}.evil.example` }),
    'for us among others': () => ({ aud: [protocol.target.issuer, 'https://evil.example'] }),
    'for a list of us alone': () => ({ aud: [protocol.target.issuer] }),
    'for nobody': () => ({ aud: undefined }),
    'for an object': () => ({ aud: { toString: 'x' } }),
    'that expired': () => ({ exp: now() - 30 }),
    'that never expires': () => ({ exp: undefined }),
    'that expires in the year 9999': () => ({ exp: 253_402_300_799 }),
    'that expires at an impossible time': () => ({ exp: 1e300 }),
    'that expires at a time in words': () => ({ exp: '9999999999' }),
    'that is not valid yet': () => ({ nbf: now() + 61 }),
    'that is valid from a time in words': () => ({ nbf: 'now' }),
    'that was made in the future': () => ({ iat: now() + 3_600 }),
    'without an id': () => ({ jti: undefined }),
    'with an empty id': () => ({ jti: '' }),
    'whose id is an object': () => ({ jti: { a: 1 } }),
    'whose id is a number': () => ({ jti: 1 }),
    'about another app': () => ({ sub: protocol.web.id }),
    'about a list of itself': () => ({ sub: [client.id] }),
    'about nobody': () => ({ sub: undefined }),
    'about an object': () => ({ sub: { toString: client.id } }),
    'by another app': () => ({ iss: protocol.web.id }),
    'by nobody': () => ({ iss: undefined }),
  };
  for (const [name, changes] of Object.entries(changed)) {
    it(`${name} gets nothing`, async () => {
      expectRefused(await present(await sign(changes())), 401, 'invalid_client');
    });
  }

  const forged: Record<string, () => Promise<string> | string> = {
    'that is unsigned': () => `${part({ alg: 'none' })}.${part(claims())}.`,
    'that is unsigned in capitals': () => `${part({ alg: 'NONE' })}.${part(claims())}.`,
    'without an algorithm': () => `${part({})}.${part(claims())}.AAAA`,
    'signed with the public key as a secret': async () => {
      const input = `${part({ alg: 'HS256', kid: 'its key' })}.${part(claims())}`;
      return `${input}.${createHmac('sha256', await exportSPKI(keys.publicKey))
        .update(input)
        .digest('base64url')}`;
    },
    'signed with a secret of no length': () => {
      const input = `${part({ alg: 'HS256' })}.${part(claims())}`;
      return `${input}.${createHmac('sha256', '').update(input).digest('base64url')}`;
    },
    'signed with another key': () => sign({}, {}, foreign.privateKey),
    'signed with a key it brings along': async () =>
      sign({}, { jwk: await exportJWK(foreign.publicKey), kid: 'own' }, foreign.privateKey),
    'signed with a key it wants fetched': () =>
      sign({}, { jku: 'http://127.0.0.1:1/', x5u: 'http://127.0.0.1:1/', kid: 'own' }, foreign.privateKey),
    'whose claims were exchanged': async () => {
      const [header, , signature] = (await sign()).split('.');
      return `${header}.${part(claims({ jti: 'another' }))}.${signature}`;
    },
    'without its signature': async () => `${(await sign()).split('.').slice(0, 2).join('.')}.`,
    'that demands what nobody understands': () =>
      new SignJWT(claims())
        .setProtectedHeader({ alg: 'RS256', kid: 'its key', crit: ['evil'], evil: true })
        .sign(keys.privateKey, { crit: { evil: true } }),
    'that is an ID token of ours': async () => (await protocol.tokens(protocol.web)).id_token,
  };
  for (const [name, assertion] of Object.entries(forged)) {
    it(`${name} gets nothing`, async () => {
      expectRefused(await present(await assertion()), 401, 'invalid_client');
    });
  }

  const malformed: Record<string, string> = {
    'of dots': '...',
    'of one word': 'x',
    'of 40 kB': 'x'.repeat(40_000),
    'of no JSON': 'eyJ.eyJ.eyJ',
    'that is encrypted': 'a.b.c.d.e',
    'of a list': `${part({ alg: 'RS256' })}.${Buffer.from('[]').toString('base64url')}.AAAA`,
  };
  for (const [name, assertion] of Object.entries(malformed)) {
    it(`${name} gets nothing`, async () => {
      expectRefused(await present(assertion), 400, 'invalid_request');
    });
  }

  it('that is 10 000 levels deep gets nothing', async () => {
    const deep = Buffer.from(`{"sub":${'['.repeat(10_000)}${']'.repeat(10_000)}}`).toString('base64url');
    expectRefused(await present(`${part({ alg: 'RS256' })}.${deep}.AAAA`), 401, 'invalid_client');
  });

  it('of another type, of two types or of none gets nothing', async () => {
    for (const type of [
      'urn:ietf:params:oauth:client-assertion-type:saml2-bearer',
      undefined,
      [ASSERTION_TYPE, ASSERTION_TYPE],
    ]) {
      expectRefused(await present(await sign(), { ...OWN_TOKEN, client_assertion_type: type }), 400, 'invalid_request');
    }
  });

  it('gets nothing a second time, at whatever endpoint, and nothing for its twin with another signature', async () => {
    const jti = randomUUID();
    const assertion = await sign({ jti });
    granted(await present(assertion));
    expectRefused(await present(assertion), 401, 'invalid_client');
    expectRefused(await present(assertion, { token: 'x' }, 'introspect'), 401, 'invalid_client');
    expectRefused(await present(await sign({ jti, exp: now() + 90 })), 401, 'invalid_client');
  });

  it('gets one answer for many at once', async () => {
    const assertion = await sign();
    const answers = await Promise.all(Array.from({ length: 20 }, () => present(assertion)));
    expect(answers.filter(({ status }) => status === 200)).to.have.length(1);
    expect(answers.filter(({ status }) => status === 401)).to.have.length(19);
  });

  it('gets nothing for an app that has a secret, and a secret nothing for one that has keys', async () => {
    const { web, post } = protocol;
    expectRefused(await present(await sign({ iss: web.id, sub: web.id })), 401, 'invalid_client');
    for (const secret of ['x', JSON.stringify(client.record.jwks)]) {
      expectRefused(
        await post('token', undefined, { ...OWN_TOKEN, client_id: client.id, client_secret: secret }),
        401,
        'invalid_client',
      );
    }
    expectRefused(await post('token', undefined, { ...OWN_TOKEN, client_id: client.id }), 401, 'invalid_client');
  });

  it('of another app cannot use up the ids of this one', async () => {
    const jti = randomUUID();
    const another = await withKeys(foreign.publicKey);
    granted(await present(await sign({ iss: another.id, sub: another.id, jti }, {}, foreign.privateKey)));
    granted(await present(await sign({ jti })));
  });

  const fine: Record<string, () => Record<string, unknown>> = {
    'from a clock 8 seconds ahead': () => ({ nbf: now() + 8, iat: now() + 8 }),
    'that expires at a fraction of a second': () => ({ exp: now() + 30.5 }),
    'for the token endpoint': () => ({ aud: `${protocol.target.issuer}/identity/token` }),
    'with an id of 30 kB': () => ({ jti: 'x'.repeat(30_000) }),
  };
  for (const [name, changes] of Object.entries(fine)) {
    it(`${name} is the app`, async () => {
      granted(await present(await sign(changes())));
    });
  }

  it('cannot be prepared by registering keys that others have as well, or that are heavy to work with', async () => {
    const { privateKey } = await generateKeyPair('ES256', { extractable: true });
    const unsafe: Record<string, unknown>[] = [
      { kty: 'oct', k: randomBytes(32).toString('base64url') },
      (await exportJWK(privateKey)) as Record<string, unknown>,
      { kty: 'RSA', n: randomBytes(64).toString('base64url'), e: 'AQAB' },
      { kty: 'RSA', n: oddNumber(8192), e: 'AQAB' },
      { kty: 'RSA', n: oddNumber(16_384), e: 'AQAB' },
      { kty: 'RSA', n: oddNumber(2048), e: oddNumber(2040) },
      { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' },
      { kty: 'none' },
      {},
    ];
    for (const key of unsafe) {
      const made = protocol.target.client({ clientCredentials: true, jwks: { keys: [key] } });
      const refusal = await made.catch((error: { code: string; field: string }) => error);
      expect(refusal).to.include({ code: 'invalid_request', field: 'jwks' });
    }
  });
});

/** Of so many bits, as a JWK has it. */
function oddNumber(bits: number): string {
  const bytes = randomBytes(bits / 8);
  bytes[0] = 0xff;
  bytes[bytes.length - 1] = 0xff;
  return bytes.toString('base64url');
}

function part(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
