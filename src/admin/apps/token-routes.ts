import Router from '@koa/router';
import type Koa from 'koa';
import { z } from 'zod';
import type { Client } from '../../clients/client.ts';
import type { Clients } from '../../clients/clients.ts';
import type { OneTimeForms } from '../../console/one-time-forms.ts';
import { keptIn, type Visitor } from '../../console/pages.ts';
import type { AppTokens } from '../../credentials/app-tokens.ts';
import { AppError, noSuch } from '../../errors.ts';
import { form } from '../../http/form.ts';
import type { IdentityProviders } from '../../identity-providers/identity-providers.ts';
import type { Kind } from '../../identity-providers/kinds/kind.ts';
import { KINDS } from '../../identity-providers/kinds/kinds.ts';
import { parseInput } from '../../input.ts';
import { type AdminConsole, actorOf } from '../pages.ts';

const AppTokenForm = z.object({
  form: z.string().max(64).default(''),
  identity_provider: z.string().max(200).default(''),
  /** One a line. */
  provider_client_ids: z.string().max(10_000).default(''),
});
type AppTokenForm = z.infer<typeof AppTokenForm>;

export interface AppTokenRoutesOptions {
  issuer: string;
  pages: AdminConsole;
  forms: OneTimeForms;
  clients: Pick<Clients, 'getOrFail'>;
  appTokens: AppTokens;
  identityProviders: Pick<IdentityProviders, 'list'>;
}

/** What an app's server exchanges its users' tokens with: made and revoked on the app's page. */
export function appTokenRoutes(options: AppTokenRoutesOptions): Router {
  const { issuer, pages, forms, clients, appTokens, identityProviders } = options;
  const router = new Router({ prefix: '/admin/apps/:id/tokens' });

  router.get(
    '/new',
    pages.recentlySignedIn(async function showNewToken(ctx, visitor) {
      const filled = keptIn(visitor, AppTokenForm) ?? AppTokenForm.parse({});
      await showForm(ctx, visitor, { app: await clients.getOrFail(ctx.params.id), filled });
    }),
  );

  router.post(
    '/new',
    form(),
    pages.recentlySignedIn(async function createToken(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const sent = parseInput(AppTokenForm, ctx.request.body);
      if (!(await forms.take(visitor.account.id, sent.form))) return pages.redirect(ctx, pathOf(app), 'form_used');
      const wanted = {
        clientId: app.id,
        identityProviderId: sent.identity_provider,
        providerClientIds: sent.provider_client_ids.split(/\s+/).filter(Boolean),
      };
      try {
        const { token, record } = await appTokens.create(wanted, actorOf(visitor));
        await pages.render(ctx, visitor, {
          section: 'apps',
          view: 'app-token-made',
          data: { app, token, record, issuer },
        });
      } catch (error) {
        const problem = problemIn(error);
        ctx.status = (error as AppError).status;
        await showForm(ctx, visitor, { app, filled: sent, problem });
      }
    }),
  );

  router.get(
    '/:token/revoke',
    pages.recentlySignedIn(async function confirmRevocation(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const token = (await appTokens.list(app.id)).find(({ id }) => id === ctx.params.token);
      if (!token) throw noSuch('app token', String(ctx.params.token));
      const about = { name: app.name, detail: app.id, secret: { hint: token.hint.slice(-4) } };
      const data = { ...about, what: 'app_token_revoke', danger: true, back: pathOf(app), action: ctx.path };
      await pages.render(ctx, visitor, { section: 'apps', view: 'confirm', data });
    }),
  );

  router.post(
    '/:token/revoke',
    form(),
    pages.recentlySignedIn(async function revokeToken(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      await appTokens.revoke(app.id, String(ctx.params.token), actorOf(visitor));
      pages.redirect(ctx, pathOf(app), 'app_token_revoked');
    }),
  );

  async function showForm(
    ctx: Koa.Context,
    visitor: Visitor,
    { app, filled, problem }: { app: Client; filled: AppTokenForm; problem?: string },
  ) {
    const providers = await identityProviders.list();
    const data = { app, filled, problem, providers, ownOnly: OWN_ONLY, form: await forms.open(visitor.account.id) };
    await pages.render(ctx, visitor, { section: 'apps', view: 'app-token-new', data });
  }

  return router;
}

/** What kinds are called that prove tokens of one app alone. */
const OWN_ONLY = Object.values<Kind>(KINDS)
  .filter(({ provesForOtherApps }) => !provesForOtherApps)
  .map(({ title }) => title);

function pathOf({ id }: Client): string {
  return `/admin/apps/${id}`;
}

/** The field at fault. @throws whatever is no fault of the form. */
function problemIn(error: unknown): string {
  if (!(error instanceof AppError)) throw error;
  if (error.code === 'conflict') return 'too_many';
  if (error.code === 'invalid_request' && error.field === 'identity_provider') return error.field;
  if (error.code === 'invalid_request') return 'provider_client_ids';
  throw error;
}
