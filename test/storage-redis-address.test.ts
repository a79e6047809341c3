/** STORE_URL against real servers: passwords of every kind in all forms, and TLS with an authority of one's own. */
import { expect } from 'chai';
import { openStorage } from '../src/storage/open.ts';
import type { Storage } from '../src/storage/storage.ts';
import { caughtFrom } from './storage.contract.ts';
import {
  type Authority,
  createAuthority,
  type RedisGroup,
  type RedisServer,
  startRedis,
  startRedisCluster,
  startRedisSentinel,
} from './support/redis.ts';

const now = () => Math.floor(Date.now() / 1000);
const start = (url: string) => openStorage(url, { now });

async function works(url: string): Promise<void> {
  const storage: Storage = await start(url);
  try {
    await storage.put('a', url);
    expect(await storage.take('a')).to.equal(url);
  } finally {
    await storage.close();
  }
}

async function messageOf(url: string): Promise<string> {
  return ((await caughtFrom(start(url))) as Error).message;
}

/** As people write them into a URL, and what they mean. */
const PASSWORDS: [written: string, meant: string][] = [
  ['pa:ss%40w', 'pa:ss@w'],
  ['100%', '100%'],
  ['100%25', '100%'],
  ['5%zz%2f', '5%zz/'],
  ['p@ss', 'p@ss'],
  ['a+b%20c', 'a+b c'],
  ['pässwört€', 'pässwört€'],
  ['p%C3%A4ss', 'päss'],
  ['%ff', '%ff'],
];

describe('storage: who we are to Redis, as STORE_URL says', () => {
  let single: RedisServer;
  let cluster: RedisGroup;
  let sentinel: RedisGroup;

  before(async function startAll() {
    this.timeout(30_000);
    [single, cluster, sentinel] = await Promise.all([startRedis(), startRedisCluster(), startRedisSentinel()]);
  });
  after(() => Promise.all([single, cluster, sentinel].map((server) => server?.stop())));

  const servers = () => [single, ...cluster.servers, ...sentinel.servers.slice(0, 2)];
  const places = () => [`${single.url}/0`, cluster.url, sentinel.url];

  for (const [written, meant] of PASSWORDS) {
    it(`a user with the password written ${written}, in every form`, async () => {
      for (const server of servers())
        await server.command('acl', 'setuser', 'ann', 'on', 'resetpass', `>${meant}`, '~*', '+@all');
      for (const url of places().slice(0, 2)) await works(url.replace('//', `//ann:${written}@`));
      // The Sentinel of this group asks nobody for a password.
      const alone = '?sentinel_password=';
      await works(`${places()[2]}${alone}`.replace('//', `//ann:${written}@`));
    });
  }

  it('a user without a password, and a password without a user', async () => {
    for (const server of servers()) {
      await server.command('acl', 'setuser', 'us:er', 'on', 'nopass', '~*', '+@all');
      await server.command('acl', 'setuser', 'default', 'resetpass', '>only');
    }
    try {
      for (const url of places()) {
        await works(url.replace('//', '//us%3Aer@'));
        await works(url.replace('//', '//:only@'));
      }
    } finally {
      for (const server of servers()) await server.command('-a', 'only', 'acl', 'setuser', 'default', 'nopass');
    }
  });

  it('is explained by name when it cannot be read, and no part of it is repeated', async () => {
    const secrets = [
      'redis://:hunter2/x@127.0.0.1',
      'redis://ann:hunter2#x@127.0.0.1',
      'redis://ann:x?hunter2@127.0.0.1',
      'redis+cluster://:hunter2/x@one,two',
      'redis+sentinel://:hunter2/x@one,two/main',
      'redis://127.0.0.1:hunter2',
      'redis://one,two:hunter2',
      'redis://127.0.0.1:99999/hunter2',
      'redis://127.0.0.1/hunter2',
      'redis+cluster://one/hunter2',
      'redis://127.0.0.1?password=hunter2',
      'redis+sentinel://one/main?hunter2=x',
      'rediss://127.0.0.1?cert=/hunter2',
      'redis+sentinel://:hunter2@one',
      'rediss+cluster://:hunter2@',
    ];
    for (const url of secrets)
      expect(await messageOf(url), url)
        .to.match(/^STORE_URL /)
        .and.not.contain('hunter2');
    expect(await messageOf('redis://:a/b@127.0.0.1')).to.contain('%2F');
    expect(await messageOf('rediss://127.0.0.1?ca=/no/such/file')).to.match(/^STORE_URL names a file of ca .*ENOENT/);
  });
});

describe('storage: Sentinels that have a password of their own', () => {
  it('are told it beside that of the servers', async function passwords() {
    this.timeout(30_000);
    const group = await startRedisSentinel({ passwords: { sentinel: 'watch me', server: 'serve' } });
    const url = group.url.replace('//', '//:serve@');
    try {
      await works(`${url}?sentinel_password=watch%20me`);
      expect(await messageOf(url))
        .to.contain('sentinels are unreachable')
        .and.not.contain('serve@');
    } finally {
      await group.stop();
    }
  });
});

describe('storage: Redis over TLS, with an authority of our own', () => {
  let authority: Authority;

  before(async () => {
    authority = await createAuthority();
  });
  after(() => authority?.remove());

  /** Works with the authority, and with nothing less. */
  async function expectEncrypted(url: string): Promise<void> {
    const secure = url.replace('redis', 'rediss');
    await works(`${secure}?ca=${authority.ca}`);
    expect(await messageOf(secure), 'an unknown authority').to.contain('out of reach');
    expect(await messageOf(url), 'without TLS').to.contain('out of reach');
  }

  it('one server', async () => {
    const settings = await authority.settings();
    const server = await startRedis(settings);
    await expectEncrypted(`redis://localhost:${settings['tls-port']}`);
    await server.stop();
  });

  it('one server that wants a certificate of ours too', async () => {
    const settings = { ...(await authority.settings()), 'tls-auth-clients': 'yes' };
    const server = await startRedis(settings);
    const url = `rediss://127.0.0.1:${settings['tls-port']}?ca=${authority.ca}`;
    const { 'tls-cert-file': cert, 'tls-key-file': key } = settings;
    await works(`${url}&cert=${cert}&key=${key}`);
    expect(await messageOf(url)).to.contain('out of reach');
    expect(await messageOf(`${url}&cert=${cert}`)).to.equal('STORE_URL must name both cert and key');
    await server.stop();
  });

  it('Sentinels and the servers they name', async function sentinel() {
    this.timeout(30_000);
    const group = await startRedisSentinel({ settings: authority.settings });
    await expectEncrypted(group.url);
    await group.stop();
  });

  it('a cluster, each node of it', async function cluster() {
    this.timeout(30_000);
    const ports: string[] = [];
    const group = await startRedisCluster(async () => {
      const settings = await authority.settings();
      ports.push(settings['tls-port']);
      return settings;
    });
    await expectEncrypted(`redis+cluster://${ports.map((port) => `localhost:${port}`).join(',')}`);
    await group.stop();
  });
});
