import type Koa from 'koa';

/** Requests that begin in one turn of the event loop; each takes about a millisecond of it. */
const IN_ONE_TURN = 4;

/**
 * Lets requests that strangers can send without end begin a few at a time, and whatever else has arrived in between: a hundred of them
 * that are there together would otherwise all be worked off before anything else is looked at. Nobody waits while there are few.
 */
export function takeTurns(isMeant: (ctx: Koa.Context) => boolean): Koa.Middleware {
  const waiting: Array<() => void> = [];
  let begun = 0;

  function begin(): void {
    if (begun === 0) setImmediate(nextTurn);
    begun += 1;
  }

  function nextTurn(): void {
    begun = 0;
    for (const resume of waiting.splice(0, IN_ONE_TURN)) {
      begin();
      resume();
    }
  }

  return async function waitForTurn(ctx, next) {
    if (!isMeant(ctx)) return next();
    if (begun < IN_ONE_TURN) begin();
    else await new Promise<void>((resolve) => waiting.push(resolve));
    return next();
  };
}
