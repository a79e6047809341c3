/**
 * GitLab as far as a sign-in and an exchange need it: OAuth 2, who a token belongs to and which application it was issued to, told to
 * everybody who has it, and the person by the API.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Authorization, createAuthorization } from './authorization.ts';
import { type Answer, bearerOf, type FakePerson, type Listening, listen } from './fake-provider.ts';

export interface FakeGitLab extends Listening {
  /** Those who can sign in. */
  people: FakePerson[];
  authorization: Authorization;
  /** What it says otherwise of a token, and of a person; undefined is left out. */
  infoOtherwise: Record<string, unknown>;
  toldOtherwise: Record<string, unknown>;
  /** A token that a person gave to an application. */
  issue(person: FakePerson, clientId: string, options?: { expiresIn?: number; scope?: string }): string;
  revoke(token: string): void;
  /** Lets a person do nothing any more, with whatever token. */
  block(person: FakePerson): void;
}

interface Issued {
  person: FakePerson;
  clientId: string;
  expiresAt: number;
  scope: string;
}

export interface FakeGitLabOptions {
  /** The applications: their secrets by id. */
  apps: Record<string, string>;
  port?: number;
  /** A host from before 2019 says some things in other words. */
  old?: boolean;
}

export async function startFakeGitLab({ apps, port = 0, old = false }: FakeGitLabOptions): Promise<FakeGitLab> {
  const issued = new Map<string, Issued>();
  const blocked = new Set<string>();
  const people: FakePerson[] = [];
  const authorization = createAuthorization({ name: 'Fake GitLab', people });

  const issue: FakeGitLab['issue'] = (person, clientId, { expiresIn = 7200, scope = 'read_user' } = {}) => {
    const token = randomBytes(32).toString('hex');
    server.given.push(token);
    issued.set(token, { person, clientId, scope, expiresAt: seconds() + expiresIn });
    return token;
  };

  function redeem(form: URLSearchParams): Answer {
    const id = form.get('client_id') ?? '';
    if (apps[id] === undefined || apps[id] !== form.get('client_secret'))
      return { status: 401, body: { error: 'invalid_client', error_description: 'Client authentication failed' } };
    const grant = authorization.redeem(form);
    if (grant?.clientId !== id)
      return { status: old ? 401 : 400, body: { error: 'invalid_grant', error_description: 'The grant is invalid' } };
    const token = { access_token: issue(grant.person, id), token_type: 'Bearer', expires_in: 7200 };
    return {
      body: { ...token, refresh_token: randomBytes(32).toString('hex'), scope: 'read_user', created_at: seconds() },
    };
  }

  function live(request: IncomingMessage): Issued | undefined {
    const found = issued.get(bearerOf(request));
    return found && found.expiresAt > seconds() ? found : undefined;
  }

  function tellOfToken(request: IncomingMessage): Answer {
    const found = live(request);
    if (!found) return { status: old ? 400 : 401, body: { error: old ? 'invalid_request' : 'invalid_token' } };
    const { person, clientId, expiresAt, scope } = found;
    const left = expiresAt - seconds();
    const said = {
      resource_owner_id: Number(person.subject),
      application: { uid: clientId },
      created_at: seconds(),
      ...(old ? { scopes: [scope], expires_in_seconds: left } : { scope: [scope], expires_in: left }),
    };
    return { body: { ...said, ...server.infoOtherwise } };
  }

  function tellWho(request: IncomingMessage): Answer {
    const found = live(request);
    if (!found) return { status: 401, body: { message: '401 Unauthorized' } };
    if (found.scope !== 'read_user')
      return { status: 403, body: { error: 'insufficient_scope', scope: 'api read_user' } };
    const { subject, login, email, unverified = false, name, givenName, familyName } = found.person;
    if (blocked.has(subject))
      return { status: 403, body: { message: '403 Forbidden - Your account has been blocked.' } };
    const full = name ?? ([givenName, familyName].filter(Boolean).join(' ') || login);
    const said = { id: Number(subject), username: login, name: full, state: 'active', email: email ?? null };
    const confirmed_at = email === undefined || unverified ? null : '2026-01-15T08:00:00.000Z';
    return { body: { ...said, confirmed_at, ...server.toldOtherwise } };
  }

  const listening = await listen((request, body) => {
    const url = new URL(request.url ?? '/', server.url);
    if (url.pathname === '/oauth/authorize') return authorization.page(url);
    if (url.pathname === '/oauth/token') return redeem(new URLSearchParams(body));
    if (url.pathname === '/oauth/token/info') return tellOfToken(request);
    if (url.pathname === '/api/v4/user') return tellWho(request);
    return { status: 404, body: { error: '404 Not Found' } };
  }, port);

  const server = Object.assign(listening, {
    people,
    authorization,
    infoOtherwise: {},
    toldOtherwise: {},
    issue,
    revoke(token: string) {
      issued.delete(token);
    },
    block({ subject }: FakePerson) {
      blocked.add(subject);
    },
  });
  return server;
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
