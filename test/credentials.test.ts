import { expect } from 'chai';
import { createSecretToken, prefixOf } from '../src/secrets/secret-token.ts';
import { onEachEngine, startApp, type TestApp, type TestStore } from './support/app.ts';
import { createBrowser } from './support/browser.ts';

describe('a token', () => {
  it('is 30 random characters between its prefix and a checksum, and never the same twice', () => {
    const made = new Set(Array.from({ length: 1000 }, () => createSecretToken('lk_pat_')));
    expect(made.size).to.equal(1000);
    for (const token of made) {
      expect(token).to.match(/^lk_pat_[0-9A-Za-z]{36}$/);
      expect(prefixOf(token)).to.equal('lk_pat_');
    }
  });

  it('is not recognised with a single character changed, added or missing', () => {
    const token = createSecretToken('lk_app_');
    for (let place = 0; place < token.length; place++) {
      const other = token[place] === 'x' ? 'y' : 'x';
      expect(prefixOf(token.slice(0, place) + other + token.slice(place + 1))).to.equal(undefined);
      expect(prefixOf(token.slice(0, place) + token.slice(place + 1))).to.equal(undefined);
    }
    expect(prefixOf(`${token}x`)).to.equal(undefined);
    expect(prefixOf(` ${token}`)).to.equal(undefined);
  });

  it('has the checksum that any CRC-32 of what precedes gives, in base 62', () => {
    // Computed with Python: zlib.crc32(b"lk_pat_" + b"0" * 30)
    expect(prefixOf(`lk_pat_${'0'.repeat(30)}3WEGBP`)).to.equal('lk_pat_');
  });
});

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    await app.directory.permissions.create({ name: 'reports', description: 'Read reports' });
    await app.directory.permissions.create({ name: 'settings', description: 'Change settings' });
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  it('lets a person make, use, list and revoke a token', async () => {
    const person = await app.person({ permissions: ['reports', 'settings'] });
    const browser = createBrowser(app.issuer);
    const login = await browser.open(`${app.issuer}/account`);
    await browser.submit(login.url.pathname, { email: person.email, password: person.password });
    const made = await browser.request('/api/tokens', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'sec-fetch-site': 'same-origin' },
      body: JSON.stringify({ description: 'nightly', scope: 'reports', expires_in: 3600 }),
    });
    expect(made.status).to.equal(201);
    const { id, token } = (await made.json()) as { id: string; token: string };
    const call = (path: string, scheme = 'Token', init: RequestInit = {}) =>
      fetch(app.issuer + path, { ...init, headers: { authorization: `${scheme} ${token}`, ...init.headers } });

    const me = await call('/api/me');
    expect(await me.json()).to.deep.equal({
      sub: person.id,
      email: person.email,
      name: 'Pat Example',
      scope: 'reports',
      credential: { kind: 'personal_token', id },
    });
    const verified = await call('/verify?scope=reports', 'bearer');
    expect(verified.status).to.equal(200);
    expect(verified.headers.get('x-auth-subject')).to.equal(person.id);
    expect((await call('/verify?scope=settings')).status).to.equal(403);
    expect((await call('/api/tokens')).status).to.equal(403);

    expect(
      (await browser.request(`/api/tokens/${id}`, { method: 'DELETE', headers: { origin: app.issuer } })).status,
    ).to.equal(204);
    const refused = await call('/api/me');
    expect(refused.status).to.equal(401);
    expect(await refused.json()).to.include({
      error: 'invalid_token',
      errorCode: '401',
      errorMsg: 'Missing or invalid token.',
    });
  });
});
