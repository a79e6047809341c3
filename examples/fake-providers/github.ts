/**
 * GitHub as far as a sign-in and an exchange need it: OAuth 2, who somebody is, and who a token belongs to, told only to the
 * OAuth app that it was issued to.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Authorization, createAuthorization } from './authorization.ts';
import { type Answer, basicOf, bearerOf, type FakePerson, type Listening, listen } from './fake-provider.ts';

export interface FakeGitHub extends Listening {
  /** Those who can sign in. */
  people: FakePerson[];
  authorization: Authorization;
  /** A token that a person gave to an OAuth app. */
  issue(person: FakePerson, clientId: string, options?: { expiresAt?: string }): string;
  revoke(token: string): void;
}

interface Issued {
  person: FakePerson;
  clientId: string;
  expiresAt?: string | undefined;
}

/** @param apps The OAuth apps: their secrets by client id. */
export async function startFakeGitHub(apps: Record<string, string>, port = 0): Promise<FakeGitHub> {
  const issued = new Map<string, Issued>();
  const people: FakePerson[] = [];
  const authorization = createAuthorization({ name: 'Fake GitHub', people });

  function issue(person: FakePerson, clientId: string, { expiresAt }: { expiresAt?: string } = {}): string {
    const token = `gho_${randomBytes(18).toString('hex')}`;
    server.given.push(token);
    issued.set(token, { person, clientId, expiresAt });
    return token;
  }

  /** GitHub says what is wrong with status 200. */
  function redeem(form: URLSearchParams): Answer {
    const id = form.get('client_id') ?? '';
    if (apps[id] === undefined || apps[id] !== form.get('client_secret'))
      return { body: { error: 'incorrect_client_credentials' } };
    const grant = authorization.redeem(form);
    if (grant?.clientId !== id) return { body: { error: 'bad_verification_code' } };
    return { body: { access_token: issue(grant.person, id), token_type: 'bearer', scope: 'user:email' } };
  }

  function tellWho(request: IncomingMessage): Answer {
    const found = issued.get(bearerOf(request));
    if (!found) return { status: 401, body: { message: 'Bad credentials' } };
    const { subject, login, email, unverified = false, name, addresses } = found.person;
    if (request.url === '/user') return { body: { id: Number(subject), login, name: name ?? null, email: null } };
    const other = { email: `${login}@users.noreply.github.example`, primary: email === undefined, verified: false };
    const primary = email === undefined ? [] : [{ email, primary: true, verified: !unverified }];
    return page(addresses ?? [other, ...primary], new URL(request.url ?? '', server.url));
  }

  /** Thirty of a list, or as many as are asked for, and where the next ones are. */
  function page(all: readonly unknown[], url: URL): Answer {
    const size = Math.min(Number(url.searchParams.get('per_page') ?? 30), 100);
    const number = Number(url.searchParams.get('page') ?? 1);
    const at = (other: number) => {
      url.searchParams.set('page', String(other));
      return `<${url.href}>`;
    };
    const last = Math.ceil(all.length / size);
    const links = number < last ? { link: `${at(number + 1)}; rel="next", ${at(last)}; rel="last"` } : {};
    return { body: all.slice((number - 1) * size, number * size), ...links };
  }

  function checkToken(request: IncomingMessage, body: string): Answer {
    const [, clientId = ''] = /^\/applications\/([^/]+)\/token$/.exec(request.url ?? '') ?? [];
    const { id, secret } = basicOf(request);
    if (request.method !== 'POST' || id !== clientId || apps[id] === undefined || apps[id] !== secret)
      return { status: 401, body: { message: 'Requires authentication' } };
    const { access_token: token } = JSON.parse(body) as { access_token: string };
    const found = issued.get(token);
    if (!found || found.clientId !== clientId) return { status: 404, body: { message: 'Not Found' } };
    const { subject, login, email, name } = found.person;
    return {
      body: {
        token,
        app: { client_id: clientId, name: 'A GitHub app' },
        user: { id: Number(subject), login, name: name ?? null, email: email ?? null },
        expires_at: found.expiresAt ?? null,
      },
    };
  }

  const server = await listen((request, body) => {
    const url = new URL(request.url ?? '/', server.url);
    if (url.pathname === '/login/oauth/authorize') return authorization.page(url);
    if (url.pathname === '/login/oauth/access_token') return redeem(new URLSearchParams(body));
    if (['/user', '/user/emails'].includes(url.pathname)) return tellWho(request);
    return checkToken(request, body);
  }, port);

  return Object.assign(server, {
    people,
    authorization,
    issue,
    revoke(token: string) {
      issued.delete(token);
    },
  });
}
