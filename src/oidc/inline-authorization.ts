/**
 * An authorization request answered within one request of the browser: it is made, its interaction is finished, and it is resumed
 * by asking our own server, as the browser would. So the engine does all of it through its public interface, and no cookie has to
 * go to the browser and come back in between.
 */
import type { RequestListener } from 'node:http';
import type Koa from 'koa';
import type { Response } from 'light-my-request';
import type Provider from 'oidc-provider';
import type { InteractionResults } from 'oidc-provider';
import { beginningCookies } from './beginning.ts';
import { ROUTES } from './protocol.ts';

/** An answer that has not been sent. */
export interface Answer {
  /** The uid of the session that the person was signed in to; absent when nobody was. */
  sessionUid: string | undefined;
  /** Makes it the answer to the browser's request. */
  send(): void;
  /** Only its cookies, beside an answer of one's own. */
  sendCookies(): void;
}

export type AuthorizeInline = (
  ctx: Koa.Context,
  request: {
    /** The parameters of the authorization request (RFC 6749 §4.1.1). */
    query: URLSearchParams;
    /** Whether the session that is there goes on; otherwise the browser is seen as without one. */
    keepSession: boolean;
    /** Asked once the request has been found to be right. */
    prove: () => Promise<InteractionResults>;
  },
) => Promise<Answer>;

export interface AuthorizeInlineOptions {
  /** The whole server. */
  listener: () => RequestListener;
  provider: () => Promise<Provider>;
}

export function createAuthorizeInline({
  listener,
  provider: currentProvider,
}: AuthorizeInlineOptions): AuthorizeInline {
  return async function signInAtOnce(ctx, { query, keepSession, prove }) {
    const provider = await currentProvider();
    const sessionCookie = provider.cookieName('session');
    const isOfSession = (name: string) => name === sessionCookie || name === `${sessionCookie}.sig`;
    const browser = createBrowser(ctx, {
      ...beginningCookies(ctx, provider.issuer),
      ...(keepSession ? sessionCookies(ctx, provider) : {}),
    });
    const wantsNoPages = query.get('prompt') === 'none';

    const started = await browser.get(listener(), `${ROUTES.authorization}?${asking(query)}`);
    if (!isInteraction(started)) return answerOf(started);
    const results = await prove();
    let finished = await finish(started, results);
    // What the app would not have its user see, such as a question for consent.
    if (wantsNoPages && isInteraction(finished)) finished = await finish(finished, { error: 'interaction_required' });
    return answerOf(finished);

    async function finish(interaction: Response, results: InteractionResults): Promise<Response> {
      const done = await browser.get((request, response) => {
        provider.interactionFinished(request, response, results).catch((error) => response.destroy(error));
      }, locationOf(interaction));
      return browser.get(listener(), locationOf(done));
    }

    async function answerOf(response: Response): Promise<Answer> {
      const id = browser.cookie(sessionCookie);
      const session = id === undefined ? undefined : await provider.Session.find(id);
      const isOver = !isInteraction(response);
      const sendCookies = () => {
        // Those of interactions that are over are of no use to the browser.
        const lines = browser
          .setCookies()
          .filter(([name]) => !isOver || isOfSession(name))
          .map(([, line]) => line);
        ctx.append('Set-Cookie', lines);
      };
      return {
        sessionUid: session?.accountId === undefined ? undefined : session.uid,
        sendCookies,
        send() {
          ctx.status = response.statusCode;
          for (const [name, value = ''] of Object.entries(response.headers)) {
            if (!OF_ONE_HOP.has(name)) ctx.set(name, [value].flat().map(String));
          }
          sendCookies();
          ctx.body = response.rawPayload;
        },
      };
    }
  };
}

/** Headers that belong to one connection, or that are put together anew. */
const OF_ONE_HOP = new Set(['connection', 'content-length', 'date', 'keep-alive', 'set-cookie', 'transfer-encoding']);

/** The request with the sign-in that happens anyway in place of the pages it would have shown for that. */
function asking(query: URLSearchParams): URLSearchParams {
  const wanted = (query.get('prompt') ?? '').split(' ').filter(Boolean);
  const others = wanted.join() === 'none' ? [] : wanted.filter((prompt) => prompt !== 'select_account');
  const asked = new URLSearchParams(query);
  asked.set('prompt', [...new Set(['login', ...others])].join(' '));
  return asked;
}

function isInteraction({ headers }: Response): boolean {
  return String(headers.location).startsWith('/interaction/');
}

/** The path: our own server is asked wherever it calls itself. */
function locationOf({ headers }: Response): string {
  const { pathname, search } = new URL(String(headers.location), 'http://localhost');
  return pathname + search;
}

function sessionCookies(ctx: Koa.Context, provider: Provider): Record<string, string> {
  const name = provider.cookieName('session');
  const names = [name, `${name}.sig`];
  return Object.fromEntries(names.map((each) => [each, ctx.cookies.get(each, { signed: false }) ?? '']));
}

/** Asks our own server in place of a browser, with the cookies that it has sent so far. */
function createBrowser(ctx: Koa.Context, sent: Record<string, string>) {
  const cookies = new Map(Object.entries(sent));
  const lines = new Map<string, string>();
  const headers = Object.fromEntries(PASSED_ON.map((name) => [name, ctx.get(name)]).filter(([, value]) => value));

  return {
    async get(listener: RequestListener, url: string): Promise<Response> {
      // Loaded when it is needed: it takes memory that most servers never use.
      const { inject } = await import('light-my-request');
      const response = await inject(listener as Parameters<typeof inject>[0], {
        method: 'GET',
        url,
        headers,
        cookies: Object.fromEntries(cookies),
        remoteAddress: ctx.ip,
      });
      for (const { name, value } of response.cookies) cookies.set(name, value);
      for (const line of [response.headers['set-cookie'] ?? []].flat()) lines.set(line.split('=', 1).join(), line);
      return response;
    },
    cookie: (name: string) => cookies.get(name),
    setCookies: () => [...lines],
  };
}

const PASSED_ON = ['accept', 'accept-language', 'user-agent'];
