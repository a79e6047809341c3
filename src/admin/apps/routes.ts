import Router from '@koa/router';
import type Koa from 'koa';
import { z } from 'zod';
import { BUILT_IN_PERMISSION } from '../../accounts/account.ts';
import type { Origin } from '../../audit.ts';
import { type Client, rotatesRefreshTokens, secretIdOf } from '../../clients/client.ts';
import type { Clients } from '../../clients/clients.ts';
import type { OneTimeForms } from '../../console/one-time-forms.ts';
import { keptIn, type Visitor } from '../../console/pages.ts';
import type { AppTokens } from '../../credentials/app-tokens.ts';
import { noSuch } from '../../errors.ts';
import { form } from '../../http/form.ts';
import { parseInput } from '../../input.ts';
import type { Choices } from '../choices.ts';
import { type AdminConsole, type AdminNotice, actorOf } from '../pages.ts';
import { ListQuery, mentions, search } from '../search.ts';
import {
  AppForm,
  clientOf,
  EXCHANGED_LIFETIMES,
  emptyAppForm,
  fillFromClient,
  ID_TOKEN_ALGORITHMS,
  type Problems,
  problemsIn,
  problemsOf,
  USES,
} from './app-form.ts';
import { snippetsFor } from './snippets.ts';

const APPS = '/admin/apps';
/** As many permissions as there may be, and the other fields. */
const FIELDS = 300;

const OneTimeForm = z.object({ form: z.string().max(64).default('') });

export interface AppRoutesOptions {
  issuer: string;
  pages: AdminConsole;
  forms: OneTimeForms;
  clients: Clients;
  appTokens: Pick<AppTokens, 'list'>;
  choices: Choices;
}

/** What is done to an app as a whole, after a page that says what it means. */
interface Change {
  notice: AdminNotice;
  danger: boolean;
  path: (id: string) => string;
  run(id: string, origin: Origin): Promise<void>;
}

export function appRoutes(options: AppRoutesOptions): Router {
  const { issuer, pages, forms, clients, appTokens, choices } = options;
  const router = new Router({ prefix: APPS });
  const changes: Record<string, Change> = {
    disable: { notice: 'app_disabled', danger: true, path: pathOf, run: clients.disable },
    enable: { notice: 'app_enabled', danger: false, path: pathOf, run: clients.enable },
    delete: { notice: 'app_deleted', danger: true, path: () => APPS, run: clients.remove },
  };

  router.get(
    '/',
    pages.signedIn(async function listApps(ctx, visitor) {
      const { q, after } = ListQuery.parse(ctx.query);
      const { found, next } = await search({
        async list(page) {
          const { clients: records, ...rest } = await clients.list(page);
          return { records, ...rest };
        },
        matches: (client) => client.id === q || mentions([client.name, client.description], q),
        after,
      });
      const organizations = await choices.organizationNames(found.map(({ organizationId }) => organizationId));
      const apps = found
        .toSorted((a, b) => a.name.localeCompare(b.name))
        .map((app) => ({ ...app, kinds: kindsOf(app) }));
      await pages.render(ctx, visitor, {
        section: 'apps',
        view: 'apps',
        data: { apps, organizations, q, next, after },
      });
    }),
  );

  router.get(
    '/new',
    pages.recentlySignedIn(async function showNewApp(ctx, visitor) {
      await showForm(ctx, visitor, { filled: keptIn(visitor, AppForm) ?? emptyAppForm() });
    }),
  );

  router.post(
    '/new',
    form({ fields: FIELDS }),
    pages.recentlySignedIn(async function registerApp(ctx, visitor) {
      const sent = parseInput(AppForm, ctx.request.body);
      await saveOrShow(ctx, visitor, {
        sent,
        async save() {
          if (!(await forms.take(visitor.account.id, sent.form))) return pages.redirect(ctx, APPS, 'form_used');
          const made = await clients.create(clientOf(sent), actorOf(visitor));
          await showMade(ctx, visitor, { ...made, made: 'app' });
        },
      });
    }),
  );

  router.get(
    '/:id',
    pages.signedIn(async function showApp(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const data = {
        app,
        kinds: kindsOf(app),
        secrets: app.secrets.map((secret) => ({ ...secret, id: secretIdOf(secret) })),
        permissions: (await choices.permissions()).filter(({ name }) => app.permissions.includes(name)),
        organizations: await choices.organizationNames([app.organizationId, ...(app.sso?.organizationIds ?? [])]),
        appTokens: await appTokens.list(app.id),
        snippets: snippetsFor(app, { issuer }),
        issuer,
      };
      await pages.render(ctx, visitor, { section: 'apps', view: 'app', data });
    }),
  );

  router.get(
    '/:id/edit',
    pages.recentlySignedIn(async function showEdit(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      await showForm(ctx, visitor, { filled: keptIn(visitor, AppForm) ?? fillFromClient(app), app });
    }),
  );

  router.post(
    '/:id/edit',
    form({ fields: FIELDS }),
    pages.recentlySignedIn(async function changeApp(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const sent = parseInput(AppForm, ctx.request.body);
      await saveOrShow(ctx, visitor, {
        sent,
        app,
        async save() {
          const { client, secret } = await clients.update(app.id, clientOf(sent), actorOf(visitor));
          if (secret === undefined) return pages.redirect(ctx, pathOf(app.id), 'app_saved');
          await showMade(ctx, visitor, { client, secret, made: 'secret' });
        },
      });
    }),
  );

  router.get(
    '/:id/secrets/new',
    pages.recentlySignedIn(async function confirmSecret(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      await confirm(ctx, visitor, {
        app,
        what: 'secret_add',
        danger: false,
        form: await forms.open(visitor.account.id),
      });
    }),
  );

  router.post(
    '/:id/secrets/new',
    form(),
    pages.recentlySignedIn(async function addSecret(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const sent = parseInput(OneTimeForm, ctx.request.body);
      if (!(await forms.take(visitor.account.id, sent.form))) return pages.redirect(ctx, pathOf(app.id), 'form_used');
      await showMade(ctx, visitor, { ...(await clients.addSecret(app.id, actorOf(visitor))), made: 'secret' });
    }),
  );

  router.get(
    '/:id/secrets/:secret/revoke',
    pages.recentlySignedIn(async function confirmRevocation(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const secret = app.secrets.find((known) => secretIdOf(known) === ctx.params.secret);
      if (!secret) throw noSuch('secret', String(ctx.params.secret));
      await confirm(ctx, visitor, { app, what: 'secret_revoke', danger: true, secret });
    }),
  );

  router.post(
    '/:id/secrets/:secret/revoke',
    form(),
    pages.recentlySignedIn(async function revokeSecret(ctx, visitor) {
      const { id, secret } = ctx.params as { id: string; secret: string };
      await clients.revokeSecret(id, secret, actorOf(visitor));
      pages.redirect(ctx, pathOf(id), 'secret_revoked');
    }),
  );

  for (const [name, { notice, danger, path, run }] of Object.entries(changes)) {
    router.get(
      `/:id/${name}`,
      pages.recentlySignedIn(async function confirmChange(ctx, visitor) {
        await confirm(ctx, visitor, { app: await clients.getOrFail(ctx.params.id), what: `app_${name}`, danger });
      }),
    );
    router.post(
      `/:id/${name}`,
      form(),
      pages.recentlySignedIn(async function change(ctx, visitor) {
        const { id } = ctx.params as { id: string };
        await run(id, actorOf(visitor));
        pages.redirect(ctx, path(id), notice);
      }),
    );
  }

  /** Saves a form with nothing wrong in it; any other is shown again, and nothing is written. */
  async function saveOrShow(
    ctx: Koa.Context,
    visitor: Visitor,
    { sent, app, save }: { sent: AppForm; app?: Client; save: () => Promise<void> },
  ): Promise<void> {
    const problems = problemsOf(sent);
    if (sent.organization !== '' && !(await choices.isOrganization(sent.organization)))
      problems.organization = [{ code: 'wrong' }];
    const found = Object.keys(problems).length > 0 ? problems : await save().then(() => undefined, problemsIn);
    if (!found) return;
    ctx.status = 400;
    await showForm(ctx, visitor, { filled: sent, app, problems: found });
  }

  async function showForm(
    ctx: Koa.Context,
    visitor: Visitor,
    { filled, app, problems = {} }: { filled: AppForm; app?: Client | undefined; problems?: Problems },
  ) {
    const data = {
      app,
      filled,
      problems,
      uses: USES,
      algorithms: ID_TOKEN_ALGORITHMS,
      lifetimes: [...new Set([...EXCHANGED_LIFETIMES, Number(filled.exchanged_token_lifetime)])].filter(
        (seconds) => seconds > 0,
      ),
      organizations: await choices.organizations(),
      permissions: [{ name: BUILT_IN_PERMISSION }, ...(await choices.permissions())],
      form: await forms.open(visitor.account.id),
    };
    await pages.render(ctx, visitor, { section: 'apps', view: 'app-form', data });
  }

  /** The one answer that holds the secret. It is the answer to a form that cannot be sent again. */
  async function showMade(
    ctx: Koa.Context,
    visitor: Visitor,
    { client: app, secret, made }: { client: Client; secret?: string; made: 'app' | 'secret' },
  ) {
    const snippets = snippetsFor(app, { issuer, ...(secret === undefined ? {} : { secret }) });
    await pages.render(ctx, visitor, {
      section: 'apps',
      view: 'app-made',
      data: { app, secret, made, snippets, issuer },
    });
  }

  async function confirm(
    ctx: Koa.Context,
    visitor: Visitor,
    {
      app,
      ...data
    }: { app: Client; what: string; danger: boolean; form?: string; secret?: { hint?: string | undefined } },
  ) {
    const about = { name: app.name, detail: app.id, back: pathOf(app.id) };
    await pages.render(ctx, visitor, {
      section: 'apps',
      view: 'confirm',
      data: { ...about, ...data, action: ctx.path },
    });
  }

  return router;
}

function pathOf(id: string): string {
  return `${APPS}/${id}`;
}

const KINDS = [
  'code',
  'public',
  'implicit',
  'client_credentials',
  'introspection',
  'trusted',
  'lasting_refresh_tokens',
] as const;

/** What it may do, in the words of the form. */
function kindsOf(client: Client): Array<(typeof KINDS)[number]> {
  const signsIn = client.redirectUris.length > 0;
  const does = {
    code: signsIn && !client.public,
    public: signsIn && client.public,
    implicit: client.implicit,
    client_credentials: client.clientCredentials,
    introspection: client.introspection,
    trusted: client.trusted,
    lasting_refresh_tokens: !rotatesRefreshTokens(client),
  };
  return KINDS.filter((kind) => does[kind]);
}
