import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import Koa from 'koa';
import { readQueriesInOnePass } from '../src/http/query.ts';

/** Says what an app reads of its URLs, also after it has written them itself. */
async function listen(prepare: (app: Koa) => void) {
  const app = new Koa();
  prepare(app);
  app.use((ctx) => {
    const first = { ...ctx.query, same: String(ctx.query === ctx.request.query) };
    ctx.query = { ui_locales: 'fi', list: ['a', 'b'] };
    ctx.body = { first: Object.entries(first), text: ctx.querystring, second: Object.entries(ctx.query) };
  });
  const server = createServer(app.callback()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    read: async (query: string) => (await fetch(`http://127.0.0.1:${port}/?${query}`)).json(),
    close: () => server.close(),
  };
}

describe('the parameters of a URL', () => {
  it('are read as Koa reads them', async () => {
    const [ours, theirs] = await Promise.all([listen(readQueriesInOnePass), listen(() => undefined)]);
    for (const query of [
      '',
      'a=1',
      'a=1&b=2&a=3&a=',
      'a&b&&=x&=y',
      'a[b]=1&a[]=2&a.b=3',
      '__proto__=1&constructor=2&__proto__=3&hasOwnProperty=4',
      'a=%41+%zz%F0%9F%98%80&%61=2',
      '2=b&1=a&x=y&1=c',
      'a=1;b=2?c=3#d',
    ]) {
      expect(await ours.read(query), query).to.deep.equal(await theirs.read(query));
    }
    ours.close();
    theirs.close();
  });
});
