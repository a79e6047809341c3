import Router from '@koa/router';
import type Koa from 'koa';
import { z } from 'zod';
import type { OneTimeForms } from '../console/one-time-forms.ts';
import { keptIn, type Visitor } from '../console/pages.ts';
import { type AppError, noSuch } from '../errors.ts';
import { form } from '../http/form.ts';
import { parseInput } from '../input.ts';
import type { Permission } from '../permissions/permission.ts';
import type { Permissions } from '../permissions/permissions.ts';
import { fieldProblemIn } from './field-problem.ts';
import { type AdminConsole, actorOf } from './pages.ts';

const PERMISSIONS = '/admin/permissions';

const PermissionForm = z.object({
  form: z.string().max(64).default(''),
  name: z.string().trim().max(1000).default(''),
  description: z.string().max(5000).default(''),
});
type PermissionForm = z.infer<typeof PermissionForm>;

export interface PermissionRoutesOptions {
  pages: AdminConsole;
  forms: OneTimeForms;
  permissions: Permissions;
}

/** What apps and people may be allowed to do. Apps and people hold them by name, so none is renamed or deleted. */
export function permissionRoutes({ pages, forms, permissions }: PermissionRoutesOptions): Router {
  const router = new Router({ prefix: PERMISSIONS });

  router.get(
    '/',
    pages.signedIn(async function listPermissions(ctx, visitor) {
      const data = { permissions: await permissions.list() };
      await pages.render(ctx, visitor, { section: 'permissions', view: 'permissions', data });
    }),
  );

  router.get(
    '/new',
    pages.recentlySignedIn(async function showNewPermission(ctx, visitor) {
      await showForm(ctx, visitor, { filled: keptIn(visitor, PermissionForm) ?? PermissionForm.parse({}) });
    }),
  );

  router.post(
    '/new',
    form(),
    pages.recentlySignedIn(async function createPermission(ctx, visitor) {
      const sent = parseInput(PermissionForm, ctx.request.body);
      try {
        if (!(await forms.take(visitor.account.id, sent.form))) return pages.redirect(ctx, PERMISSIONS, 'form_used');
        await permissions.create({ name: sent.name, description: sent.description }, actorOf(visitor));
        pages.redirect(ctx, PERMISSIONS, 'permission_created');
      } catch (error) {
        await showForm(ctx, visitor, { filled: sent, error });
      }
    }),
  );

  router.get(
    '/:name/edit',
    pages.recentlySignedIn(async function showEdit(ctx, visitor) {
      const permission = await existing(ctx.params.name);
      await showForm(ctx, visitor, {
        filled: keptIn(visitor, PermissionForm) ?? PermissionForm.parse(permission),
        permission,
      });
    }),
  );

  router.post(
    '/:name/edit',
    form(),
    pages.recentlySignedIn(async function describePermission(ctx, visitor) {
      const permission = await existing(ctx.params.name);
      const sent = parseInput(PermissionForm, ctx.request.body);
      try {
        await permissions.update(permission.name, { description: sent.description }, actorOf(visitor));
        pages.redirect(ctx, PERMISSIONS, 'permission_saved');
      } catch (error) {
        await showForm(ctx, visitor, { filled: sent, permission, error });
      }
    }),
  );

  async function showForm(
    ctx: Koa.Context,
    visitor: Visitor,
    { filled, permission, error }: { filled: PermissionForm; permission?: Permission; error?: unknown },
  ) {
    const problem = error === undefined ? undefined : fieldProblemIn(error);
    if (problem) ctx.status = (error as AppError).status;
    const data = { permission, filled, problem, form: await forms.open(visitor.account.id) };
    await pages.render(ctx, visitor, { section: 'permissions', view: 'permission-form', data });
  }

  async function existing(name: unknown): Promise<Permission> {
    const permission = await permissions.get(String(name));
    if (!permission) throw noSuch('permission', String(name));
    return permission;
  }

  return router;
}
