/** Another process on the same store: does what `mail.ts` orders. */
import { type Order, openPost } from './mail.ts';

const [, , where = '', time = ''] = process.argv;
const clock = { time: Number(time) };
const post = await openPost(JSON.parse(where), clock);

async function perform(order: Order): Promise<void> {
  if (order.order === 'send') await Promise.all(order.mails.map((mail) => post.send(mail)));
  else {
    clock.time = order.time;
    await post.round();
  }
}

process.on('message', async (order: Order) => {
  await perform(order);
  process.send?.('done');
});
process.on('disconnect', () => process.exit());
process.send?.('ready');
