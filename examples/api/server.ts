/**
 * An API that lets Latchkey say who calls. Takes personal tokens and access tokens alike, with `Token` or `Bearer`.
 *
 * Run by itself: ISSUER=http://localhost:3000 CLIENT_ID=… CLIENT_SECRET=… node examples/api/server.ts
 * with an app made by: npm run latchkey -- app create --name "Orders API" --introspection
 */
import { createServer, type Server } from 'node:http';
// Outside this repository: import { createResourceServer } from 'latchkey/resource-server';
import { createResourceServer, type ResourceServerOptions } from '../../src/resource-server/middleware.ts';

const ORDERS = [
  { id: 1, book: 'The Sea, The Sea', copies: 2 },
  { id: 2, book: 'To the Lighthouse', copies: 1 },
];

export function createOrdersApi(options: ResourceServerOptions): Server {
  const latchkey = createResourceServer(options);

  const server = createServer(async (request, response) => {
    const caller = await latchkey.node(request, response, { scope: 'orders.read' });
    if (!caller) return;
    response.setHeader('Content-Type', 'application/json');
    response.end(`${JSON.stringify({ caller: caller.subject, orders: ORDERS }, null, 2)}\n`);
  });
  server.once('close', () => latchkey.close());
  return server;
}

if (import.meta.main) {
  const { ISSUER = 'http://localhost:3000', CLIENT_ID = '', CLIENT_SECRET = '', PORT = '4000' } = process.env;
  createOrdersApi({ issuer: ISSUER, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET }).listen(
    Number(PORT),
    '127.0.0.1',
    () => {
      console.log(`The API is at http://localhost:${PORT}/orders`);
    },
  );
}
