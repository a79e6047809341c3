import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { embeddedStore, startProcess, type TestProcess, type TestStore } from './support/app.ts';

/** Milliseconds in which every request has to be here. */
const PATIENCE = 15_000;

const form = (path: string) =>
  `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n`;

/** What is sent at once, and what follows each half second for as long as anybody listens. */
const slow: Record<string, { first: string; more?: string }> = {
  nothing: { first: '' },
  'half a line': { first: 'GET /acc' },
  'half a header': { first: 'GET /account HTTP/1.1\r\nHost: local' },
  'headers without an end': { first: 'GET /account HTTP/1.1\r\nHost: localhost\r\n', more: 'X-A: b\r\n' },
  'no body': { first: form('/identity/token') },
  'a body letter by letter': { first: form('/identity/token'), more: 'a' },
  'a form of ours letter by letter': { first: form('/interaction/x'), more: 'a' },
  'an exchange letter by letter': { first: form('/rest/token'), more: 'a' },
  'an introspection letter by letter': { first: form('/identity/introspect'), more: 'a' },
  'chunks without an end': {
    first: 'POST /api/tokens HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n',
    more: '1\r\na\r\n',
  },
  'a second request that stops': {
    first: 'GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health/live HTTP/1.1\r\nHo',
  },
};

describe('a request that comes slowly', function () {
  this.timeout(PATIENCE + 15_000);
  let store: TestStore;
  let latchkey: TestProcess;

  before(async () => {
    store = await embeddedStore();
    latchkey = await startProcess(store);
  });
  after(async () => {
    await latchkey.kill('SIGKILL');
    await store.remove();
  });

  it('is given up within 15 seconds, whatever it consists of, and holds up nobody', async () => {
    const startedAt = performance.now();
    const lasted = Object.entries(slow).map(async ([name, { first, more }]) => {
      const socket = connect(Number(new URL(latchkey.url).port), '127.0.0.1').on('error', () => undefined);
      socket.resume();
      const closed = once(socket, 'close');
      socket.write(first);
      const drip = setInterval(() => more && socket.writable && socket.write(more), 500);
      await Promise.race([closed, sleep(PATIENCE + 10_000, undefined, { ref: false })]);
      clearInterval(drip);
      socket.destroy();
      return [name, performance.now() - startedAt] as const;
    });
    await sleep(1000);
    expect((await fetch(`${latchkey.url}/health/ready`)).status).to.equal(200);
    const late = (await Promise.all(lasted)).filter(([, milliseconds]) => milliseconds > PATIENCE);
    expect(late).to.deep.equal([]);
  });
});
