/**
 * A server app whose users have a token of GitHub, GitLab, Google or an OpenID provider: it swaps that for an access token of Latchkey, and calls
 * an API with it. Everything there is to it is `exchange` below.
 *
 * Run by itself: LATCHKEY=http://localhost:3000 APP_TOKEN=lk_app_… API=http://localhost:4000/orders node examples/exchange-app/server.ts
 * and call it with a user's token: curl -d providerToken=gho_… http://localhost:5000/orders
 */
import { createServer, type Server } from 'node:http';
import { text } from 'node:stream/consumers';

export interface ExchangeAppOptions {
  /** Where Latchkey is. */
  latchkey: string;
  /** The app token for each identity provider; the first is the default. */
  appTokens: Record<string, string>;
  /** What is called for the user. */
  api: string;
}

/** @throws what Latchkey answered: whose token failed, and why. */
async function exchange(latchkey: string, appToken: string, providerToken: string): Promise<string> {
  const response = await fetch(`${latchkey}/rest/token`, {
    method: 'POST',
    headers: { authorization: `token ${appToken}` },
    body: new URLSearchParams({ providerToken }),
  });
  const answer = (await response.json()) as { token: string };
  if (!response.ok) throw Object.assign(new Error('not exchanged'), { status: response.status, answer });
  return answer.token;
}

export function createExchangeApp({ latchkey, appTokens, api }: ExchangeAppOptions): Server {
  return createServer(async (request, response) => {
    const form = new URLSearchParams(await text(request));
    const [, appToken] = Object.entries(appTokens).find(([name]) => name === form.get('provider')) ?? [];
    const [first = ''] = Object.values(appTokens);
    try {
      const token = await exchange(latchkey, appToken ?? first, form.get('providerToken') ?? '');
      const orders = await fetch(api, { headers: { authorization: `token ${token}` } });
      response.writeHead(orders.status, { 'content-type': 'application/json' }).end(await orders.text());
    } catch (error) {
      const { status = 502, answer = { error: 'Latchkey does not answer' } } = error as {
        status?: number;
        answer?: object;
      };
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    }
  });
}

if (import.meta.main) {
  const { LATCHKEY = 'http://localhost:3000', APP_TOKEN = '', API = '', PORT = '5000' } = process.env;
  createExchangeApp({ latchkey: LATCHKEY, appTokens: { default: APP_TOKEN }, api: API }).listen(
    Number(PORT),
    '127.0.0.1',
  );
}
