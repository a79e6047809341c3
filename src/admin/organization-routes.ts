import Router from '@koa/router';
import type Koa from 'koa';
import { z } from 'zod';
import type { OneTimeForms } from '../console/one-time-forms.ts';
import { keptIn, type Visitor } from '../console/pages.ts';
import { type AppError, noSuch } from '../errors.ts';
import { form } from '../http/form.ts';
import { parseInput } from '../input.ts';
import type { Organization } from '../organizations/organization.ts';
import type { Organizations } from '../organizations/organizations.ts';
import { fieldProblemIn } from './field-problem.ts';
import { type AdminConsole, actorOf } from './pages.ts';
import { ListQuery, mentions, search } from './search.ts';

const ORGANIZATIONS = '/admin/organizations';

const OrganizationForm = z.object({
  form: z.string().max(64).default(''),
  id: z.string().trim().max(1000).default(''),
  name: z.string().max(1000).default(''),
});
type OrganizationForm = z.infer<typeof OrganizationForm>;

export interface OrganizationRoutesOptions {
  pages: AdminConsole;
  forms: OneTimeForms;
  organizations: Organizations;
}

/** Whose people and apps there are. They are made and renamed; people and apps carry their ids, so none is deleted. */
export function organizationRoutes({ pages, forms, organizations }: OrganizationRoutesOptions): Router {
  const router = new Router({ prefix: ORGANIZATIONS });

  router.get(
    '/',
    pages.signedIn(async function listOrganizations(ctx, visitor) {
      const { q, after } = ListQuery.parse(ctx.query);
      const { found, next } = await search({
        async list(page) {
          const { organizations: records, ...rest } = await organizations.list(page);
          return { records, ...rest };
        },
        matches: ({ id, name }) => id === q || mentions([name], q),
        after,
      });
      const sorted = found.toSorted((a, b) => a.name.localeCompare(b.name));
      const data = { organizations: sorted, q, next, after };
      await pages.render(ctx, visitor, { section: 'organizations', view: 'organizations', data });
    }),
  );

  router.get(
    '/new',
    pages.recentlySignedIn(async function showNewOrganization(ctx, visitor) {
      await showForm(ctx, visitor, { filled: keptIn(visitor, OrganizationForm) ?? OrganizationForm.parse({}) });
    }),
  );

  router.post(
    '/new',
    form(),
    pages.recentlySignedIn(async function createOrganization(ctx, visitor) {
      const sent = parseInput(OrganizationForm, ctx.request.body);
      try {
        if (!(await forms.take(visitor.account.id, sent.form))) return pages.redirect(ctx, ORGANIZATIONS, 'form_used');
        const id = sent.id === '' ? {} : { id: sent.id };
        await organizations.create({ name: sent.name, ...id }, actorOf(visitor));
        pages.redirect(ctx, ORGANIZATIONS, 'organization_created');
      } catch (error) {
        await showForm(ctx, visitor, { filled: sent, error });
      }
    }),
  );

  router.get(
    '/:id/edit',
    pages.recentlySignedIn(async function showEdit(ctx, visitor) {
      const organization = await existing(ctx.params.id);
      await showForm(ctx, visitor, {
        filled: keptIn(visitor, OrganizationForm) ?? OrganizationForm.parse(organization),
        organization,
      });
    }),
  );

  router.post(
    '/:id/edit',
    form(),
    pages.recentlySignedIn(async function renameOrganization(ctx, visitor) {
      const organization = await existing(ctx.params.id);
      const sent = parseInput(OrganizationForm, ctx.request.body);
      try {
        await organizations.update(organization.id, { name: sent.name }, actorOf(visitor));
        pages.redirect(ctx, ORGANIZATIONS, 'organization_saved');
      } catch (error) {
        await showForm(ctx, visitor, { filled: sent, organization, error });
      }
    }),
  );

  async function showForm(
    ctx: Koa.Context,
    visitor: Visitor,
    { filled, organization, error }: { filled: OrganizationForm; organization?: Organization; error?: unknown },
  ) {
    const problem = error === undefined ? undefined : fieldProblemIn(error);
    if (problem) ctx.status = (error as AppError).status;
    const data = { organization, filled, problem, form: await forms.open(visitor.account.id) };
    await pages.render(ctx, visitor, { section: 'organizations', view: 'organization-form', data });
  }

  async function existing(id: unknown): Promise<Organization> {
    const organization = await organizations.get(String(id));
    if (!organization) throw noSuch('organization', String(id));
    return organization;
  }

  return router;
}
