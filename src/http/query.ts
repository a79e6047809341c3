import type Koa from 'koa';

/**
 * Makes an app read the parameters of a URL in one pass. Koa's own reader looks through all of them for each, so that three thousand of
 * one name take as long as a thousand requests. What is read is the same.
 */
export function readQueriesInOnePass(app: Koa): void {
  const own = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(app.request), 'query');
  const read = new WeakMap<Koa.Request, { text: string; query: Koa.Request['query'] }>();

  function get(this: Koa.Request): Koa.Request['query'] {
    const text = this.querystring;
    const known = read.get(this);
    if (known?.text === text) return known.query;
    const query = queryIn(text);
    read.set(this, { text, query });
    return query;
  }

  Object.defineProperty(app.request, 'query', { ...own, get });
}

/** A name that comes several times has a list of values. */
function queryIn(text: string): Koa.Request['query'] {
  const values = Map.groupBy(new URLSearchParams(text), ([name]) => name);
  const entries = [...values].map(([name, pairs]) => {
    const [first, ...others] = pairs.map(([, value]) => value);
    return [name, others.length > 0 ? [first, ...others] : first];
  });
  return Object.fromEntries(entries);
}
