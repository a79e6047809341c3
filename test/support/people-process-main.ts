/** Another process on the same store: does what `people.ts` orders. */
import { type Order, openPeople, outcomeOf } from './people.ts';

const [, , storeUrl = '', time = ''] = process.argv;
const { accounts, signIn, throttle } = await openPeople(storeUrl, { time: Number(time) });

function work(order: Order): Array<Promise<unknown>> {
  switch (order.order) {
    case 'create':
      return order.inputs.map((input) => accounts.create(input));
    case 'signIn':
      return order.inputs.map(signIn);
    case 'consume':
      return order.inputs.map((input) => throttle.consume(order.rule, input));
    case 'judgeWrong':
      return order.inputs.map((input) => throttle.judge(order.rule, input, () => false));
  }
}

process.on('message', async (order: Order) => process.send?.(await Promise.all(work(order).map(outcomeOf))));
process.on('disconnect', () => process.exit());
process.send?.([]);
