import Router from '@koa/router';
import type { Audit } from '../audit.ts';
import { AppError } from '../errors.ts';
import { form } from '../http/form.ts';
import type { AppAccess, AppsAccess } from '../oidc/app-access.ts';
import type { Console } from './console.ts';
import type { DescribedScope } from './token-routes.ts';

/** An app as a person sees it. */
export interface ShownClient {
  id: string;
  name: string;
  logoUri?: string | undefined;
  clientUri?: string | undefined;
  clientHost?: string | undefined;
}

export interface AppRoutesOptions {
  pages: Console;
  appsAccess: AppsAccess;
  audit: Audit;
  /** Undefined for an app that may not act now. */
  findClient: (clientId: string) => Promise<ShownClient | undefined>;
  describe: (names: readonly string[]) => Promise<DescribedScope[]>;
}

export function appRoutes({ pages, appsAccess, audit, findClient, describe }: AppRoutesOptions): Router {
  const router = new Router({ prefix: '/account/apps' });

  router.get(
    '/',
    pages.signedIn(async function listApps(ctx, visitor) {
      const apps = await shownApps(visitor.account.id);
      await pages.render(ctx, visitor, { section: 'apps', view: 'apps', data: { apps } });
    }),
  );

  router.get(
    '/:id/remove',
    pages.signedIn(async function confirmRemoval(ctx, visitor) {
      const app = (await shownApps(visitor.account.id)).find(({ clientId }) => clientId === ctx.params.id);
      if (!app) throw new AppError('not_found', 'there is no such app');
      await pages.render(ctx, visitor, { section: 'apps', view: 'app-remove', data: { app } });
    }),
  );

  router.post(
    '/:id/remove',
    form(),
    pages.signedIn(async function removeApp(ctx, { account, origin }) {
      const clientId = String(ctx.params.id);
      await appsAccess.takeBack(account.id, clientId);
      await audit.record({ ...origin, type: 'grant_revoked', accountId: account.id, clientId });
      pages.redirect(ctx, '/account/apps', 'app_removed');
    }),
  );

  /** An app that is gone or switched off can do nothing, and is not listed. */
  async function shownApps(accountId: string) {
    const shown = await Promise.all((await appsAccess.list(accountId)).map(shownApp));
    return shown.filter((app) => app !== undefined);
  }

  async function shownApp(access: AppAccess) {
    const client = await findClient(access.clientId);
    // Recognising a person is what every app does.
    const scope = await describe(access.scopes.filter((name) => name !== 'openid'));
    return client && { ...access, client, scope };
  }

  return router;
}
