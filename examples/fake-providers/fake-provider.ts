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
  /** Nobody knows whether the e-mail is theirs. */
  unverified?: boolean;
  givenName?: string;
  familyName?: string;
  /** The full name, where it has no parts. */
  name?: string;
  /** All addresses that GitHub knows of, in place of the one above. */
  addresses?: ReadonlyArray<{ email: string; primary?: boolean; verified?: boolean }>;
}

export interface Listening {
  url: string;
  /** Every request so far, as `POST /path`. */
  requests: string[];
  /** Every token that it has given out. */
  given: string[];
  /** What is answered instead, as long as it is set. */
  misbehave: RequestListener | undefined;
  close(): Promise<void>;
}

/** JSON, a page, or the way to another one. */
export type Answer =
  | { status?: number; body: unknown; link?: string }
  | { status?: number; html: string }
  | { location: string };

/** @param port 0 for any. */
export async function listen(
  answer: (request: IncomingMessage, body: string) => Promise<Answer> | Answer,
  port = 0,
): Promise<Listening> {
  const server = createServer(async (request, response) => {
    listening.requests.push(`${request.method} ${request.url}`);
    if (listening.misbehave) return listening.misbehave(request, response);
    send(response, await answer(request, await text(request)));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const listening: Listening = {
    url: `http://localhost:${(server.address() as AddressInfo).port}`,
    requests: [],
    given: [],
    misbehave: undefined,
    close: () => close(server),
  };
  return listening;
}

/** Client id and secret of HTTP Basic, each form-encoded (RFC 6749 §2.3.1). */
export function basicOf({ headers }: IncomingMessage): { id: string; secret: string } {
  const decoded = Buffer.from(String(headers.authorization).replace(/^basic /i, ''), 'base64').toString();
  const [id = '', secret = ''] = decoded.split(':').map((part) => decodeURIComponent(part.replaceAll('+', ' ')));
  return { id, secret };
}

export function bearerOf({ headers }: IncomingMessage): string {
  return String(headers.authorization).replace(/^bearer /i, '');
}

function send(response: ServerResponse, answer: Answer): void {
  if ('location' in answer) return void response.writeHead(302, { location: answer.location }).end();
  const { status = 200 } = answer;
  if ('html' in answer) return void response.writeHead(status, { 'content-type': 'text/html' }).end(answer.html);
  const link = answer.link === undefined ? {} : { link: answer.link };
  response.writeHead(status, { 'content-type': 'application/json', ...link });
  response.end(JSON.stringify(answer.body));
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
}
