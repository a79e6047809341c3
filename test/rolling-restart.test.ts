import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { embeddedStore, startProcess, type TestProcess, type TestStore } from './support/app.ts';
import { recipe } from './support/docs.ts';
import { type Nginx, startNginx } from './support/nginx.ts';

describe('a restart behind a real nginx set up as the docs say', function () {
  this.timeout(120_000);
  let store: TestStore;
  let processes: TestProcess[];
  let nginx: Nginx;
  const environment = { ISSUER: 'http://localhost:3000' };

  before(async () => {
    store = await embeddedStore();
    processes = [await startProcess(store, environment), await startProcess(store, environment)];
    const ports = processes.map(({ url }) => new URL(url).port);
    const [upstream, location] = await Promise.all(
      [/upstream/, /location/].map((pattern) =>
        recipe('run-behind-a-proxy.md', { heading: '## nginx', language: 'nginx', pattern }),
      ),
    );
    nginx = await startNginx(
      String(location),
      String(upstream).replace('3000', String(ports[0])).replace('3001', String(ports[1])),
    );
  });
  after(async () => {
    await nginx.stop();
    await Promise.all(processes.map((one) => one.kill('SIGKILL')));
    await store.remove();
  });

  it('of one process after the other fails no request', async () => {
    let isOver = false;
    const answers = new Map<string, number>();
    const note = (answer: string) => answers.set(answer, (answers.get(answer) ?? 0) + 1);
    const requests = [
      () => fetch(`${nginx.url}/.well-known/openid-configuration`),
      () => fetch(`${nginx.url}/api/me`),
      () => fetch(`${nginx.url}/identity/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'x' }) }),
      () => fetch(`${nginx.url}/identity/introspect`, { method: 'POST', body: new URLSearchParams({ token: 'x' }) }),
    ];
    const callers = Array.from({ length: 12 }, async (_, caller) => {
      for (let count = caller; !isOver; count++) {
        const request = requests[count % requests.length];
        await request?.().then(
          async (response) => {
            await response.arrayBuffer();
            note(String(response.status));
          },
          (error: Error) => note(String(error.cause ?? error)),
        );
      }
    });
    for (const index of [0, 1, 0, 1]) {
      const { url, kill } = processes[index] as TestProcess;
      await kill('SIGTERM');
      processes[index] = await startProcess(store, { ...environment, PORT: new URL(url).port });
      await sleep(500);
    }
    isOver = true;
    await Promise.all(callers);
    const expected = new Set(['200', '400', '401', '429']);
    expect([...answers].filter(([answer]) => !expected.has(answer))).to.deep.equal([]);
    expect(answers.get('200')).to.be.greaterThan(500);
  });
});
