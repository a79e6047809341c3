/**
 * A server app whose people sign in with Latchkey. What that takes is in sign-in.ts; this is the app around it: routes, its own
 * session, one page. Sessions are in memory to keep the sample short; a real app keeps them in a store, with an end.
 *
 * Run by itself: ISSUER=http://localhost:3000 CLIENT_ID=… CLIENT_SECRET=… node examples/web-app/server.ts
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import Router from '@koa/router';
import ejs from 'ejs';
import Koa from 'koa';
import { type Attempt, createSignIns, refusalOf, type SignIn, type SignInOptions } from './sign-in.ts';

const PAGE = fileURLToPath(new URL('page.ejs', import.meta.url));
const SESSION = 'web-app-session';
const ATTEMPT = 'web-app-attempt';

export async function createWebApp(options: SignInOptions): Promise<Koa> {
  const { issuer, baseUrl } = options;
  const signIns = await createSignIns(options);
  const sessions = new Map<string, SignIn>();
  // Lax: forms on other sites are sent without these cookies, and so can do nothing here.
  const cookie = { httpOnly: true, sameSite: 'lax', secure: baseUrl.startsWith('https:') } as const;
  const router = new Router();

  router.get('/', async function home(ctx) {
    const signIn = sessions.get(sessionId(ctx));
    await render(ctx, signIn ? { signIn, userinfo: await signIns.userinfo(signIn) } : {});
  });

  router.get('/sign-in', async function startSignIn(ctx) {
    const { url, attempt } = await signIns.start();
    ctx.cookies.set(ATTEMPT, new URLSearchParams({ ...attempt }).toString(), { ...cookie, path: '/callback' });
    ctx.redirect(url);
  });

  router.get('/callback', async function finishSignIn(ctx) {
    const attempt = readAttempt(ctx);
    ctx.cookies.set(ATTEMPT, null, { ...cookie, path: '/callback' });
    if (!attempt) return render(ctx, { refusal: 'unexpected_answer' });
    const signIn = await signIns.finish(ctx.url, attempt);
    // A new session each time: whoever knew an earlier id is not signed in by it.
    sessions.delete(sessionId(ctx));
    const id = randomBytes(32).toString('base64url');
    sessions.set(id, signIn);
    ctx.cookies.set(SESSION, id, cookie);
    ctx.redirect('/');
  });

  router.post('/refresh', async function refresh(ctx) {
    const signIn = sessions.get(sessionId(ctx));
    if (signIn) await signIns.refresh(signIn);
    ctx.redirect('/');
  });

  router.post('/sign-out', async function signOut(ctx) {
    const signIn = sessions.get(sessionId(ctx));
    sessions.delete(sessionId(ctx));
    ctx.redirect(signIn ? await signIns.end(signIn) : '/');
  });

  for (const file of ['style.css', 'icon.svg']) {
    router.get(`/${file}`, async function sendFile(ctx) {
      ctx.type = file;
      ctx.body = await readFile(new URL(file, import.meta.url));
    });
  }

  async function render(ctx: Koa.Context, data: object): Promise<void> {
    ctx.type = 'html';
    ctx.body = await ejs.renderFile(PAGE, { signIn: undefined, refusal: undefined, issuer, ...data });
  }

  /** Latchkey's no is told to the person, and what it no longer honours is ended here; failures go on to the framework. */
  async function showRefusal(ctx: Koa.Context, next: Koa.Next): Promise<void> {
    try {
      await next();
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      if (refusal === 'invalid_grant' || refusal === 'invalid_token') sessions.delete(sessionId(ctx));
      await render(ctx, { refusal });
    }
  }

  const app = new Koa({ proxy: cookie.secure });
  app.use(headers(issuer)).use(showRefusal).use(router.routes());
  return app;
}

function sessionId(ctx: Koa.Context): string {
  return ctx.cookies.get(SESSION) ?? '';
}

function readAttempt(ctx: Koa.Context): Attempt | undefined {
  const stored = Object.fromEntries(new URLSearchParams(ctx.cookies.get(ATTEMPT)));
  const { state, nonce, codeVerifier } = stored;
  return state && nonce && codeVerifier ? { state, nonce, codeVerifier } : undefined;
}

/** Nothing but this app's own files, and forms that end here or at Latchkey (signing out). */
function headers(issuer: string): Koa.Middleware {
  const policy = `default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' ${issuer}; frame-ancestors 'none'; base-uri 'none'`;
  return async function setHeaders(ctx, next) {
    ctx.set({ 'Content-Security-Policy': policy, 'Cache-Control': 'no-store', 'Referrer-Policy': 'no-referrer' });
    await next();
  };
}

if (import.meta.main) {
  const { ISSUER = 'http://localhost:3000', CLIENT_ID = '', CLIENT_SECRET = '', PORT = '3001' } = process.env;
  const { BASE_URL: baseUrl = `http://localhost:${PORT}` } = process.env;
  const app = await createWebApp({ issuer: ISSUER, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, baseUrl });
  app.listen(Number(PORT), '127.0.0.1', () => console.log(`The web app is at ${baseUrl}`));
}
