import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { readConfig } from '../../src/config.ts';
import { openCore } from '../../src/core.ts';
import { fixtures, SECRET_KEY, startProcess, type TestClient, type TestProcess } from '../support/app.ts';
import { createFlows, type Flows, type Redirected } from '../support/flow.ts';
import { type RedisGroup, startRedisSentinel } from '../support/redis.ts';

describe('when the master of Redis is killed while its replica is stuck', () => {
  let group: RedisGroup;
  let processes: TestProcess[];
  let here: Flows;
  let there: Flows;
  let client: TestClient;
  let person: { id: string; email: string; password: string };

  before(async function start() {
    this.timeout(40_000);
    group = await startRedisSentinel();
    const directory = await openCore(readConfig({ STORE_URL: group.url, SECRET_KEY }));
    person = await fixtures(directory).person();
    client = await fixtures(directory).client({ trusted: true });
    await directory.storage.close();
    const store = { storeUrl: group.url, directory: '', remove: group.stop };
    const first = await startProcess(store, { LOG_LEVEL: 'warn' });
    const second = await startProcess(store, { LOG_LEVEL: 'warn', ISSUER: first.url });
    processes = [first, second];
    here = createFlows(first.url);
    there = createFlows(first.url, second.url);
  });
  after(async () => {
    await Promise.all(processes.map((process) => process.kill('SIGKILL')));
    await group.stop();
  });

  it('a code gives nothing twice, nor what nobody confirmed, on any process; people sign in again', async () => {
    const [master, replica] = group.servers;
    const codes: Redirected[] = [];
    for (let n = 0; n < 3; n++) codes.push(await here.authorize({ client, person }));
    const [redeemed, cut, unused] = codes as [Redirected, Redirected, Redirected];
    expect((await here.redeem(client, redeemed)).status).to.equal(200);

    replica?.pause();
    const answer = await here.redeem(client, cut);
    expect(answer.status, 'its use is on one server only').to.equal(503);
    expect(answer.headers.get('retry-after')).to.equal('2');
    await master?.kill();
    replica?.resume();
    for (const { url } of processes) while ((await fetch(`${url}/health/ready`)).status !== 200) await sleep(100);

    for (const code of [redeemed, cut, unused])
      for (const flows of [here, there]) expect((await flows.redeem(client, code)).status).to.equal(400);
    expect(processes.map((process) => process.output()).join()).to.contain('the master of this Redis has changed');
    const fresh = await there.authorize({ client, person });
    expect((await here.redeem(client, fresh)).status).to.equal(200);
  }).timeout(40_000);
});
