/**
 * The account console: what a person sees and changes of their own account. Each page is plain HTML and works without
 * scripts; every form comes from our own pages, and its answer is another page.
 */
import Router from '@koa/router';
import { createOneTimeForms } from '../console/one-time-forms.ts';
import { localeOf } from '../http/locale.ts';
import { hidesOrigin, sameOrigin } from '../http/same-origin.ts';
import type { Storage } from '../storage/storage.ts';
import { type AppRoutesOptions, appRoutes } from './app-routes.ts';
import { type ChangePasswordOptions, createChangePassword } from './change-password.ts';
import { type ConsoleOptions, createConsole } from './pages.ts';
import { type ProfileRoutesOptions, profileRoutes } from './profile-routes.ts';
import { createRevokeEverything, type RevokeEverythingOptions } from './revoke-everything.ts';
import { securityRoutes } from './security-routes.ts';
import { type SessionRoutesOptions, sessionRoutes } from './session-routes.ts';
import { type SignInMethodRoutesOptions, signInMethodRoutes } from './sign-in-method-routes.ts';
import { type TokenRoutesOptions, tokenRoutes } from './token-routes.ts';

export type AccountConsoleOptions = Omit<ConsoleOptions, 'localeOf' | 'hidesOrigin'> &
  Omit<
    ProfileRoutesOptions & TokenRoutesOptions & SessionRoutesOptions & AppRoutesOptions & SignInMethodRoutesOptions,
    'pages' | 'forms'
  > &
  ChangePasswordOptions &
  RevokeEverythingOptions & { storage: Storage };

export function accountConsoleRoutes(options: AccountConsoleOptions): Router {
  const pages = createConsole({ ...options, localeOf, hidesOrigin });
  const router = new Router();
  router.use('/account', sameOrigin({ issuer: options.issuer, provenByForm: true }));

  router.get('/', function home(ctx) {
    ctx.redirect('/account');
  });
  /** Where password managers look for it (W3C, A Well-Known URL for Changing Passwords). */
  router.get('/.well-known/change-password', function leadToPassword(ctx) {
    ctx.redirect('/account/security');
  });
  /** The sign-in ends here; the session it made is all that was wanted. */
  router.get('/account/callback', pages.finishSignIn);

  const parts = [
    profileRoutes({ ...options, pages }),
    tokenRoutes({ ...options, pages, forms: createOneTimeForms(options) }),
    sessionRoutes({ ...options, pages }),
    appRoutes({ ...options, pages }),
    signInMethodRoutes({ ...options, pages }),
    securityRoutes({
      ...options,
      pages,
      changePassword: createChangePassword(options),
      revokeEverything: createRevokeEverything(options),
      findClientName: async (id) => (await options.findClient(id))?.name,
    }),
  ];
  for (const part of parts) router.use(part.routes());
  return router;
}
