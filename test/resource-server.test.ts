import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { serve } from '@hono/node-server';
import { expect } from 'chai';
import express from 'express';
import fastify from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import { type Caller, createResourceServer, type ResourceServer } from '../src/resource-server/middleware.ts';
import { embeddedStore, onEachEngine, startApp, startProcess, type TestApp, type TestStore } from './support/app.ts';

const DEMAND = { scope: 'reports' };

/** The same API on every framework: answers with who called. */
const frameworks: Record<string, (api: ResourceServer) => Promise<{ url: string; close(): unknown }>> = {
  'node:http': async (api) =>
    listening(
      createServer(async (request, response) => {
        const caller = await api.node(request, response, DEMAND);
        if (caller) response.setHeader('content-type', 'application/json').end(JSON.stringify(caller));
      }),
    ),

  async Koa(api) {
    const app = new Koa();
    app.use(api.koa(DEMAND));
    app.use((ctx) => {
      ctx.body = ctx.state.auth;
    });
    return listening(createServer(app.callback()));
  },

  async Express(api) {
    const app = express();
    app.use(api.express(DEMAND));
    app.get('/', (request, response) => {
      response.json((request as { auth?: Caller }).auth);
    });
    return listening(createServer(app));
  },

  async Fastify(api) {
    const app = fastify();
    app.get('/', { preHandler: api.fastify(DEMAND) }, async (request) => (request as { auth?: Caller }).auth);
    return { url: await app.listen({ port: 0, host: '127.0.0.1' }), close: () => app.close() };
  },

  async Hono(api) {
    const app = new Hono<{ Variables: { auth: Caller } }>();
    app.use(api.hono(DEMAND) as never);
    app.get('/', (context) => context.json(context.get('auth')));
    const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }) as Server;
    await once(server, 'listening');
    return { url: urlOf(server), close: () => server.close() };
  },
};

async function listening(server: Server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: urlOf(server),
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

describe('latchkey/resource-server', () => {
  let store: TestStore;
  let app: TestApp;
  let api: ResourceServer;
  let token: string;
  let personId: string;

  before(async () => {
    store = await embeddedStore();
    app = await startApp(store);
    api = await protectApi(app);
    ({ token, personId } = await makeToken(app));
  });
  after(async () => {
    api.close();
    await app.close();
    await store.remove();
  });

  for (const [name, start] of Object.entries(frameworks)) {
    it(`lets through who may call and refuses the others, on ${name}`, async () => {
      const server = await start(api);
      const call = (authorization?: string) => fetch(server.url, { headers: authorization ? { authorization } : {} });
      try {
        const passed = await call(`token ${token}`);
        expect(passed.status).to.equal(200);
        expect(await passed.json())
          .to.include({ subject: personId })
          .and.to.have.property('scope')
          .deep.equal(['reports']);

        const refused = await call('Bearer nonsense');
        expect(refused.status).to.equal(401);
        expect(refused.headers.get('www-authenticate')).to.match(/^Bearer realm=.*Token realm=/);
        expect(await refused.json()).to.include({ error: 'invalid_token', errorCode: '401' });
        expect((await call()).status).to.equal(401);

        const { token: narrow } = await makeToken(app, 'settings');
        const insufficient = await call(`Bearer ${narrow}`);
        expect(insufficient.status).to.equal(403);
        expect(await insufficient.json()).to.include({ error: 'insufficient_scope' });
      } finally {
        await server.close();
      }
    });
  }

  it('imports nothing of ours, so that it can be published alone', async () => {
    const { readFile } = await import('node:fs/promises');
    const source = await readFile('src/resource-server/middleware.ts', 'utf8');
    expect([...source.matchAll(/from '([^']+)'/g)].map(([, name]) => name)).to.deep.equal(['node:crypto']);
  });
});

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  it('remembers answers, and forgets them within a second of a withdrawal on another process', async () => {
    const other = await startProcess(store, { ISSUER: app.issuer });
    const api = await protectApi({ ...app, issuer: other.url });
    const { token, tokenId, personId } = await makeToken(app);
    const isLet = async () => (await api.decide(`Bearer ${token}`)).caller !== undefined;
    try {
      await sleep(600);
      expect(await isLet()).to.equal(true);
      // The answer is remembered: nobody is there to be asked.
      other.child.kill('SIGSTOP');
      expect(await isLet()).to.equal(true);
      other.child.kill('SIGCONT');

      await app.directory.accounts.disable(personId);
      await sleep(1000);
      expect(await isLet()).to.equal(false);

      // Enabling revives nothing.
      await app.directory.accounts.enable(personId);
      await sleep(600);
      expect(await isLet()).to.equal(false);
      expect(tokenId).to.be.a('string');
    } finally {
      api.close();
      await other.kill('SIGKILL');
    }
  });

  it('asks about every request while the feed is away, and lets nobody through unasked', async () => {
    const other = await startProcess(store, { ISSUER: app.issuer });
    const api = await protectApi({ ...app, issuer: other.url });
    const { token } = await makeToken(app);
    await sleep(600);
    expect((await api.decide(`Bearer ${token}`)).caller).not.to.equal(undefined);
    await other.kill('SIGKILL');
    await sleep(300);
    const { refusal } = await api.decide(`Bearer ${token}`);
    expect(refusal?.status).to.equal(503);
    api.close();
  });

  it('opens 50 feeds of one app at a time, and others when those are closed', async () => {
    const { client, secret = '' } = await app.directory.clients.create({ name: 'A greedy API', introspection: true });
    const authorization = `Basic ${Buffer.from(`${client.id}:${secret}`).toString('base64')}`;
    const ended = new AbortController();
    const open = (signal = ended.signal) =>
      fetch(`${app.issuer}/identity/introspect/feed`, { headers: { authorization }, signal });
    const answers = await Promise.all(Array.from({ length: 80 }, () => open()));
    expect(answers.filter(({ status }) => status === 200)).to.have.lengthOf(50);
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused).to.have.lengthOf(30);
    expect(Number(refused[0]?.headers.get('retry-after'))).to.be.greaterThan(0);
    ended.abort();
    const last = new AbortController();
    let status = 429;
    while (status === 429) ({ status } = await open(last.signal));
    expect(status).to.equal(200);
    last.abort();
  });

  it('opens the feed to apps that may introspect everything, and to nobody else', async () => {
    const ordinary = await app.client();
    const basic = (id: string, secret: string) => `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
    for (const authorization of [
      undefined,
      basic(ordinary.id, ordinary.secret),
      basic(ordinary.id, 'wrong'),
      'Basic x',
    ]) {
      const response = await fetch(`${app.issuer}/identity/introspect/feed`, {
        headers: authorization === undefined ? {} : { authorization },
      });
      expect(response.status).to.equal(401);
    }
  });
});

async function protectApi({ issuer, directory }: TestApp): Promise<ResourceServer> {
  const { client, secret = '' } = await directory.clients.create({ name: 'An API', introspection: true });
  return createResourceServer({ issuer, clientId: client.id, clientSecret: secret });
}

async function makeToken(app: TestApp, scope = 'reports') {
  for (const name of ['reports', 'settings']) {
    await app.directory.permissions.create({ name, description: `May use ${name}` }).catch(() => undefined);
  }
  const person = await app.person({ permissions: ['reports', 'settings'] });
  const account = await app.directory.accounts.getOrFail(person.id);
  const { token, record } = await app.directory.personalTokens.create(account, { description: 'a script', scope });
  return { token, tokenId: record.id, personId: person.id };
}
