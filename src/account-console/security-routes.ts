import Router from '@koa/router';
import type Koa from 'koa';
import { z } from 'zod';
import type { Audit, AuditEvent } from '../audit.ts';
import { AppError } from '../errors.ts';
import { form } from '../http/form.ts';
import type { Views } from '../http/views.ts';
import type { SignInMethods } from '../identity-providers/sign-in-methods.ts';
import type { UpstreamSignIn } from '../identity-providers/upstream-sign-in.ts';
import { parseInput } from '../input.ts';
import type { createChangePassword } from './change-password.ts';
import type { Console, Visitor } from './pages.ts';
import type { createRevokeEverything } from './revoke-everything.ts';

const NEWEST = 20;

const PasswordForm = z.object({ current: z.string(), password: z.string() });

export interface SecurityRoutesOptions {
  pages: Console;
  views: Views;
  audit: Audit;
  changePassword: ReturnType<typeof createChangePassword>;
  revokeEverything: ReturnType<typeof createRevokeEverything>;
  methods: Pick<SignInMethods, 'list'>;
  upstream: Pick<UpstreamSignIn, 'offered'>;
  findClientName: (clientId: string) => Promise<string | undefined>;
}

interface PasswordProblem {
  field: 'current' | 'password';
  name: string;
  minutes?: number;
}

export function securityRoutes(options: SecurityRoutesOptions): Router {
  const { pages, views, audit, changePassword, revokeEverything, methods, upstream, findClientName } = options;
  const router = new Router({ prefix: '/account' });

  router.get(
    '/security',
    pages.signedIn(async function showSecurity(ctx, visitor) {
      await showPage(ctx, visitor);
    }),
  );

  router.post(
    '/security',
    form(),
    pages.signedIn(async function submitPassword(ctx, visitor) {
      const { current, password } = parseInput(PasswordForm, ctx.request.body);
      const { account, uid, origin } = visitor;
      try {
        await changePassword(account, { current, next: password, keepSession: uid, origin });
        pages.redirect(ctx, '/account/security', 'password_changed');
      } catch (error) {
        const problem = problemOf(error);
        ctx.status = (error as AppError).status;
        await showPage(ctx, visitor, problem);
      }
    }),
  );

  router.get(
    '/security/everything',
    pages.signedIn(async function confirmEverything(ctx, visitor) {
      await pages.render(ctx, visitor, { section: 'security', view: 'everything' });
    }),
  );

  router.post(
    '/security/everything',
    form(),
    pages.signedIn(async function endEverything(ctx, { account, origin }) {
      await revokeEverything(account, origin);
      ctx.status = 303;
      ctx.redirect('/account/everything-ended');
    }),
  );

  /** For who is signed out by now. */
  router.get('/everything-ended', async function showEnd(ctx) {
    await views.render(ctx, 'account/everything-ended');
  });

  async function showPage(ctx: Koa.Context, visitor: Visitor, problem?: PasswordProblem): Promise<void> {
    const [{ events }, linked, offered] = await Promise.all([
      audit.list({ accountId: visitor.account.id, limit: NEWEST }),
      methods.list(visitor.account.id),
      upstream.offered(),
    ]);
    const providerNames = new Map(offered.map(({ id, name }) => [id, name]));
    const named = await Promise.all(events.map((event) => withNames(event, providerNames)));
    const hasPassword = visitor.account.passwordHash !== undefined;
    await pages.render(ctx, visitor, {
      section: 'security',
      view: 'security',
      data: { events: named, hasPassword, problem, methods: linked, offered },
    });
  }

  async function withNames(event: AuditEvent, providerNames: ReadonlyMap<string, string>) {
    const { clientId, detail = {} } = event;
    const id = detail.identity_provider;
    return {
      ...event,
      client: clientId === undefined ? undefined : await findClientName(clientId),
      provider: id === undefined ? undefined : (providerNames.get(id) ?? id),
    };
  }

  return router;
}

/** @throws whatever is no fault of what was typed. */
function problemOf(error: unknown): PasswordProblem {
  if (!(error instanceof AppError)) throw error;
  if (error.code === 'invalid_grant') return { field: 'current', name: 'wrong' };
  if (error.code === 'too_many_requests')
    return { field: 'current', name: 'throttled', minutes: Math.ceil((error.retryAfter ?? 60) / 60) };
  if (error.field !== 'password') throw error;
  return { field: 'password', name: error.reason ?? 'broken' };
}
