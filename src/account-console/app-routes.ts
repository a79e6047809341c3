import Router from '@koa/router';
import type { Audit } from '../audit.ts';
import { ignoreNotFound, noSuch } from '../errors.ts';
import { form } from '../http/form.ts';
import type { AppAccess, AppsAccess } from '../oidc/app-access.ts';
import type { Sessions } from '../oidc/sessions.ts';
import type { Console } from './pages.ts';
import type { DescribedScope } from './token-routes.ts';

/** An app as a person sees it. */
export interface ShownClient {
  id: string;
  name: string;
  logoUri?: string | undefined;
  clientUri?: string | undefined;
  clientHost?: string | undefined;
}

/** An app that signs the person in by its own word, or did until the person refused it. */
interface Partner {
  clientId: string;
  lastAt?: number | undefined;
  lastAddress?: string | undefined;
  refusedAt?: number | undefined;
}

export interface AppRoutesOptions {
  pages: Console;
  appsAccess: AppsAccess;
  ssoConnections: {
    list(accountId: string): Promise<Partner[]>;
    refuse(accountId: string, clientId: string): Promise<void>;
    allow(accountId: string, clientId: string): Promise<void>;
  };
  sessions: Pick<Sessions, 'list' | 'end'>;
  audit: Audit;
  /** Undefined for an app that may not act now. */
  findClient: (clientId: string) => Promise<ShownClient | undefined>;
  describe: (names: readonly string[]) => Promise<DescribedScope[]>;
}

export function appRoutes(options: AppRoutesOptions): Router {
  const { pages, appsAccess, ssoConnections, sessions, audit, findClient, describe } = options;
  const router = new Router({ prefix: '/account/apps' });

  router.get(
    '/',
    pages.signedIn(async function listApps(ctx, visitor) {
      const { account, by, hasNoProof } = visitor;
      const [apps, partners] = await Promise.all([shownApps(account.id), shownPartners(account.id)]);
      const data = { apps, partners, signedInBy: by?.clientId, hasNoProof };
      await pages.render(ctx, visitor, { section: 'apps', view: 'apps', data });
    }),
  );

  router.get(
    '/:id/remove',
    pages.signedIn(async function confirmRemoval(ctx, visitor) {
      const app = (await shownApps(visitor.account.id)).find(({ clientId }) => clientId === ctx.params.id);
      if (!app) throw noSuch('app', String(ctx.params.id));
      await pages.render(ctx, visitor, { section: 'apps', view: 'app-remove', data: { app } });
    }),
  );

  router.post(
    '/:id/remove',
    form(),
    pages.signedIn(async function removeApp(ctx, { account, origin }) {
      const clientId = String(ctx.params.id);
      await appsAccess.revokeAccess(account.id, clientId);
      await audit.record({ ...origin, type: 'grant_revoked', accountId: account.id, clientId });
      pages.redirect(ctx, '/account/apps', 'app_removed');
    }),
  );

  router.post(
    '/:id/sign-in/refuse',
    form(),
    pages.signedIn(
      async function refusePartner(ctx, { account, uid, origin }) {
        const clientId = String(ctx.params.id);
        await ssoConnections.refuse(account.id, clientId);
        await appsAccess.revokeAccess(account.id, clientId).catch(ignoreNotFound);
        for (const session of await sessions.list(account.id)) {
          const isTheirs = session.signedInBy === clientId && session.uid !== uid;
          if (isTheirs) await sessions.end(account.id, session.uid).catch(ignoreNotFound);
        }
        await audit.record({ ...origin, type: 'partner_refused', accountId: account.id, clientId });
        pages.redirect(ctx, '/account/apps', 'partner_refused');
      },
      { returnTo: () => '/account/apps' },
    ),
  );

  router.post(
    '/:id/sign-in/allow',
    form(),
    pages.recentlySignedIn(
      async function allowPartner(ctx, { account, origin }) {
        const clientId = String(ctx.params.id);
        await ssoConnections.allow(account.id, clientId);
        await audit.record({ ...origin, type: 'partner_allowed', accountId: account.id, clientId });
        pages.redirect(ctx, '/account/apps', 'partner_allowed');
      },
      { returnTo: () => '/account/apps', withoutProof: true },
    ),
  );

  async function shownPartners(accountId: string) {
    const shown = (await ssoConnections.list(accountId)).map(async (partner) => {
      const client = await findClient(partner.clientId);
      return client && { ...partner, client };
    });
    return (await Promise.all(shown)).filter((partner) => partner !== undefined);
  }

  /** An app that is gone or switched off can do nothing, and is not listed. */
  async function shownApps(accountId: string) {
    const shown = await Promise.all((await appsAccess.list(accountId)).map(shownApp));
    return shown.filter((app) => app !== undefined);
  }

  async function shownApp(access: AppAccess) {
    const client = await findClient(access.clientId);
    // Recognising a person is what every app does.
    const scope = await describe(access.scopes.filter((name) => name !== 'openid'));
    return client && { ...access, client, scope };
  }

  return router;
}
