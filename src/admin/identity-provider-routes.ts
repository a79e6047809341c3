import Router from '@koa/router';
import type Koa from 'koa';
import type { Origin } from '../audit.ts';
import type { OneTimeForms } from '../console/one-time-forms.ts';
import { keptIn, type Visitor } from '../console/pages.ts';
import { AppError, noSuch } from '../errors.ts';
import { form } from '../http/form.ts';
import { callbackPath } from '../identity-providers/code-flows.ts';
import type { ConnectionTest } from '../identity-providers/connection-test.ts';
import { type IdentityProvider, isForSignIn, nameOf } from '../identity-providers/identity-provider.ts';
import type { IdentityProviders } from '../identity-providers/identity-providers.ts';
import type { Finding } from '../identity-providers/kinds/kind.ts';
import { KINDS } from '../identity-providers/kinds/kinds.ts';
import { parseInput } from '../input.ts';
import type { Choices } from './choices.ts';
import {
  BRANDS,
  changesOf,
  fillFromProvider,
  IdentityProviderForm,
  KINDS_IN_WORDS,
  newProviderOf,
} from './identity-provider-form.ts';
import { type AdminConsole, type AdminNotice, actorOf } from './pages.ts';

const PROVIDERS = '/admin/identity-providers';
const SECTION = 'identity_providers';

export interface IdentityProviderRoutesOptions {
  issuer: string;
  pages: AdminConsole;
  forms: OneTimeForms;
  identityProviders: IdentityProviders;
  connectionTest: ConnectionTest;
  choices: Choices;
}

/** What is done to a provider as a whole, after a page that says what it means. */
interface Change {
  notice: AdminNotice;
  danger: boolean;
  path: (id: string) => string;
  run(id: string, origin: Origin): Promise<void>;
}

export function identityProviderRoutes(options: IdentityProviderRoutesOptions): Router {
  const { issuer, pages, forms, identityProviders, connectionTest, choices } = options;
  const router = new Router({ prefix: PROVIDERS });
  const changes: Record<string, Change> = {
    disable: { notice: 'provider_disabled', danger: true, path: pathOf, run: identityProviders.disable },
    enable: { notice: 'provider_enabled', danger: false, path: pathOf, run: identityProviders.enable },
    delete: { notice: 'provider_deleted', danger: true, path: () => PROVIDERS, run: identityProviders.remove },
  };

  router.get(
    '/',
    pages.signedIn(async function listProviders(ctx, visitor) {
      const providers = (await identityProviders.list()).map((provider) => ({ ...provider, kind: titleOf(provider) }));
      await pages.render(ctx, visitor, {
        section: SECTION,
        view: 'identity-providers',
        data: { providers, brands: BRANDS },
      });
    }),
  );

  router.get(
    '/new',
    pages.recentlySignedIn(async function showNewProvider(ctx, visitor) {
      await showForm(ctx, visitor, {
        filled: keptIn(visitor, IdentityProviderForm) ?? IdentityProviderForm.parse({ sign_in: 'yes' }),
      });
    }),
  );

  router.post(
    '/new',
    form(),
    pages.recentlySignedIn(async function createProvider(ctx, visitor) {
      const sent = parseInput(IdentityProviderForm, ctx.request.body);
      try {
        if (!(await forms.take(visitor.account.id, sent.form))) return pages.redirect(ctx, PROVIDERS, 'form_used');
        const { id } = await identityProviders.create(newProviderOf(sent), actorOf(visitor));
        pages.redirect(ctx, pathOf(id), 'provider_created');
      } catch (error) {
        await showForm(ctx, visitor, { filled: sent, error });
      }
    }),
  );

  router.get(
    '/:id',
    pages.signedIn(async function showProvider(ctx, visitor) {
      await show(ctx, visitor, await existing(ctx.params.id));
    }),
  );

  router.post(
    '/:id/test',
    form(),
    pages.recentlySignedIn(
      async function testProvider(ctx, visitor) {
        const provider = await existing(ctx.params.id);
        await show(ctx, visitor, provider, await connectionTest.run(provider));
      },
      { returnTo: (ctx) => ctx.path.replace(/\/test$/, '') },
    ),
  );

  router.get(
    '/:id/edit',
    pages.recentlySignedIn(async function showEdit(ctx, visitor) {
      const provider = await existing(ctx.params.id);
      const filled = sentOver(provider, keptIn(visitor, IdentityProviderForm) ?? fillFromProvider(provider));
      await showForm(ctx, visitor, { filled, provider });
    }),
  );

  router.post(
    '/:id/edit',
    form(),
    pages.recentlySignedIn(async function changeProvider(ctx, visitor) {
      const provider = await existing(ctx.params.id);
      const sent = parseInput(IdentityProviderForm, ctx.request.body);
      try {
        await identityProviders.update(provider.id, changesOf(sent), actorOf(visitor));
        pages.redirect(ctx, pathOf(provider.id), 'provider_saved');
      } catch (error) {
        await showForm(ctx, visitor, { filled: sentOver(provider, sent), provider, error });
      }
    }),
  );

  for (const [name, { notice, danger, path, run }] of Object.entries(changes)) {
    router.get(
      `/:id/${name}`,
      pages.recentlySignedIn(async function confirmChange(ctx, visitor) {
        const provider = await existing(ctx.params.id);
        const { id } = provider;
        const data = {
          what: `provider_${name}`,
          danger,
          name: id,
          detail: titleOf(provider),
          back: pathOf(id),
          action: ctx.path,
        };
        await pages.render(ctx, visitor, { section: SECTION, view: 'confirm', data });
      }),
    );
    router.post(
      `/:id/${name}`,
      form(),
      pages.recentlySignedIn(async function change(ctx, visitor) {
        const { id } = await existing(ctx.params.id);
        await run(id, actorOf(visitor));
        pages.redirect(ctx, path(id), notice);
      }),
    );
  }

  async function show(ctx: Koa.Context, visitor: Visitor, provider: IdentityProvider, findings?: Finding[]) {
    const { newPeople, sealedSecret, ...shown } = provider;
    const organizationId = newPeople.policy === 'refuse' ? undefined : newPeople.organizationId;
    const organization = (await choices.organizationNames([organizationId])).get(organizationId ?? '');
    const data = {
      provider: {
        ...shown,
        kind: titleOf(provider),
        name: nameOf(provider),
        people: newPeople.policy,
        hasSecret: sealedSecret !== undefined,
        isOffered: isForSignIn(provider),
        callback: `${issuer}${callbackPath(provider.id)}`,
      },
      organization,
      findings,
    };
    await pages.render(ctx, visitor, { section: SECTION, view: 'identity-provider', data });
  }

  async function showForm(
    ctx: Koa.Context,
    visitor: Visitor,
    { filled, provider, error }: { filled: IdentityProviderForm; provider?: IdentityProvider; error?: unknown },
  ) {
    const problem = error === undefined ? undefined : problemIn(error);
    if (problem) ctx.status = (error as AppError).status;
    const { client_secret: _, ...shown } = filled;
    const data = {
      id: provider?.id,
      hasSecret: provider?.sealedSecret !== undefined,
      filled: shown,
      problem,
      kinds: KINDS_IN_WORDS,
      brands: BRANDS,
      organizations: await choices.organizations(),
      form: await forms.open(visitor.account.id),
    };
    await pages.render(ctx, visitor, { section: SECTION, view: 'identity-provider-form', data });
  }

  async function existing(id: unknown): Promise<IdentityProvider> {
    const provider = await identityProviders.get(String(id));
    if (!provider) throw noSuch('identity provider', String(id));
    return provider;
  }

  return router;
}

function titleOf({ kind }: IdentityProvider): string {
  return KINDS[kind].title;
}

/** What cannot be changed is shown as it is. */
function sentOver(provider: IdentityProvider, sent: IdentityProviderForm): IdentityProviderForm {
  const { id, kind, issuer, base_url } = fillFromProvider(provider);
  return { ...sent, id, kind, issuer, base_url };
}

function pathOf(id: string): string {
  return `${PROVIDERS}/${id}`;
}

/** The field at fault. @throws whatever is no fault of the form. */
function problemIn(error: unknown): string {
  if (!(error instanceof AppError) || error.field === undefined) throw error;
  if (error.code === 'conflict' && error.field === 'id') return 'id_taken';
  if (error.code === 'invalid_request') return error.field;
  throw error;
}
