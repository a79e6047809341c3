import Router from '@koa/router';
import type Koa from 'koa';
import { AppError, noSuch } from '../errors.ts';
import { form } from '../http/form.ts';
import { allowFormTarget } from '../http/security-headers.ts';
import type { ExternalIdentity } from '../identity-providers/provisioning.ts';
import type { SignInMethod, SignInMethods } from '../identity-providers/sign-in-methods.ts';
import { ProviderUnavailable } from '../identity-providers/token-verifier.ts';
import type { OfferedProvider, UpstreamSignIn } from '../identity-providers/upstream-sign-in.ts';
import type { Console, Visitor } from './pages.ts';

const SECURITY = '/account/security';

export interface SignInMethodRoutesOptions {
  pages: Console;
  methods: SignInMethods;
  upstream: UpstreamSignIn;
}

type LinkProblem = 'unavailable' | 'cancelled' | 'refused' | 'taken' | 'throttled';

/** Identity providers that a person signs in with: linking one, by signing in there, and unlinking. */
export function signInMethodRoutes({ pages, methods, upstream }: SignInMethodRoutesOptions): Router {
  const router = new Router({ prefix: SECURITY });

  router.get(
    '/link/:provider',
    pages.recentlySignedIn(async function confirmLink(ctx, visitor) {
      await showLink(ctx, visitor, await offered(ctx));
    }),
  );

  router.post(
    '/link/:provider',
    form(),
    pages.recentlySignedIn(async function startLink(ctx, visitor) {
      const provider = await offered(ctx);
      const returnTo = `${SECURITY}/callback/${provider.id}`;
      try {
        const url = await upstream.begin(provider.id, { boundTo: boundTo(visitor), returnTo, chooseAccount: true });
        ctx.status = 303;
        ctx.redirect(url);
      } catch (error) {
        if (!(error instanceof ProviderUnavailable)) throw error;
        ctx.set('Retry-After', String(error.retryAfter));
        await showLink(ctx, visitor, provider, 'unavailable');
      }
    }),
  );

  /** The answer belongs to the session that asked, in the browser that it is in: nobody's link opened by somebody else links them. */
  router.get(
    '/callback/:provider',
    pages.signedIn(
      async function finishLink(ctx, visitor) {
        // What is only looked at beforehand must not use up the answer.
        if (ctx.method !== 'GET')
          throw new AppError('method_not_allowed', 'only a browser that is sent back comes here');
        const answer = { identityProviderId: String(ctx.params.provider), query: ctx.querystring, address: ctx.ip };
        const result = await upstream.complete({ ...answer, boundTo: boundTo(visitor) }).catch(throttled);
        const problem = result.outcome === 'proven' ? await link(visitor, result.identity) : PROBLEM_OF[result.outcome];
        if (problem === undefined) return pages.redirect(ctx, SECURITY, 'method_linked');
        await showLink(ctx, visitor, await offered(ctx), problem);
      },
      { returnTo: () => SECURITY },
    ),
  );

  router.get(
    '/unlink/:key',
    pages.recentlySignedIn(async function confirmUnlink(ctx, visitor) {
      await showUnlink(ctx, visitor, await linked(ctx, visitor));
    }),
  );

  router.post(
    '/unlink/:key',
    form(),
    pages.recentlySignedIn(async function unlink(ctx, visitor) {
      const method = await linked(ctx, visitor);
      const { account, uid, origin } = visitor;
      try {
        await methods.unlink(account, method.key, { keepSession: uid, origin });
        pages.redirect(ctx, SECURITY, 'method_unlinked');
      } catch (error) {
        if (!(error instanceof AppError) || error.field !== 'only_way_in') throw error;
        ctx.status = error.status;
        await showUnlink(ctx, visitor, method, 'only_way_in');
      }
    }),
  );

  async function offered(ctx: Koa.Context): Promise<OfferedProvider> {
    const provider = (await upstream.offered()).find(({ id }) => id === ctx.params.provider);
    if (!provider) throw noSuch('identity provider to sign in with', String(ctx.params.provider));
    return provider;
  }

  async function linked(ctx: Koa.Context, { account }: Visitor): Promise<SignInMethod> {
    const method = (await methods.list(account.id)).find(({ key }) => key === ctx.params.key);
    if (!method) throw noSuch('link', String(ctx.params.key));
    return method;
  }

  async function link({ account, origin }: Visitor, identity: ExternalIdentity): Promise<LinkProblem | undefined> {
    try {
      await methods.link(account, identity, origin);
      return undefined;
    } catch (error) {
      if (error instanceof AppError && error.code === 'conflict') return 'taken';
      throw error;
    }
  }

  async function showLink(ctx: Koa.Context, visitor: Visitor, provider: OfferedProvider, problem?: LinkProblem) {
    if (problem) ctx.status = STATUS_OF[problem];
    allowFormTarget(ctx, provider.address);
    await pages.render(ctx, visitor, { section: 'security', view: 'method-link', data: { provider, problem } });
  }

  async function showUnlink(ctx: Koa.Context, visitor: Visitor, method: SignInMethod, problem?: 'only_way_in') {
    const hasPassword = visitor.account.passwordHash !== undefined;
    const data = { method, problem, hasPassword };
    await pages.render(ctx, visitor, { section: 'security', view: 'method-unlink', data });
  }

  return router;
}

const PROBLEM_OF = {
  unavailable: 'unavailable',
  cancelled: 'cancelled',
  refused: 'refused',
  not_asked_again: 'refused',
  throttled: 'throttled',
} as const;

const STATUS_OF = { unavailable: 503, cancelled: 200, refused: 400, taken: 409, throttled: 429 } as const;

/** @throws whatever else it is. */
function throttled(error: unknown): { outcome: 'throttled' } {
  if (error instanceof AppError && error.code === 'too_many_requests') return { outcome: 'throttled' };
  throw error;
}

/** The session's cookie shows whose browser it is; what has ended since, a session that goes on does not make up for. */
function boundTo({ account, uid }: Visitor): string {
  return `session:${uid}:${account.id}:${account.epoch}`;
}
