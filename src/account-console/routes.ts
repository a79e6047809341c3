import Router from '@koa/router';
import type Koa from 'koa';
import type { Account } from '../accounts/account.ts';
import { displayName } from '../accounts/account.ts';
import type { Views } from '../http/views.ts';
import { CONSOLE_CLIENT_ID, ROUTES } from '../oidc/provider.ts';

export interface AccountConsoleOptions {
  issuer: string;
  views: Views;
  findSession: (ctx: Koa.Context) => Promise<{ account: Account } | undefined>;
  findOrganization: (id: string | undefined) => Promise<{ name: string } | undefined>;
}

export function accountConsoleRoutes({ issuer, views, findSession, findOrganization }: AccountConsoleOptions): Router {
  const router = new Router();

  router.get('/', function home(ctx) {
    ctx.redirect('/account');
  });

  router.get('/account', async function showAccount(ctx) {
    const { account } = (await findSession(ctx)) ?? {};
    if (!account) return ctx.redirect(signInUrl(issuer, '/account'));
    const organization = (await findOrganization(account.organizationId))?.name;
    const { email, administrator } = account;
    const shown = { name: displayName(account), email, administrator, organization };
    await views.render(ctx, 'account/home', { account: shown, logoutAction: ROUTES.end_session });
  });

  /** The sign-in ends here; the session it made is all that was wanted. */
  router.get('/account/callback', async function finishSignIn(ctx) {
    if (ctx.query.error === undefined) return ctx.redirect(localPath(ctx.query.state, issuer));
    await views.render(ctx, 'interaction/logged-out');
  });

  return router;
}

/** An authorization request of our own first-party client; it comes back to `/account/callback` with `state`. */
function signInUrl(issuer: string, state: string): string {
  const request = {
    client_id: CONSOLE_CLIENT_ID,
    response_type: 'none',
    scope: 'openid',
    redirect_uri: `${issuer}/account/callback`,
    state,
  };
  return `${ROUTES.authorization}?${new URLSearchParams(request)}`;
}

/** A path of ours, or the console's start: nothing a link could carry leads elsewhere. */
function localPath(path: unknown, issuer: string): string {
  const url = typeof path === 'string' && path.startsWith('/') ? URL.parse(path, issuer) : null;
  // Looked at as parsed: `/a/..//evil.example` begins like a path of ours and is another site's address.
  const isOurs = url?.origin === issuer && /^\/[A-Za-z0-9]/.test(url.pathname);
  return isOurs ? `${url.pathname}${url.search}` : '/account';
}
