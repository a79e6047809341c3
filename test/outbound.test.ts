import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createSocketServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { createOutbound, OutboundError, type OutboundOptions } from '../src/outbound/outbound.ts';
import { isPublicAddress } from '../src/outbound/public-address.ts';

const LOOPBACK = ['127.0.0.0/8'];
const PUBLIC = { address: '8.8.8.8', family: 4 };
const LOCAL = { address: '127.0.0.1', family: 4 };
const PRIVATE = { address: '10.0.0.1', family: 4 };

describe('outgoing requests', () => {
  const targets: Server[] = [];

  afterEach(async () => {
    for (const server of targets.splice(0)) {
      if ('closeAllConnections' in server) server.closeAllConnections();
      server.close();
      await once(server, 'close');
    }
  });

  /** A server that counts who connects, on every loopback address. */
  async function target(answer: RequestListener = (_request, response) => response.end('hello')) {
    const server = createServer(answer).listen(0, '::');
    targets.push(server);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const seen = { port, url: `http://127.0.0.1:${port}/`, connections: 0, open: 0 };
    server.on('connection', (socket) => {
      seen.connections += 1;
      seen.open += 1;
      socket.on('close', () => {
        seen.open -= 1;
      });
    });
    return seen;
  }

  const allowing = (options: Partial<OutboundOptions> = {}) => createOutbound({ allow: LOOPBACK, ...options });

  async function failureOf(request: Promise<Response>): Promise<OutboundError> {
    const error = await request.then(
      (response) => expect.fail(`answered ${response.status}`),
      (reason: unknown) => reason,
    );
    if (!(error instanceof OutboundError)) throw error;
    return error;
  }

  it('bring what was asked to an address that is allowed, and its answer back', async () => {
    const { url } = await target((request, response) => {
      const { method, headers } = request;
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        response.writeHead(201, { 'x-answer': 'yes', 'set-cookie': 'a=b' });
        response.end(JSON.stringify({ method, headers, body }));
      });
    });
    const request = allowing();
    const ask = { method: 'POST', headers: { 'x-mine': '1' }, body: new URLSearchParams({ a: 'ä' }) };
    const response = await request(url, ask);
    expect(response.status).to.equal(201);
    expect(response.headers.get('x-answer')).to.equal('yes');
    const { method, headers, body } = (await response.json()) as { [name: string]: unknown; headers: object };
    expect({ method, body }).to.deep.equal({ method: 'POST', body: 'a=%C3%A4' });
    expect(headers).to.include({ 'x-mine': '1', 'user-agent': 'Latchkey' });
    expect(headers).to.include({ 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8' });
    const again = (await (await request(url)).json()) as { headers: object };
    expect(again.headers).not.to.have.property('cookie');
  });

  const SPELLINGS = [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '0177.0.0.01',
    '１２７.0.0.1',
    '127.0.0.1.',
    '0',
    '127.255.255.254',
    '[::1]',
    '[0:0:0:0:0:0:0:1]',
    '[::]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::127.0.0.1]',
    '[64:ff9b::127.0.0.1]',
    '[2002:7f00:1::]',
    'localhost',
    'LOCALHOST',
    'localhost.',
  ];

  it('never touch a server of this machine, however its address is written', async () => {
    const { port, ...seen } = await target();
    const request = createOutbound({ allow: [] });
    for (const host of SPELLINGS) {
      for (const scheme of ['http', 'https']) {
        const { reason } = await failureOf(request(`${scheme}://${host}:${port}/`));
        expect(reason, `${scheme}://${host}`).to.be.oneOf(['forbidden', 'unreachable']);
      }
    }
    for (const host of ['127.0.0.1', '[::ffff:127.0.0.1]', 'localhost']) {
      expect((await failureOf(request(`https://${host}:${port}/`))).reason).to.equal('forbidden');
    }
    expect(seen.connections).to.equal(0);
  });

  it('go to an allowed address only, when another of the same network is not', async () => {
    const { port } = await target();
    const request = createOutbound({ allow: ['127.0.0.2', '::1/128'] });
    expect((await request(`http://127.0.0.2:${port}/`)).status).to.equal(200);
    expect((await request(`http://[::1]:${port}/`)).status).to.equal(200);
    expect((await failureOf(request(`http://127.0.0.1:${port}/`))).reason).to.equal('forbidden');
    expect((await failureOf(request(`http://127.0.0.3:${port}/`))).reason).to.equal('forbidden');
  });

  it('look a name up once and connect to what was found', async () => {
    const seen = await target();
    let lookups = 0;
    const request = allowing({
      resolve: async () => {
        lookups += 1;
        return lookups === 1 ? [LOCAL] : [PRIVATE];
      },
    });
    expect((await request(`http://app.example:${seen.port}/`)).status).to.equal(200);
    expect({ lookups, connections: seen.connections }).to.deep.equal({ lookups: 1, connections: 1 });
  });

  it('use none but the permitted addresses of a name', async () => {
    const seen = await target();
    const resolve = async () => [PRIVATE, LOCAL, { address: 'fd00::1', family: 6 }];
    expect((await allowing({ resolve })(`http://app.example:${seen.port}/`)).status).to.equal(200);
    expect(
      (await failureOf(createOutbound({ allow: [], resolve })(`https://app.example:${seen.port}/`))).reason,
    ).to.equal('forbidden');
    expect(seen.connections).to.equal(1);
  });

  it('refuse plain http to the public, and what is not the web', async () => {
    const byName = allowing({ resolve: async () => [PUBLIC] });
    expect((await failureOf(byName('http://app.example/'))).reason).to.equal('forbidden');
    for (const url of [
      'http://8.8.8.8/',
      'http://[2606:4700::1111]/',
      'ftp://example.com/',
      'file:///etc/passwd',
      'data:text/plain,hello',
      'blob:https://example.com/1',
      '//example.com/',
      'https://name:password@example.com/',
      'not a url',
    ]) {
      expect((await failureOf(allowing()(url))).reason, url).to.equal('forbidden');
    }
  });

  it('prove over https to be talking to the host of the URL', async () => {
    let hello = Buffer.alloc(0);
    const server = createSocketServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (chunk) => {
        hello = Buffer.concat([hello, chunk]);
        socket.destroy();
      });
    }).listen(0, '127.0.0.1');
    targets.push(server as Server);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const request = allowing({ resolve: async () => [LOCAL] });
    expect((await failureOf(request(`https://app.example:${port}/secret-path`))).reason).to.equal('unreachable');
    expect(hello.toString('latin1')).to.contain('app.example').and.not.to.contain('secret-path');
  });

  it('follow no redirect', async () => {
    const secret = await target();
    const { url } = await target((_request, response) =>
      response.writeHead(302, { location: secret.url }).end('moved'),
    );
    const response = await allowing()(url);
    expect(response.status).to.equal(302);
    expect(await response.text()).to.equal('moved');
    expect(secret.connections).to.equal(0);
  });

  const SLOW: Record<string, RequestListener> = {
    'never answers': () => undefined,
    'drips its headers': (_request, response) => drip(response.socket, 'HTTP/1.1 200 OK\r\nx-endless: '),
    'drips its body': (_request, response) => {
      response.write('a');
      drip(response, '');
    },
  };
  for (const [what, answer] of Object.entries(SLOW)) {
    it(`end in time when a server ${what}, and hang up`, async () => {
      const seen = await target(answer);
      const startedAt = performance.now();
      expect((await failureOf(allowing({ timeout: 0.4 })(seen.url))).reason).to.equal('timeout');
      expect(performance.now() - startedAt).to.be.within(380, 800);
      await sleep(100);
      expect(seen.open).to.equal(0);
    });
  }

  it('end in time when the name server does not answer', async () => {
    const resolve = () => new Promise<never>(() => undefined);
    const startedAt = performance.now();
    expect((await failureOf(allowing({ resolve, timeout: 0.3 })('https://app.example/'))).reason).to.equal('timeout');
    expect(performance.now() - startedAt).to.be.below(700);
  });

  it('take no more of a gigabyte than the limit, and hang up', async () => {
    let sent = 0;
    const seen = await target((_request, response) => {
      const chunk = Buffer.alloc(64 * 1024);
      const send = (): void => {
        while (sent < 2 ** 30 && !response.destroyed) {
          sent += chunk.length;
          if (!response.write(chunk)) return void response.once('drain', send);
        }
      };
      send();
    });
    expect((await failureOf(allowing()(seen.url))).reason).to.equal('too_large');
    await sleep(100);
    expect(seen.open).to.equal(0);
    expect(sent).to.be.below(16 * 2 ** 20);
  });

  it('count what is compressed by what it becomes', async () => {
    const bomb = gzipSync(Buffer.alloc(50 * 2 ** 20));
    const seen = await target((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb);
    });
    expect(bomb.length).to.be.below(60_000);
    expect((await failureOf(allowing()(seen.url))).reason).to.equal('too_large');
  });

  it('take an answer of exactly the limit, and none that is a byte longer', async () => {
    const { url } = await target((request, response) => response.end('x'.repeat(Number(request.url?.slice(1)))));
    const request = allowing({ maxBytes: 1000 });
    expect((await (await request(`${url}1000`)).text()).length).to.equal(1000);
    expect((await failureOf(request(`${url}1001`))).reason).to.equal('too_large');
  });

  it('hold few connections to one host, and let the others wait their turn', async () => {
    const seen = await target();
    const request = allowing();
    const statuses = await Promise.all(Array.from({ length: 100 }, async () => (await request(seen.url)).status));
    expect(new Set(statuses)).to.deep.equal(new Set([200]));
    expect(seen.connections).to.be.at.most(16);
  });

  it('go past the proxies of the environment', async () => {
    const proxy = await target();
    const seen = await target();
    const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy'];
    for (const name of names) process.env[name] = proxy.url;
    try {
      expect(await (await allowing()(seen.url)).text()).to.equal('hello');
    } finally {
      for (const name of names) delete process.env[name];
    }
    expect(proxy.connections).to.equal(0);
  });

  it('end with the signal of whoever asked', async () => {
    const { url } = await target(() => undefined);
    const stop = new AbortController();
    const asked = allowing()(url, { signal: stop.signal });
    stop.abort(new Error('changed my mind'));
    const error = await asked.catch((reason: unknown) => reason);
    expect(error).to.be.an('error').with.property('message', 'changed my mind');
  });

  it('say that a host is not there', async () => {
    expect((await failureOf(allowing()('http://127.0.0.1:9/'))).reason).to.equal('unreachable');
    expect((await failureOf(allowing()('https://nobody.invalid/'))).reason).to.equal('unreachable');
  });
});

describe('an address', () => {
  const PUBLIC_ONES = ['1.1.1.1', '8.8.8.8', '100.63.255.255', '100.128.0.0', '172.15.0.1', '172.32.0.1', '192.0.1.1'];
  const PUBLIC_IPV6 = ['2606:4700::1111', '2a00:1450::1', '::ffff:8.8.8.8', '::FFFF:808:808', '64:ff9b::8.8.8.8'];
  for (const address of [...PUBLIC_ONES, ...PUBLIC_IPV6]) {
    it(`such as ${address} is public`, () => {
      expect(isPublicAddress(address)).to.equal(true);
    });
  }

  const OTHERS: Record<string, string[]> = {
    unspecified: ['0.0.0.0', '0.1.2.3', '::', '::ffff:0.0.0.0'],
    loopback: ['127.0.0.1', '127.255.255.255', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1', '64:ff9b::7f00:1'],
    private: ['10.0.0.0', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '::ffff:10.0.0.1'],
    'the metadata of a cloud': ['169.254.169.254', '::ffff:a9fe:a9fe', '64:ff9b::a9fe:a9fe', '168.63.129.16'],
    'link-local': ['169.254.0.1', 'fe80::1', 'fe80::1%eth0', 'febf::1'],
    'unique-local': ['fc00::1', 'fd00:ec2::254', 'fdff::1'],
    'site-local': ['fec0::1'],
    'carrier-grade NAT': ['100.64.0.1', '100.100.100.200', '100.127.255.255', '64:ff9b::100.64.0.1'],
    multicast: ['224.0.0.1', '239.255.255.255', 'ff02::1', '::ffff:224.0.0.1'],
    broadcast: ['255.255.255.255'],
    reserved: ['240.0.0.1', '192.0.0.1', '192.0.0.192', '192.88.99.1', '4000::1', '100::1', '5f00::1'],
    benchmarking: ['198.18.0.1', '198.19.255.255', '2001:2::1'],
    documentation: ['192.0.2.1', '198.51.100.1', '203.0.113.1', '2001:db8::1', '3fff::1'],
    '6to4': ['2002:7f00:1::', '2002:a00:1::1', '2002:808:808::1'],
    Teredo: ['2001:0:4136:e378::1'],
    'local NAT64': ['64:ff9b:1::1', '64:ff9b:1::127.0.0.1'],
    'IPv4-compatible': ['::127.0.0.1', '::8.8.8.8'],
    'IPv4-translated': ['::ffff:0:127.0.0.1'],
    'not an address': ['', 'localhost', '127.1', '1.2.3', '[::1]', '1.1.1.1 ', '::g'],
  };
  for (const [kind, addresses] of Object.entries(OTHERS)) {
    it(`that is ${kind} is not public`, () => {
      expect(addresses.filter(isPublicAddress)).to.deep.equal([]);
    });
  }
});

/** A byte at a time until nobody reads on. */
function drip(stream: NodeJS.WritableStream | null, first: string): void {
  if (!stream) return;
  stream.write(first);
  const dripping = setInterval(() => stream.write('x'), 50);
  stream.once('close', () => clearInterval(dripping));
  stream.once('error', () => clearInterval(dripping));
}
