import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import Koa from 'koa';
import { takeTurns } from '../src/http/turns.ts';

/** The order in which requests are answered, each of which takes two milliseconds of work; the last one is sent when all are there. */
async function orderOf(prepare: (app: Koa) => void, path: string): Promise<string[]> {
  const app = new Koa();
  const answered: string[] = [];
  let arrived = 0;
  const everybody = Promise.withResolvers<void>();
  app.use(async (_ctx, next) => {
    arrived += 1;
    if (arrived === 61) everybody.resolve();
    await everybody.promise;
    await next();
  });
  prepare(app);
  app.use((ctx) => {
    const until = performance.now() + 2;
    while (performance.now() < until);
    answered.push(ctx.path);
    ctx.body = '';
  });
  const server = createServer(app.callback()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const paths = [...Array.from({ length: 60 }, () => path), '/check'];
  await Promise.all(paths.map(async (each) => (await fetch(origin + each)).arrayBuffer()));
  server.close();
  return answered;
}

describe('requests that take turns', () => {
  const inTurns = (app: Koa) => app.use(takeTurns(({ path }) => path === '/guess'));

  it('let others in between, and are all answered', async () => {
    const order = await orderOf(inTurns, '/guess');
    expect(order).to.have.length(61);
    expect(order.indexOf('/check')).to.be.below(10);
  });

  it('are those only that are meant', async () => {
    const order = await orderOf(inTurns, '/other');
    expect(order).to.have.length(61);
    expect(order.indexOf('/check')).to.be.above(10);
  });
});
