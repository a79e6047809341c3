/**
 * The account console: what a person sees and changes of their own account. Each page is plain HTML and works without
 * scripts; every form comes from our own pages, and its answer is another page.
 */
import Router from '@koa/router';
import { localeOf } from '../http/locale.ts';
import { sameOrigin } from '../http/same-origin.ts';
import { type ConsoleOptions, createConsole } from './console.ts';
import { createOneTimeForms } from '../console/one-time-forms.ts';
import { type TokenRoutesOptions, tokenRoutes } from './token-routes.ts';

export type AccountConsoleOptions = Omit<ConsoleOptions, 'localeOf'> &
  Omit<TokenRoutesOptions, 'pages' | 'forms'> & {
    storage: Parameters<typeof createOneTimeForms>[0]['storage'];
    findOrganization: (id: string | undefined) => Promise<{ name: string } | undefined>;
  };

export function accountConsoleRoutes(options: AccountConsoleOptions): Router {
  const { issuer } = options;
  const pages = createConsole({ ...options, localeOf });
  const forms = createOneTimeForms(options);
  const router = new Router();
  router.use('/account', sameOrigin({ issuer }));

  router.get('/', function home(ctx) {
    ctx.redirect('/account');
  });
  /** The sign-in ends here; the session it made is all that was wanted. */
  router.get('/account/callback', pages.finishSignIn);

  router.get(
    '/account',
    pages.signedIn(async function showProfile(ctx, visitor) {
      const organization = (await options.findOrganization(visitor.account.organizationId))?.name;
      await pages.render(ctx, visitor, {
        section: 'profile',
        view: 'home',
        data: { account: visitor.account, organization },
      });
    }),
  );

  router.use(tokenRoutes({ ...options, pages, forms }).routes());
  return router;
}
