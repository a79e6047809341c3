import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { createPasswords } from '../src/accounts/password.ts';
import { createSmtpDelivery } from '../src/mail/smtp.ts';
import { createNameResolver, type NameResolverOptions } from '../src/outbound/name-resolver.ts';
import { createOutbound, type OutboundError } from '../src/outbound/outbound.ts';
import { type Answer, type NameServer, openNameServer } from './support/name-server.ts';

const FULL_LOOPBACK = '0:0:0:0:0:0:0:1';

describe('names of hosts', () => {
  let directory: string;
  const servers: NameServer[] = [];

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'latchkey-names-'));
  });
  after(() => rmSync(directory, { recursive: true }));
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close();
  });

  function file(name: string, text: string): string {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  }

  async function resolver(answers: Readonly<Record<string, Answer>>, options: NameResolverOptions = {}) {
    const server = await openNameServer(answers);
    servers.push(server);
    const files = { hostsFile: '/nowhere/hosts', resolvConf: '/nowhere/resolv.conf' };
    const resolve = createNameResolver({ ...files, servers: server.servers, timeout: 0.6, ...options });
    return {
      asked: server.asked,
      resolve,
      at: async (name: string) => (await resolve(name)).map((one) => one.address),
    };
  }

  async function failureOf(found: Promise<unknown>): Promise<Error> {
    const error = await found.then(
      (addresses) => expect.fail(`found ${JSON.stringify(addresses)}`),
      (reason: unknown) => reason,
    );
    return error as Error;
  }

  it('that nobody answers for hold up no other one, no password and no file', async () => {
    const { at } = await resolver({ 'right.example': ['192.0.2.1'], ...silent(40) }, { timeout: 5 });
    let ended = 0;
    const waiting = Array.from({ length: 40 }, (_, number) =>
      at(`silent${number}.example`)
        .catch(() => undefined)
        .finally(() => {
          ended += 1;
        }),
    );
    expect(await at('right.example')).to.deep.equal(['192.0.2.1']);
    expect(await createPasswords().verify('a guess', undefined)).to.equal(false);
    expect((await lookup('localhost', { family: 4 })).address).to.equal('127.0.0.1');
    expect(ended, 'still waiting').to.equal(0);
    await Promise.all(waiting);
  });

  it('are given up in time, and then not asked for again for a while', async () => {
    const { asked, at } = await resolver({ 'silent.example': 'silence', 'broken.example': 'servfail' });
    for (const name of ['silent.example', 'nobody.example', 'broken.example', `${'x'.repeat(64)}.example`]) {
      const startedAt = performance.now();
      expect((await failureOf(at(name))).message, name).to.contain(`${name} has no address`);
      expect(performance.now() - startedAt, name).to.be.below(1_500);
      const questions = asked.length;
      expect((await failureOf(at(name.toUpperCase()))).message, name).to.contain(`${name} has no address`);
      expect(asked.length, name).to.equal(questions);
    }
  });

  it('are asked for once, however many want them at a time, and again when they are wanted again', async () => {
    const { asked, at } = await resolver({ 'app.example': ['192.0.2.1'] });
    await Promise.all(Array.from({ length: 50 }, () => at('app.example')));
    expect(asked.toSorted()).to.deep.equal(['app.example A', 'app.example AAAA']);
    await at('app.example');
    expect(asked).to.have.lengthOf(4);
  });

  it('are found with all their addresses, behind aliases too, but never more than can be tried', async () => {
    const many = Array.from({ length: 60 }, (_, number) => `192.0.2.${number}`);
    const { at } = await resolver({
      'both.example': [FULL_LOOPBACK, '192.0.2.1'],
      'six.example': [FULL_LOOPBACK],
      'alias.example': { alias: 'elsewhere.example', addresses: ['192.0.2.9'] },
      'half.example A': ['192.0.2.3'],
      'half.example AAAA': 'silence',
      'many.example': many,
    });
    expect(await at('both.example')).to.deep.equal(['192.0.2.1', '::1']);
    expect(await at('six.example')).to.deep.equal(['::1']);
    expect(await at('alias.example')).to.deep.equal(['192.0.2.9']);
    expect(await at('half.example')).to.deep.equal(['192.0.2.3']);
    const found = await at('many.example');
    expect(found).to.have.lengthOf(16);
    expect(many).to.include.members(found);
  });

  it('are looked for in the hosts file first, as it is now', async () => {
    const hostsFile = file(
      'hosts',
      '# 192.0.2.9 sso\n192.0.2.1\tSSO sso.internal # ours\n2001:db8::1 sso\nnonsense sso\n',
    );
    const { asked, at } = await resolver({ sso: ['198.51.100.1'] }, { hostsFile });
    expect(await at('sso')).to.deep.equal(['192.0.2.1', '2001:db8::1']);
    expect(await at('Sso.Internal.')).to.deep.equal(['192.0.2.1']);
    expect(asked).to.deep.equal([]);
    file('hosts', '');
    expect(await at('sso')).to.deep.equal(['198.51.100.1']);
  });

  it('at and below localhost are here, unless the hosts file says otherwise; nobody else is asked', async () => {
    const lying: Record<string, Answer> = { localhost: ['192.0.2.1'], 'app.localhost': ['192.0.2.1'] };
    const { asked, at } = await resolver(lying, { hostsFile: file('ours', '127.0.0.1 localhost\n') });
    expect(await at('localhost')).to.deep.equal(['127.0.0.1']);
    for (const name of ['app.localhost', 'APP.localhost.']) expect(await at(name)).to.deep.equal(['127.0.0.1', '::1']);
    expect(asked).to.deep.equal([]);
  });

  it('are looked for in the search domains of the system, in its order', async () => {
    const resolvConf = file(
      'resolv.conf',
      'search wrong\nsearch ns.svc.cluster.local. corp\noptions timeout:9 ndots:2\n',
    );
    const inCluster: Record<string, Answer> = { 'sso.ns.svc.cluster.local': ['10.0.0.1'], 'sso.corp': ['10.0.0.2'] };
    const { asked, at } = await resolver({ ...inCluster, 'sso.other.corp': ['10.0.0.3'] }, { resolvConf });
    expect(await at('sso')).to.deep.equal(['10.0.0.1']);
    expect(await at('sso.other')).to.deep.equal(['10.0.0.3']);
    asked.length = 0;
    await failureOf(at('a.b.example'));
    expect(asked[0]).to.match(/^a\.b\.example A/);
    asked.length = 0;
    await failureOf(at('sso.'));
    expect(new Set(asked)).to.deep.equal(new Set(['sso A', 'sso AAAA']));
  });

  it('lead only where outgoing requests may go, whatever a name server says', async () => {
    const target = createServer((_request, response) => response.end('secret')).listen(0, '127.0.0.1');
    await once(target, 'listening');
    const { port } = target.address() as AddressInfo;
    let connections = 0;
    target.on('connection', () => {
      connections += 1;
    });
    const { resolve } = await resolver({
      'lying.example': ['127.0.0.1', '10.0.0.1', '169.254.169.254'],
      'aliased.example': { alias: 'localhost', addresses: ['127.0.0.1'] },
      'mapped.example': ['0:0:0:0:0:ffff:7f00:1', FULL_LOOPBACK],
    });
    const guarded = createOutbound({ allow: [], resolve });
    try {
      for (const name of ['lying.example', 'aliased.example', 'mapped.example', 'app.localhost']) {
        const error = await failureOf(guarded(`https://${name}:${port}/`));
        expect((error as OutboundError).reason, name).to.equal('forbidden');
      }
      expect(connections).to.equal(0);
      const allowing = createOutbound({ allow: ['127.0.0.1'], resolve });
      expect(await (await allowing(`http://lying.example:${port}/`)).text()).to.equal('secret');
    } finally {
      target.close();
    }
  });

  it('of a mail server that nobody answers for hold up nothing either: the mail is tried again', async () => {
    const { resolve } = await resolver({ 'mail.example': 'silence' });
    const deliver = createSmtpDelivery({
      smtpUrl: 'smtp://mail.example',
      issuer: 'https://id.example.com',
      findHost: resolve,
    });
    const startedAt = performance.now();
    const message = { id: '1', at: 0, to: 'pat@example.com', subject: 'Hello', text: 'Hello', html: '<p>Hello</p>' };
    const outcome = await deliver(message);
    expect(outcome).to.deep.equal({
      kind: 'unreachable',
      reason: 'mail.example has no address: no name server answered in time',
    });
    expect(performance.now() - startedAt).to.be.below(5_000);
  });
});

function silent(count: number): Record<string, Answer> {
  const names = Array.from({ length: count }, (_, number) => `silent${number}.example`);
  return Object.fromEntries(names.map((name) => [name, 'silence']));
}
