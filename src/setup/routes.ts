import Router from '@koa/router';
import type Koa from 'koa';
import { z } from 'zod';
import { AppError } from '../errors.ts';
import { form } from '../http/form.ts';
import { sameOrigin } from '../http/same-origin.ts';
import type { Views } from '../http/views.ts';
import { parseInput } from '../input.ts';
import type { Setup } from './setup.ts';

const SetupForm = z.object({
  code: z.string(),
  email: z.string(),
  given_name: z.string(),
  family_name: z.string(),
  password: z.string(),
});
type SetupForm = z.infer<typeof SetupForm>;

export function setupRoutes({ issuer, setup, views }: { issuer: string; setup: Setup; views: Views }): Router {
  const router = new Router({ prefix: '/setup' });
  // The form repeats the code of the link.
  router.use(sameOrigin({ issuer, provenByForm: true }));

  router.get('/', async function showSetup(ctx) {
    const code = String(ctx.query.code ?? '');
    if (!(await setup.isCode(code)))
      throw new AppError('setup_closed', 'this setup link was used already, or there is an administrator');
    await showForm(ctx, { code, values: {}, problems: {} });
  });

  router.post('/', form(), async function completeSetup(ctx) {
    const { code, ...values } = parseInput(SetupForm, ctx.request.body);
    try {
      const { email } = await setup.complete(code, newAdministrator(values), {
        address: ctx.ip,
        userAgent: ctx.get('User-Agent'),
      });
      await views.render(ctx, 'setup/done', { email, accountHref: '/account', issuer });
    } catch (error) {
      if (!(error instanceof AppError) || error.field === undefined) throw error;
      ctx.status = error.status;
      const { password: _, ...shown } = values;
      await showForm(ctx, { code, values: shown, problems: { [error.field]: problemWith(error) } });
    }
  });

  function showForm(ctx: Koa.Context, data: { code: string; values: object; problems: object }): Promise<void> {
    return views.render(ctx, 'setup/form', { action: '/setup', ...data });
  }

  return router;
}

/** By the name it has in the catalogue. */
function problemWith({ field, reason = 'broken' }: AppError): string {
  return field === 'password' ? `account.security.problem.${reason}` : `setup.problems.${field}`;
}

function newAdministrator({ email, given_name, family_name, password }: Omit<SetupForm, 'code'>) {
  return {
    email,
    password,
    ...(given_name.trim() ? { givenName: given_name } : {}),
    ...(family_name.trim() ? { familyName: family_name } : {}),
  };
}
