import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { onEachEngine, startApp, startProcess, type TestApp, type TestProcess, type TestStore } from './support/app.ts';
import { createBrowser } from './support/browser.ts';
import { createFlows } from './support/flow.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let other: TestProcess;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    other = await startProcess(store, { ISSUER: app.issuer });
    for (const name of ['reports', 'settings']) {
      await app.directory.permissions.create({ name, description: `May use ${name}` });
    }
  });
  after(async () => {
    await other.kill('SIGKILL');
    await app.close();
    await store.remove();
  });

  type Answer = { status: number; body: Record<string, unknown> };

  async function call(
    authorization: string | undefined,
    path: string,
    { method = 'GET', body }: { method?: string; body?: unknown } = {},
  ): Promise<Answer> {
    const headers = {
      ...(authorization ? { authorization } : {}),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    };
    const sent = typeof body === 'string' ? body : JSON.stringify(body);
    const response = await fetch(other.url + path, { method, headers, ...(body === undefined ? {} : { body: sent }) });
    const text = await response.text();
    return { status: response.status, body: text ? JSON.parse(text) : {} };
  }

  /** A person with an access token that may manage their personal tokens. */
  async function manager() {
    const person = await app.person({ permissions: ['reports'] });
    const client = await app.client({ permissions: ['tokens', 'reports', 'settings'], trusted: true });
    const { access_token: token } = await createFlows(app.issuer).tokens({
      person,
      client,
      params: { scope: 'openid tokens reports settings' },
    });
    return { person, client, bearer: `Bearer ${token}` };
  }

  async function makeToken(bearer: string, body: object = {}) {
    const made = await call(bearer, '/api/tokens', { method: 'POST', body: { description: 'a script', ...body } });
    expect(made.status).to.equal(201);
    return made.body as { id: string; token: string; scope: string; expires_at: number; created_at: number };
  }

  it('makes a token with an access token of scope tokens, and shows it this once', async () => {
    const { person, bearer } = await manager();
    const made = await makeToken(bearer);
    expect(made.token).to.match(/^lk_pat_[0-9A-Za-z]{36}$/);
    expect(made.scope).to.equal('reports');
    expect(made.expires_at - made.created_at).to.equal(90 * 24 * 60 * 60);
    const list = await call(bearer, '/api/tokens');
    expect(JSON.stringify(list.body)).not.to.contain(made.token);
    expect((list.body as unknown as { id: string }[]).map(({ id }) => id)).to.deep.equal([made.id]);
    const me = await call(`Token ${made.token}`, '/api/me');
    expect(me.body).to.deep.include({
      sub: person.id,
      scope: 'reports',
      credential: { kind: 'personal_token', id: made.id },
    });
    for (const file of await readdir(store.directory, { recursive: true })) {
      const content = await readFile(join(store.directory, file)).catch(() => Buffer.alloc(0));
      expect(content.includes(made.token), file).to.equal(false);
    }
  });

  it('notes when and from where a token was last used', async () => {
    const { bearer } = await manager();
    const made = await makeToken(bearer);
    const before = (await call(`Token ${made.token}`, '/api/tokens/self')).status;
    expect(before).to.equal(200);
    const [listed] = (await call(bearer, '/api/tokens')).body as unknown as {
      last_used_at: number;
      last_used_from: string;
    }[];
    expect(listed?.last_used_at).to.be.closeTo(Date.now() / 1000, 5);
    expect(listed?.last_used_from).to.match(/127\.0\.0\.1|::1/);
  });

  const refusedBodies: Record<string, [body: unknown, field: string]> = {
    'no description': [{}, 'description'],
    'an empty description': [{ description: '  ' }, 'description'],
    'a description of a kilobyte': [{ description: 'x'.repeat(1000) }, 'description'],
    'a description with control characters': [{ description: 'a\u0000b' }, 'description'],
    'a description that is a list': [{ description: ['x'] }, 'description'],
    'a scope of somebody else': [{ description: 'x', scope: 'reports settings' }, 'scope'],
    'the right to make tokens': [{ description: 'x', scope: 'tokens' }, 'scope'],
    'a scope nobody made': [{ description: 'x', scope: 'admin' }, 'scope'],
    'an expiry in the past': [{ description: 'x', expires_in: -1 }, 'expires_in'],
    'an expiry at once': [{ description: 'x', expires_in: 0 }, 'expires_in'],
    'an expiry in the year 9999': [{ description: 'x', expires_in: 251_000_000_000 }, 'expires_in'],
    'an expiry in words': [{ description: 'x', expires_in: '90 days' }, 'expires_in'],
    'no expiry where there has to be one': [{ description: 'x', expires_in: null }, 'expires_in'],
  };
  it('makes no token for what it cannot be, and names the field', async () => {
    const { bearer } = await manager();
    for (const [name, [body, field]] of Object.entries(refusedBodies)) {
      const answer = await call(bearer, '/api/tokens', { method: 'POST', body });
      expect(answer.status, name).to.equal(400);
      expect(answer.body.field, name).to.equal(field);
    }
    expect((await call(bearer, '/api/tokens')).body).to.deep.equal([]);
  });

  it('gives a token to nobody but who asks, whatever else the body says', async () => {
    const { person, bearer } = await manager();
    const victim = await app.person({ permissions: ['settings'] });
    const body = `{"description":"x","userId":"${victim.id}","accountId":"${victim.id}","admin":true,"administrator":true,"id":"1"}`;
    const made = await call(bearer, '/api/tokens', { method: 'POST', body });
    expect(made.status).to.equal(201);
    const me = await call(`Token ${made.body.token}`, '/api/me');
    expect(me.body).to.include({ sub: person.id, scope: 'reports' });
    for (const game of ['"__proto__":{"scope":"settings"}', '"constructor":{"prototype":{"scope":"settings"}}']) {
      const answer = await call(bearer, '/api/tokens', { method: 'POST', body: `{"description":"x",${game}}` });
      // Refused, or ignored.
      expect(answer.body.scope ?? 'reports').to.equal('reports');
      expect(answer.status).to.be.oneOf([201, 400]);
    }
    expect(({} as { scope?: string }).scope).to.equal(undefined);
  });

  it('lets a personal token manage no tokens, not even an administrator’s', async () => {
    const administrator = await app.person({ administrator: true, permissions: ['reports'] });
    const account = await app.directory.accounts.getOrFail(administrator.id);
    const { token, record } = await app.directory.personalTokens.create(account, { description: 'root' });
    const attempts: [string, string, object?][] = [
      ['GET', '/api/tokens'],
      ['POST', '/api/tokens', { description: 'more' }],
      ['POST', `/api/tokens/${record.id}/rotate`, {}],
      ['DELETE', `/api/tokens/${record.id}`],
    ];
    for (const [method, path, body] of attempts) {
      expect((await call(`Token ${token}`, path, { method, ...(body ? { body } : {}) })).status).to.equal(403);
    }
    expect((await call(`Token ${token}`, '/api/me')).status).to.equal(200);
    expect(await app.directory.personalTokens.list(administrator.id)).to.have.length(1);
  });

  it('wants scope tokens of an access token, and a person behind it', async () => {
    const person = await app.person({ permissions: ['reports'] });
    const client = await app.client({ permissions: ['reports'], trusted: true });
    const { access_token: token } = await createFlows(app.issuer).tokens({
      person,
      client,
      params: { scope: 'openid reports' },
    });
    expect((await call(`Bearer ${token}`, '/api/tokens')).status).to.equal(403);
  });

  it('refuses a bad header although a good session comes with it', async () => {
    const person = await app.person();
    const browser = createBrowser(app.issuer);
    const login = await browser.open('/account/tokens');
    await browser.submit(login.url.pathname, { email: person.email, password: person.password });
    expect((await browser.request('/api/tokens')).status).to.equal(200);
    const refused = await browser.request('/api/tokens', { headers: { authorization: 'Bearer nonsense' } });
    expect(refused.status).to.equal(401);
  });

  it('lets no other site make a token with a session', async () => {
    const person = await app.person();
    const browser = createBrowser(app.issuer);
    const login = await browser.open('/account/tokens');
    await browser.submit(login.url.pathname, { email: person.email, password: person.password });
    const body = JSON.stringify({ description: 'forged' });
    const origins: Record<string, string>[] = [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
    ];
    for (const origin of origins) {
      const response = await browser.request('/api/tokens', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...origin },
        body,
      });
      expect(response.status).to.equal(403);
    }
    const asForm = await browser.request('/api/tokens', {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body,
    });
    expect(asForm.status).to.equal(415);
    expect(await app.directory.personalTokens.list(person.id)).to.deep.equal([]);
  });

  it('answers 404 for the token of somebody else, and the same twice for one’s own', async () => {
    const [mine, theirs] = [await manager(), await manager()];
    const made = await makeToken(theirs.bearer);
    expect((await call(mine.bearer, `/api/tokens/${made.id}`, { method: 'DELETE' })).status).to.equal(404);
    expect((await call(mine.bearer, `/api/tokens/${made.id}/rotate`, { method: 'POST', body: {} })).status).to.equal(
      404,
    );
    expect((await call(`Token ${made.token}`, '/api/me')).status).to.equal(200);
    for (const path of ['/api/tokens/nonsense', '/api/tokens/__proto__', `/api/tokens/${'x'.repeat(2000)}`]) {
      expect((await call(mine.bearer, path, { method: 'DELETE' })).status).to.equal(404);
    }
    expect((await call(theirs.bearer, `/api/tokens/${made.id}`, { method: 'DELETE' })).status).to.equal(204);
    expect((await call(theirs.bearer, `/api/tokens/${made.id}`, { method: 'DELETE' })).status).to.equal(204);
    expect((await call(`Token ${made.token}`, '/api/me')).status).to.equal(401);
  });

  it('lets a token look at itself and end itself', async () => {
    const { bearer } = await manager();
    const made = await makeToken(bearer);
    const self = await call(`Token ${made.token}`, '/api/tokens/self');
    expect(self.body).to.include({ id: made.id, description: 'a script' }).and.not.to.have.property('token');
    expect((await call(bearer, '/api/tokens/self')).status).to.equal(403);
    expect((await call(`Token ${made.token}`, '/api/tokens/self', { method: 'DELETE' })).status).to.equal(204);
    expect((await call(`Token ${made.token}`, '/api/tokens/self')).status).to.equal(401);
  });

  it('makes 200 tokens of one person at most, however many are asked for at once and of whichever process', async () => {
    const { bearer, person } = await manager();
    const ask = async (url: string) => {
      const headers = { authorization: bearer, 'content-type': 'application/json' };
      const { status } = await fetch(`${url}/api/tokens`, {
        method: 'POST',
        headers,
        body: '{"description":"one more"}',
      });
      return status;
    };
    const statuses: number[] = [];
    for (let round = 0; round < 5; round++)
      statuses.push(...(await Promise.all(Array.from({ length: 60 }, (_, n) => ask(n % 2 ? other.url : app.issuer)))));
    expect(statuses.filter((status) => status === 201)).to.have.lengthOf(200);
    expect(statuses.filter((status) => status === 409)).to.have.lengthOf(100);
    const [first] = await app.directory.personalTokens.list(person.id);
    await app.directory.personalTokens.revoke(person.id, first?.id ?? '');
    expect(await ask(other.url), 'in place of one that was revoked').to.equal(201);
    expect(await ask(other.url)).to.equal(409);
  }).timeout(60_000);

  it('exchanges a token; the old one works on for the overlap and then takes its whole family with it', async () => {
    const { bearer } = await manager();
    const first = await makeToken(bearer);
    const rotate = (id: string, overlap: number) =>
      call(bearer, `/api/tokens/${id}/rotate`, { method: 'POST', body: { overlap } });
    const second = (await rotate(first.id, 2)).body as { id: string; token: string };
    expect((await call(`Token ${first.token}`, '/api/me')).status).to.equal(200);
    expect((await call(`Token ${second.token}`, '/api/me')).status).to.equal(200);
    await new Promise((resolve) => setTimeout(resolve, 3100));
    expect((await call(`Token ${second.token}`, '/api/me')).status).to.equal(200);
    expect((await call(`Token ${first.token}`, '/api/me')).status).to.equal(401);
    expect((await call(`Token ${second.token}`, '/api/me')).status).to.equal(401);
    for (const overlap of [-1, 86_401, 1.5, 'long']) {
      const answer = await call(bearer, `/api/tokens/${first.id}/rotate`, { method: 'POST', body: { overlap } });
      expect(answer.status).to.equal(400);
    }
  });

  it('exchanges a token once of twenty times at once on two processes', async () => {
    const { bearer, person } = await manager();
    const made = await makeToken(bearer);
    const attempts = Array.from({ length: 20 }, (_, index) =>
      fetch(`${index % 2 ? app.issuer : other.url}/api/tokens/${made.id}/rotate`, {
        method: 'POST',
        headers: { authorization: bearer, 'content-type': 'application/json' },
        body: '{"overlap":60}',
      }),
    );
    const statuses = (await Promise.all(attempts)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 201)).to.have.length(1);
    expect(new Set(statuses)).to.deep.equal(new Set([201, 409]));
    expect(await app.directory.personalTokens.list(person.id)).to.have.length(2);
  });

  it('keeps nothing of a person whose account is deleted but the trail', async () => {
    const { person, bearer } = await manager();
    await makeToken(bearer, { description: 'gone with its owner' });
    await app.directory.accounts.remove(person.id);
    for (const group of [
      `personal-tokens:account:${person.id}`,
      `consents:account:${person.id}`,
      `engine:account:${person.id}`,
    ]) {
      expect((await app.directory.storage.list(group)).entries, group).to.deep.equal([]);
    }
    const trail = await app.directory.audit.list({ accountId: person.id });
    expect(trail.events.map(({ type }) => type)).to.include('account_deleted');
  });

  it('says in OpenAPI what it takes and answers, under the paths that exist', async () => {
    const document = (await call(undefined, '/api/openapi.json')).body as {
      openapi: string;
      paths: Record<string, object>;
    };
    expect(document.openapi).to.match(/^3\.1/);
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const method of Object.keys(methods)) {
        const { status } = await call(undefined, path.replace('{id}', 'x'), {
          method: method.toUpperCase(),
          ...(method === 'post' ? { body: {} } : {}),
        });
        expect(status, `${method} ${path}`).to.equal(401);
      }
    }
  });
});
