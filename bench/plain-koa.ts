/** The reference: Koa that answers a constant. */
import Koa from 'koa';

const app = new Koa();
app.use((ctx) => {
  ctx.body = { hello: 'world' };
});
app.listen(Number(process.argv[2]), '127.0.0.1');
