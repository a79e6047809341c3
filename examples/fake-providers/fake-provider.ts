/** What the fake providers have in common: people, the tokens they were given, and a server that can be made to misbehave. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** Somebody with an account at the provider. */
export interface FakePerson {
  /** The provider's own name for them; digits at GitHub. */
  subject: string;
  login: string;
  email?: string;
  givenName?: string;
  familyName?: string;
}

export interface Listening {
  url: string;
  /** Every request so far, as `POST /path`. */
  requests: string[];
  /** What is answered instead, as long as it is set. */
  misbehave: RequestListener | undefined;
  close(): Promise<void>;
}

export type Answer = { status?: number; body: unknown };

/** Serves JSON. @param port 0 for any. */
export async function listen(
  answer: (request: IncomingMessage, body: string) => Promise<Answer> | Answer,
  port = 0,
): Promise<Listening> {
  const server = createServer(async (request, response) => {
    listening.requests.push(`${request.method} ${request.url}`);
    if (listening.misbehave) return listening.misbehave(request, response);
    const { status = 200, body } = await answer(request, await text(request));
    send(response, status, body);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const listening: Listening = {
    url: `http://localhost:${(server.address() as AddressInfo).port}`,
    requests: [],
    misbehave: undefined,
    close: () => close(server),
  };
  return listening;
}

/** Client id and secret of HTTP Basic. */
export function basicOf({ headers }: IncomingMessage): { id: string; secret: string } {
  const decoded = Buffer.from(String(headers.authorization).replace(/^basic /i, ''), 'base64').toString();
  const [id = '', secret = ''] = decoded.split(':').map(decodeURIComponent);
  return { id, secret };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
}
