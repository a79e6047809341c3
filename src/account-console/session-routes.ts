import Router from '@koa/router';
import type { Accounts } from '../accounts/accounts.ts';
import type { Audit } from '../audit.ts';
import { form } from '../http/form.ts';
import type { BrowserSession, Sessions } from '../oidc/sessions.ts';
import type { Console } from './pages.ts';

/** Sessions on one page. */
const PAGE = 25;

export interface SessionRoutesOptions {
  pages: Console;
  accounts: Pick<Accounts, 'endProven'>;
  sessions: Sessions;
  audit: Audit;
  /** Undefined for an app that may not act now. */
  findClient: (clientId: string) => Promise<{ name: string } | undefined>;
}

export function sessionRoutes({ pages, accounts, sessions, audit, findClient }: SessionRoutesOptions): Router {
  const router = new Router({ prefix: '/account/sessions' });

  router.get(
    '/',
    pages.signedIn(async function listSessions(ctx, visitor) {
      const found = await sessions.list(visitor.account.id);
      const isHere = ({ uid }: BrowserSession) => uid === visitor.uid;
      const ordered = [...found.filter(isHere), ...found.filter((session) => !isHere(session))];
      const from = /^\d{1,4}$/.test(String(ctx.query.from)) ? Number(ctx.query.from) : 0;
      const page = ordered.slice(from, from + PAGE);
      const data = {
        sessions: await Promise.all(page.map((session) => withNames(session, visitor.uid))),
        count: found.length,
        more: from + PAGE < found.length ? from + PAGE : undefined,
      };
      await pages.render(ctx, visitor, { section: 'sessions', view: 'sessions', data });
    }),
  );

  router.post(
    '/end-others',
    form(),
    pages.signedIn(
      async function endOthers(ctx, { account, uid, origin }) {
        await audit.record({ ...origin, type: 'sessions_ended', accountId: account.id });
        await accounts.endProven(account.id, 'sign-ins', { keepSession: uid, provenUnder: account.epoch });
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

  async function withNames(session: BrowserSession, current: string) {
    const partner = session.signedInBy === undefined ? undefined : await findClient(session.signedInBy);
    return { ...session, current: session.uid === current, partner: partner?.name };
  }

  return router;
}
