import Router from '@koa/router';
import type { Audit } from '../audit.ts';
import { AppError } from '../errors.ts';
import { form } from '../http/form.ts';
import type { Sessions } from '../oidc/sessions.ts';
import type { Console } from './console.ts';

export interface SessionRoutesOptions {
  pages: Console;
  sessions: Sessions;
  audit: Audit;
}

export function sessionRoutes({ pages, sessions, audit }: SessionRoutesOptions): Router {
  const router = new Router({ prefix: '/account/sessions' });

  router.get(
    '/',
    pages.signedIn(async function listSessions(ctx, visitor) {
      const found = await sessions.list(visitor.account.id);
      const shown = found.map((session) => ({ ...session, current: session.uid === visitor.uid }));
      const ordered = [...shown.filter(({ current }) => current), ...shown.filter(({ current }) => !current)];
      await pages.render(ctx, visitor, { section: 'sessions', view: 'sessions', data: { sessions: ordered } });
    }),
  );

  router.post(
    '/end-others',
    form(),
    pages.signedIn(
      async function endOthers(ctx, { account, uid, origin }) {
        for (const session of await sessions.list(account.id)) {
          if (session.uid !== uid) await sessions.end(account.id, session.uid).catch(unlessGone);
        }
        await audit.record({ ...origin, type: 'sessions_ended', accountId: account.id });
        pages.redirect(ctx, '/account/sessions', 'sessions_ended');
      },
      { returnTo: () => '/account/sessions' },
    ),
  );

  router.post(
    '/:uid/end',
    form(),
    pages.signedIn(
      async function endSession(ctx, { account, origin }) {
        await sessions.end(account.id, String(ctx.params.uid));
        await audit.record({ ...origin, type: 'session_ended', accountId: account.id });
        pages.redirect(ctx, '/account/sessions', 'session_ended');
      },
      { returnTo: () => '/account/sessions' },
    ),
  );

  return router;
}

/** Somebody else ended it meanwhile. */
function unlessGone(error: unknown): void {
  if (!(error instanceof AppError) || error.code !== 'not_found') throw error;
}
