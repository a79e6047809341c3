/**
 * What an app and a person do together in most flows: a request, the pages in between, the tokens. The app is openid-client,
 * the person a browser without a screen; `post` speaks to the endpoints by hand, for what no client library would send.
 */
import * as oidc from 'openid-client';
import type { TestClient } from './app.ts';
import { type Browser, createBrowser, type Landing } from './browser.ts';

export type Tokens = Awaited<ReturnType<typeof oidc.authorizationCodeGrant>>;

type Person = { email: string; password: string };
type App = Pick<TestClient, 'id' | 'secret' | 'redirectUri'>;

/** Who asks whom for what. */
export interface Visit {
  client: App;
  person: Person;
  /** Default: one that nobody has used yet. */
  browser?: Browser;
  /** Added to, or in place of, what an ordinary request says. */
  params?: Record<string, string>;
}

/** Where a code was sent, and how it is redeemed. */
export interface Redirected {
  callback: URL;
  code: string;
  verifier: string;
  redeem(): Promise<Tokens>;
}

/** What an endpoint answered. */
export interface Answer {
  status: number;
  headers: Headers;
  body: Record<string, unknown>;
}

export type Flows = ReturnType<typeof createFlows>;

/**
 * @param origin Where the server answers, when that is not the issuer: another process on the same store.
 * @param ahead Seconds by which the server's clock, and so that of its apps, is ahead.
 */
export function createFlows(issuer: string, origin = issuer, ahead = 0) {
  const at = (url: string) => url.replace(issuer, origin);

  async function configure(client: { id: string; secret: string }, auth = authOf(client)): Promise<oidc.Configuration> {
    const options: oidc.DiscoveryRequestOptions = {
      execute: [oidc.allowInsecureRequests],
      [oidc.customFetch]: (url, init) => fetch(at(url), init as RequestInit),
    };
    return oidc.discovery(new URL(issuer), client.id, { [oidc.clockSkew]: ahead }, auth, options);
  }

  /** An authorization request as `params` make it: nothing but what they say and the app's id. */
  function authorizeUrl(client: { id: string }, params: Record<string, string>): string {
    return `${issuer}/identity/authorize?${new URLSearchParams({ client_id: client.id, ...params })}`;
  }

  /** A code request that fits the app: PKCE, state, nonce. */
  async function start({ client, params = {} }: Pick<Visit, 'client' | 'params'>) {
    const verifier = oidc.randomPKCECodeVerifier();
    const request: Record<string, string> = {
      redirect_uri: client.redirectUri,
      response_type: 'code',
      scope: 'openid profile email',
      state: oidc.randomState(),
      nonce: oidc.randomNonce(),
      code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      ...params,
    };
    return { url: authorizeUrl(client, request), request, verifier };
  }

  /** From a request to the app's callback. */
  async function authorize(visit: Visit): Promise<Redirected> {
    const { client, person, browser = createBrowser(issuer, origin) } = visit;
    const { url, request, verifier } = await start(visit);
    const { url: callback, text } = await walk(browser, url, person);
    const code = callback.searchParams.get('code');
    if (code === null) throw new Error(`no code at ${callback}: ${titleOf(text)}`);
    return {
      callback,
      code,
      verifier,
      redeem: async () =>
        oidc.authorizationCodeGrant(await configure(client), callback, {
          pkceCodeVerifier: verifier,
          expectedState: String(request.state),
          idTokenExpected: request.scope?.includes('openid') ?? false,
          ...(request.nonce === undefined ? {} : { expectedNonce: request.nonce }),
        }),
    };
  }

  /** @param path Below `/identity/`. The app proves itself by Basic unless `params` do it in another way. */
  async function post(
    path: string,
    client: { id: string; secret: string },
    params: Record<string, string>,
  ): Promise<Answer> {
    const proves = 'client_secret' in params || 'client_assertion' in params;
    const credentials = Buffer.from(`${client.id}:${client.secret}`).toString('base64');
    const basic = proves || !client.secret ? {} : { authorization: `Basic ${credentials}` };
    const body = new URLSearchParams({ ...(client.secret ? {} : { client_id: client.id }), ...params });
    const response = await fetch(`${origin}/identity/${path}`, { method: 'POST', headers: basic, body });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text ? JSON.parse(text) : {} };
  }

  return {
    browser: () => createBrowser(issuer, origin),
    configure,
    authorizeUrl,
    start,
    authorize,
    tokens: async (visit: Visit): Promise<Tokens> => (await authorize(visit)).redeem(),
    post,
    redeem: (client: App, { code, verifier }: Pick<Redirected, 'code' | 'verifier'>) =>
      post('token', client, {
        grant_type: 'authorization_code',
        redirect_uri: client.redirectUri,
        code,
        code_verifier: verifier,
      }),
    refresh: (client: { id: string; secret: string }, refreshToken: string, params: Record<string, string> = {}) =>
      post('token', client, { grant_type: 'refresh_token', refresh_token: refreshToken, ...params }),
    introspect: async (client: { id: string; secret: string }, token: string) =>
      (await post('introspect', client, { token })).body,
    userinfo: (token: string) =>
      fetch(`${origin}/identity/userinfo`, { headers: { authorization: `Bearer ${token}` } }),
  };
}

/** Long-lived access: what an app asks for that wants a refresh token. */
export const OFFLINE = { scope: 'openid profile email offline_access', prompt: 'consent' };

function authOf({ secret }: { secret: string }): oidc.ClientAuth {
  return secret ? oidc.ClientSecretBasic(secret) : oidc.None();
}

/** Answers the pages of a sign-in as a willing person would, until the browser is sent to the app or stays on another page. */
export async function walk(browser: Browser, url: string, person: Person): Promise<Landing> {
  let landing = await browser.open(url);
  for (let page = 0; page < 5 && landing.url.pathname.startsWith('/interaction/'); page++) {
    const answer = answerTo(landing.text, person);
    if (!answer || landing.response?.status !== 200) return landing;
    landing = await browser.submit(landing.url.pathname, answer);
  }
  return landing;
}

function answerTo(page: string, { email, password }: Person): Record<string, string> | undefined {
  if (page.includes('name="password"')) return { email, password };
  if (page.includes('name="decision"')) return { decision: 'allow' };
  const [, account] = /name="account" value="([0-9a-f-]{36})"/.exec(page) ?? [];
  return account === undefined ? undefined : { account };
}

/** The form of a page that submits itself, or of one with a single form. */
export function formOf(page: string): { action: string; fields: Record<string, string> } {
  const [, action = ''] = /<form[^>]* action="([^"]*)"/.exec(page) ?? [];
  const inputs = page.matchAll(/<input[^>]* name="([^"]*)"[^>]* value="([^"]*)"/g);
  return {
    action,
    fields: Object.fromEntries([...inputs].map(([, name, value]) => [name, unescapeHtml(value ?? '')])),
  };
}

/** What a page says it is about. */
export function titleOf(page: string): string {
  return unescapeHtml(/<h1[^>]*>([^<]*)/.exec(page)?.[1] ?? '').trim();
}

/** What an app reads from the fragment. */
export function fragmentOf({ hash }: URL): URLSearchParams {
  return new URLSearchParams(hash.slice(1));
}

function unescapeHtml(text: string): string {
  const characters: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"' };
  return text
    .replace(/&#(\d+);/g, (_all, code: string) => String.fromCodePoint(Number(code)))
    .replace(/&(amp|lt|gt|quot);/g, (_all, name: string) => characters[name] ?? '');
}
