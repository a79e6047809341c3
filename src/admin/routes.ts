/**
 * The administrator's console: apps and people. Each page is plain HTML and works without scripts; every form comes from our
 * own pages, and its answer is another page, or the one page that shows a secret.
 */
import Router from '@koa/router';
import type { Accounts } from '../accounts/accounts.ts';
import type { Clients } from '../clients/clients.ts';
import type { ConsoleOptions } from '../console/console.ts';
import { createOneTimeForms } from '../console/one-time-forms.ts';
import { localeOf } from '../http/locale.ts';
import { sameOrigin } from '../http/same-origin.ts';
import type { Storage } from '../storage/storage.ts';
import { accountRoutes } from './account-routes.ts';
import { createAdministrators } from './administrators.ts';
import { appRoutes } from './app-routes.ts';
import { createChoices } from './choices.ts';
import { createAdminConsole } from './console.ts';

export type AdminOptions = Omit<ConsoleOptions, 'localeOf'> &
  Parameters<typeof createChoices>[0] & {
    storage: Storage;
    accounts: Accounts;
    clients: Clients;
  };

export function adminRoutes(options: AdminOptions): Router {
  const pages = createAdminConsole({ ...options, localeOf });
  const forms = createOneTimeForms(options);
  const choices = createChoices(options);
  const administrators = createAdministrators(options);
  const router = new Router();
  router.use('/admin', sameOrigin(options));

  router.get(
    '/admin',
    pages.signedIn(async function home(ctx) {
      ctx.redirect('/admin/apps');
    }),
  );
  router.use(appRoutes({ ...options, pages, forms, choices }).routes());
  router.use(accountRoutes({ ...options, pages, forms, choices, administrators }).routes());
  return router;
}
