import Router from '@koa/router';
import type Koa from 'koa';
import { permissionsOf } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import { form } from '../http/form.ts';
import { LOCALES } from '../http/locale.ts';
import type { Console, Visitor } from './pages.ts';
import { changesOf, type ProfileValues, valuesIn, valuesOf } from './profile-form.ts';
import type { DescribedScope } from './token-routes.ts';

export interface ProfileRoutesOptions {
  pages: Console;
  accounts: Pick<Accounts, 'update'>;
  findOrganization: (id: string | undefined) => Promise<{ name: string } | undefined>;
  describe: (names: readonly string[]) => Promise<DescribedScope[]>;
}

export function profileRoutes({ pages, accounts, findOrganization, describe }: ProfileRoutesOptions): Router {
  const router = new Router({ prefix: '/account' });

  router.get(
    '/',
    pages.signedIn(async function showProfile(ctx, visitor) {
      await showForm(ctx, visitor, { values: valuesOf(visitor.account), problems: [] });
    }),
  );

  router.post(
    '/',
    form(),
    pages.signedIn(async function saveProfile(ctx, visitor) {
      const { account, origin } = visitor;
      const values = valuesIn(ctx.request.body);
      const outcome = changesOf(values, account);
      if ('changes' in outcome) {
        await accounts.update(account.id, outcome.changes, origin);
        return pages.redirect(ctx, '/account', 'profile_saved');
      }
      ctx.status = 400;
      await showForm(ctx, visitor, { values, problems: outcome.problems });
    }),
  );

  async function showForm(
    ctx: Koa.Context,
    visitor: Visitor,
    { values, problems }: { values: ProfileValues; problems: string[] },
  ): Promise<void> {
    const { account } = visitor;
    const organization = (await findOrganization(account.organizationId))?.name;
    const permissions = await describe(permissionsOf(account));
    const data = { account, organization, permissions, values, problems, languages: LOCALES, timeZones: TIME_ZONES };
    await pages.render(ctx, visitor, { section: 'profile', view: 'profile', data });
  }

  return router;
}

const TIME_ZONES = Intl.supportedValuesOf('timeZone');
