import Router from '@koa/router';
import type Koa from 'koa';
import { BUILT_IN_PERMISSION } from '../../accounts/account.ts';
import type { Client } from '../../clients/client.ts';
import type { Clients } from '../../clients/clients.ts';
import { keptIn, type Visitor } from '../../console/pages.ts';
import { form } from '../../http/form.ts';
import { parseInput } from '../../input.ts';
import type { Choices } from '../choices.ts';
import { type AdminConsole, actorOf } from '../pages.ts';
import { fillFrom, type Problems, problemsIn, problemsOf, SsoPolicyForm, ssoPolicyOf } from './sso-policy-form.ts';

/** As many organizations and permissions as there may be, and the other fields. */
const FIELDS = 400;

export interface SsoPolicyRoutesOptions {
  pages: AdminConsole;
  clients: Pick<Clients, 'getOrFail' | 'update'>;
  choices: Choices;
}

/** Whether an app may sign people in by its own word, and whom: decided on the app's page. */
export function ssoPolicyRoutes({ pages, clients, choices }: SsoPolicyRoutesOptions): Router {
  const router = new Router({ prefix: '/admin/apps/:id/partner-sign-in' });

  router.get(
    '/',
    pages.recentlySignedIn(async function showCeiling(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      await showForm(ctx, visitor, { app, filled: keptIn(visitor, SsoPolicyForm) ?? fillFrom(app) });
    }),
  );

  router.post(
    '/',
    form({ fields: FIELDS }),
    pages.recentlySignedIn(async function changeCeiling(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const sent = parseInput(SsoPolicyForm, ctx.request.body);
      const found = problemsOf(sent, app);
      const save = () => clients.update(app.id, { sso: ssoPolicyOf(sent) }, actorOf(visitor));
      const problems = Object.keys(found).length > 0 ? found : await save().then(() => undefined, problemsIn);
      if (!problems) return pages.redirect(ctx, pathOf(app), 'partner_sign_in_saved');
      ctx.status = 400;
      await showForm(ctx, visitor, { app, filled: sent, problems });
    }),
  );

  router.get(
    '/end',
    pages.recentlySignedIn(async function confirmEnd(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const about = { name: app.name, detail: app.id, back: pathOf(app), action: ctx.path };
      const data = { ...about, what: 'partner_sign_in_end', danger: true };
      await pages.render(ctx, visitor, { section: 'apps', view: 'confirm', data });
    }),
  );

  router.post(
    '/end',
    form(),
    pages.recentlySignedIn(async function endPartnerSignIn(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      await clients.update(app.id, { sso: undefined }, actorOf(visitor));
      pages.redirect(ctx, pathOf(app), 'partner_sign_in_ended');
    }),
  );

  async function showForm(
    ctx: Koa.Context,
    visitor: Visitor,
    { app, filled, problems = {} }: { app: Client; filled: SsoPolicyForm; problems?: Problems },
  ) {
    const given = app.permissions.filter((name) => name !== BUILT_IN_PERMISSION);
    const data = {
      app,
      filled,
      problems,
      organizations: await chosenFirst(filled.organization),
      permissions: (await choices.permissions()).filter(({ name }) => given.includes(name)),
    };
    await pages.render(ctx, visitor, { section: 'apps', view: 'partner-sign-in', data });
  }

  /** There may be many, of which a list shows some. */
  async function chosenFirst(chosen: readonly string[]): Promise<{ id: string; name: string }[]> {
    const names = await choices.organizationNames(chosen);
    const others = (await choices.organizations()).filter(({ id }) => !names.has(id));
    return [...[...names].map(([id, name]) => ({ id, name })), ...others];
  }

  return router;
}

function pathOf({ id }: Client): string {
  return `/admin/apps/${id}`;
}
