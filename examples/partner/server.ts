/**
 * A partner: an app with users of its own, which signs them in at Latchkey by its word. What that takes is in latchkey.ts; this is
 * the app around it: routes, its own session, one page. Sessions are in memory to keep the sample short.
 *
 * Run by itself: ISSUER=http://localhost:3000 CLIENT_ID=… CLIENT_SECRET=… ORGANIZATION_ID=… node examples/partner/server.ts
 * with an app that docs/sign-your-users-in.md shows how to make.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import Router from '@koa/router';
import ejs from 'ejs';
import Koa from 'koa';
import type { IDToken } from 'openid-client';
import { type Attempt, connectLatchkey, type LatchkeyOptions, Refusal, type User } from './latchkey.ts';

const PAGE = fileURLToPath(new URL('page.ejs', import.meta.url));
const SESSION = 'partner-session';

/** Who works with this app; its own record of them. */
const USERS = new Map<string, User>([
  ['mia', { email: 'mia@tidewater.example', firstName: 'Mia', lastName: 'Tanaka', permissions: 'orders.read' }],
  ['leo', { email: 'leo@tidewater.example', firstName: 'Leo', lastName: 'Virtanen', permissions: '' }],
]);

export interface PartnerOptions extends LatchkeyOptions {
  /** What is called for the user. */
  api: string;
}

/** Somebody who came back from Latchkey. */
interface Arrival {
  user: User;
  claims: IDToken;
  /** What the API said to this server. */
  orders: { status: number; answer: unknown };
}

/** What this app knows of one browser. */
interface Session {
  attempt?: Attempt;
  arrival?: Arrival;
}

export async function createPartner({ api, ...options }: PartnerOptions): Promise<Koa> {
  const { issuer, baseUrl } = options;
  const latchkey = await connectLatchkey(options);
  const sessions = new Map<string, Session>();
  const router = new Router();

  router.get('/', async function home(ctx) {
    await render(ctx, { arrival: sessionOf(ctx)?.arrival });
  });

  router.post('/:user/console', async function openConsole(ctx) {
    ctx.redirect(await latchkey.signInLink(userOf(ctx), `${issuer}/account`));
  });

  router.post('/:user/openid', async function openWithOpenId(ctx) {
    const { url, attempt } = await latchkey.start(userOf(ctx));
    keep(ctx, { attempt });
    ctx.redirect(url);
  });

  router.get('/callback', async function finishSignIn(ctx) {
    const attempt = sessionOf(ctx)?.attempt;
    forget(ctx);
    if (!attempt) throw new Refusal('unexpected_answer', 'it belongs to no sign-in of this browser');
    const claims = await latchkey.finish(ctx.url, attempt);
    keep(ctx, { arrival: { user: attempt.user, claims, orders: await ordersOf(attempt.user) } });
    ctx.redirect('/');
  });

  router.post('/sign-out', async function signOut(ctx) {
    const arrival = sessionOf(ctx)?.arrival;
    forget(ctx);
    if (arrival) await latchkey.signOut(arrival.user);
    ctx.redirect('/');
  });

  for (const file of ['style.css', 'icon.svg']) {
    router.get(`/${file}`, async function sendFile(ctx) {
      ctx.type = file;
      ctx.body = await readFile(new URL(file, import.meta.url));
    });
  }

  async function ordersOf(user: User): Promise<Arrival['orders']> {
    const response = await fetch(api, { headers: { authorization: `Bearer ${await latchkey.accessToken(user)}` } });
    return { status: response.status, answer: await response.json() };
  }

  function sessionOf(ctx: Koa.Context): Session | undefined {
    return sessions.get(ctx.cookies.get(SESSION) ?? '');
  }

  /** A new session each time: whoever knew an earlier id has nothing of this one. */
  function keep(ctx: Koa.Context, session: Session): void {
    forget(ctx);
    const id = randomBytes(32).toString('base64url');
    sessions.set(id, session);
    ctx.cookies.set(SESSION, id, { httpOnly: true, sameSite: 'lax', secure: baseUrl.startsWith('https:') });
  }

  function forget(ctx: Koa.Context): void {
    sessions.delete(ctx.cookies.get(SESSION) ?? '');
  }

  async function render(ctx: Koa.Context, data: { arrival?: Arrival | undefined; refusal?: Refusal }): Promise<void> {
    ctx.type = 'html';
    ctx.body = await ejs.renderFile(PAGE, { arrival: undefined, refusal: undefined, users: USERS, issuer, ...data });
  }

  /** Latchkey's no is told to the person; failures go on to the framework. */
  async function showRefusal(ctx: Koa.Context, next: Koa.Next): Promise<void> {
    try {
      await next();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      await render(ctx, { refusal: error });
    }
  }

  const app = new Koa({ proxy: baseUrl.startsWith('https:') });
  app.use(headers(issuer)).use(showRefusal).use(router.routes());
  return app;
}

/**
 * So that one browser can play both, the page says who its user is. A real app takes that from its own session and from nowhere
 * else: whoever it names is signed in.
 */
function userOf(ctx: Koa.Context): User {
  return USERS.get(ctx.params.user) ?? ctx.throw(404);
}

/** Nothing but this app's own files, and forms that end here or at Latchkey. */
function headers(issuer: string): Koa.Middleware {
  const policy = `default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' ${issuer}; frame-ancestors 'none'; base-uri 'none'`;
  return async function setHeaders(ctx, next) {
    ctx.set({ 'Content-Security-Policy': policy, 'Cache-Control': 'no-store', 'Referrer-Policy': 'no-referrer' });
    await next();
  };
}

if (import.meta.main) {
  const { ISSUER = 'http://localhost:3000', CLIENT_ID = '', CLIENT_SECRET = '', ORGANIZATION_ID = '' } = process.env;
  const { API = 'http://localhost:4000/orders', PORT = '3005' } = process.env;
  const { BASE_URL: baseUrl = `http://localhost:${PORT}` } = process.env;
  const app = await createPartner({
    issuer: ISSUER,
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    organizationId: ORGANIZATION_ID,
    api: API,
    baseUrl,
  });
  app.listen(Number(PORT), '127.0.0.1', () => console.log(`The partner is at ${baseUrl}`));
}
