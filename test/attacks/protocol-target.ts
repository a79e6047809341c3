/**
 * The protocol's endpoints of a server under attack: apps of every kind, a person who is signed in, and requests to which a
 * code or a token is the answer at once, unless an attack changes them. Whatever is let through shows.
 */
import { hash } from 'node:crypto';
import { expect } from 'chai';
import type { TestClient, TestStore } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { formOf } from '../support/flow.ts';
import { type Answer, type Attack, startTarget, type Target } from './web-target.ts';

export const VERIFIER = 'a-code-verifier-of-an-app-that-nobody-guesses';
export const CHALLENGE = hash('sha256', VERIFIER, 'base64url');
export const STATE = 'the state of the app';

/** What an app asks for that wants a refresh token. */
export const OFFLINE = { scope: 'openid email offline_access', prompt: 'consent' };

/** An array is sent as often as it has elements; undefined is not sent. */
export type Params = Record<string, string | readonly string[] | undefined>;

export type App = Pick<TestClient, 'id' | 'secret' | 'redirectUri'>;

/** An answer to an authorization request. */
export interface Reply extends Answer {
  /** Where the browser is sent, by a redirect or by a page that submits itself. */
  to: URL | undefined;
  /** What it takes along, and how. */
  params: URLSearchParams;
  mode: 'query' | 'fragment' | 'form_post' | undefined;
}

export interface Tokens {
  access_token: string;
  id_token: string;
  scope: string;
}

export interface Protocol {
  target: Target;
  person: { id: string; email: string; password: string };
  /** Where the person is signed in. */
  browser: Browser;
  /** With a secret. None of these apps needs consent. */
  web: TestClient;
  /** Another like it. */
  other: TestClient;
  /** Without a secret, in a browser: may have `id_token token` as well as `code`. */
  page: TestClient;
  /** Asks for a code, with PKCE and without any page. */
  authorize(client: App, changes?: Params, browser?: Browser): Promise<Reply>;
  /** @throws when there is none. */
  code(client: App, changes?: Params): Promise<string>;
  redeem(client: App, code: string, changes?: Params): Promise<Answer>;
  tokens(client: App, changes?: Params): Promise<Tokens>;
  /** With a refresh token. */
  offlineTokens(client: App, changes?: Params): Promise<Tokens & { refresh_token: string }>;
  /** @param path Below `/identity/`. An app with a secret proves itself by Basic, one without names itself. */
  post(path: string, client: App | undefined, params: Params, attack?: Attack): Promise<Answer>;
  /** The status of the answer that a token gets. */
  userinfo(token: string): Promise<number>;
  /** No answer was what none may be, nothing secret is in the log, and an app still gets its tokens. */
  unharmed(): Promise<void>;
}

export async function startProtocol(store: TestStore, environment: NodeJS.ProcessEnv = {}): Promise<Protocol> {
  const target = await startTarget(store, environment);
  const person = await target.person();
  const web = await target.client({ trusted: true });
  const other = await target.client({ trusted: true, redirectUris: ['https://other.example.com/callback'] });
  const page = await target.client({
    trusted: true,
    public: true,
    implicit: true,
    redirectUris: ['https://page.example.com/'],
  });
  const browser = target.browser();
  await target.signIn(browser, person, web);

  const requestOf = (client: App): Params => ({
    client_id: client.id,
    redirect_uri: client.redirectUri,
    response_type: 'code',
    scope: 'openid',
    state: STATE,
    prompt: 'none',
    code_challenge: CHALLENGE,
    code_challenge_method: 'S256',
  });

  const protocol: Protocol = {
    ...{ target, person, browser, web, other, page },

    async authorize(client, changes = {}, as = browser) {
      const query = encoded({ ...requestOf(client), ...changes });
      return replyOf(await target.send(`/identity/authorize?${query}`, { as }));
    },

    async code(client, changes) {
      const { params } = await protocol.authorize(client, changes);
      expect(params.get('code'), `a code, not ${params}`).to.be.a('string');
      return String(params.get('code'));
    },

    redeem: (client, code, changes = {}) =>
      protocol.post('token', client, {
        grant_type: 'authorization_code',
        code,
        code_verifier: VERIFIER,
        redirect_uri: client.redirectUri,
        ...changes,
      }),

    async tokens(client, changes) {
      return granted(await protocol.redeem(client, await protocol.code(client, changes)));
    },

    async offlineTokens(client, changes = {}) {
      const code = await protocol.code(client, { ...OFFLINE, ...changes });
      return granted(await protocol.redeem(client, code));
    },

    post(path, client, params, attack = {}) {
      const proof = client?.secret ? { authorization: basic(client.id, client.secret) } : {};
      const name = client && !client.secret ? { client_id: client.id } : {};
      const type = 'application/x-www-form-urlencoded';
      return target.send(`/identity/${path}`, {
        method: 'POST',
        body: encoded({ ...name, ...params }),
        ...attack,
        headers: { accept: '*/*', 'content-type': type, ...proof, ...attack.headers },
      });
    },

    async userinfo(token) {
      const headers = { accept: '*/*', authorization: `Bearer ${token}` };
      return (await target.send('/identity/userinfo', { headers })).status;
    },

    async unharmed() {
      await protocol.tokens(web);
      await target.harmless();
    },
  };
  return protocol;
}

export function basic(id: string, secret: string): string {
  return `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
}

export function encoded(params: Params): string {
  const pairs = Object.entries(params).flatMap(([name, values]) => [values ?? []].flat().map((value) => [name, value]));
  return new URLSearchParams(pairs as [string, string][]).toString();
}

export function jsonIn({ text }: Answer): Record<string, unknown> {
  return JSON.parse(text);
}

/** The tokens in an answer, which must be a success. */
export function granted<T extends Tokens>(answer: Answer): T {
  expect(answer.status, answer.text).to.equal(200);
  return jsonIn(answer) as unknown as T;
}

/** What is signed, without looking at the signature. */
export function claimsIn(jwt: string | null): Record<string, unknown> {
  return JSON.parse(Buffer.from(jwt?.split('.')[1] ?? '', 'base64url').toString());
}

/** A page for the person, who goes nowhere. */
export function expectPage({ status, headers, to, text }: Reply, expected = 400): void {
  expect(to?.href).to.equal(undefined);
  expect(status).to.equal(expected);
  expect(headers['content-type']).to.contain('text/html');
  expect(text).to.contain('<h1>').and.not.to.contain('<script>alert');
}

/** Back to the app that asked, with the error, its state, who answers, and nothing else. */
export function expectSentBack(reply: Reply, { redirectUri }: App, error: string, state: string | null = STATE): void {
  const { to, params } = reply;
  expect(to?.href.split(/[?#]/)[0], `sent with ${params}`).to.equal(redirectUri);
  expect(params.get('error'), String(params)).to.equal(error);
  expect(params.get('state')).to.equal(state);
  expect(params.get('iss')).to.match(/^http:\/\/localhost:\d+$/);
  const rest = [...params.keys()].filter((name) => !ALLOWED_WITH_ERROR.has(name));
  expect(rest).to.deep.equal([]);
}

/** `scope` tells the app which one it may not have (oidc-provider adds it to `invalid_scope`). */
const ALLOWED_WITH_ERROR = new Set(['error', 'error_description', 'state', 'iss', 'scope']);

/** JSON for a program (RFC 6749 §5.2). */
export function expectRefused(answer: Answer, status: number, error: string): void {
  expect(answer.text).to.contain(`"error":"${error}"`);
  expect(answer.status).to.equal(status);
  expect(Object.keys(jsonIn(answer))).to.satisfy((names: string[]) => names.every((name) => !/token|code$/.test(name)));
}

function replyOf(answer: Answer): Reply {
  const { location } = answer.headers;
  const { action, fields } = formOf(answer.text);
  if (location === undefined && /<script>/.test(answer.text)) {
    return { ...answer, to: new URL(action), params: new URLSearchParams(fields), mode: 'form_post' };
  }
  // A path of our own is a page to come.
  const to = location === undefined || location.startsWith('/') ? undefined : new URL(location);
  const mode = to && (to.hash ? 'fragment' : 'query');
  return { ...answer, to, params: new URLSearchParams(to?.hash ? to.hash.slice(1) : to?.search), mode };
}
