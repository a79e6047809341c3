import Router from '@koa/router';
import type Koa from 'koa';
import { z } from 'zod';
import type { Account } from '../accounts/account.ts';
import type { OneTimeForms } from '../console/one-time-forms.ts';
import { keptIn } from '../console/pages.ts';
import type { ListedToken } from '../credentials/personal-token.ts';
import type { MadePersonalToken, PersonalTokens } from '../credentials/personal-tokens.ts';
import { AppError, noSuch } from '../errors.ts';
import { form } from '../http/form.ts';
import { parseInput } from '../input.ts';
import type { Console, Visitor } from './pages.ts';
import {
  type FilledTokenForm,
  fillFromForm,
  fillFromLink,
  givable,
  linkTo,
  newTokenOf,
  TokenForm,
  TokenLink,
} from './token-form.ts';

const HOUR = 60 * 60;
const DAY = 24 * HOUR;
/** A token that ends within this time is marked. */
const SOON = 7 * DAY;
/** Seconds for which a token works on beside the one it was exchanged for. */
const OVERLAPS = ['0', String(HOUR), String(DAY)] as const;
/** As many permissions as an account can hold, and the other fields. */
const FIELDS = 250;

const RotationForm = z.object({ form: z.string().max(64), overlap: z.enum(OVERLAPS, 'must be one of those offered') });

/** A scope in words; one without a description has them in the catalogue, or is its own name. */
export interface DescribedScope {
  name: string;
  description?: string;
}

export interface TokenRoutesOptions {
  issuer: string;
  now: () => number;
  pages: Console;
  forms: OneTimeForms;
  personalTokens: PersonalTokens;
  mayBeEternal: boolean;
  describe: (names: readonly string[]) => Promise<DescribedScope[]>;
}

export function tokenRoutes(options: TokenRoutesOptions): Router {
  const { issuer, now, pages, forms, personalTokens, mayBeEternal, describe } = options;
  const router = new Router({ prefix: '/account/tokens' });

  router.get(
    '/',
    pages.signedIn(async function listTokens(ctx, visitor) {
      const found = await personalTokens.list(visitor.account.id);
      const tokens = await Promise.all(found.map(shown));
      await pages.render(ctx, visitor, { section: 'tokens', view: 'tokens', data: { tokens } });
    }),
  );

  router.get(
    '/new',
    pages.recentlySignedIn(async function showForm(ctx, visitor) {
      const held = givable(visitor.account);
      const sent = keptIn(visitor, TokenForm);
      const filled = sent
        ? fillFromForm(sent, held, mayBeEternal)
        : fillFromLink(TokenLink.parse(ctx.query), held, mayBeEternal);
      await showTokenForm(ctx, visitor, { filled });
    }),
  );

  router.post(
    '/new',
    form({ fields: FIELDS }),
    pages.recentlySignedIn(
      async function createToken(ctx, visitor) {
        const sent = parseInput(TokenForm, ctx.request.body);
        const { account, origin } = visitor;
        const held = givable(account);
        try {
          const wanted = newTokenOf(sent, held);
          if (!(await forms.take(account.id, sent.form))) return pages.redirect(ctx, '/account/tokens', 'form_used');
          await showMade(ctx, visitor, await personalTokens.create(account, wanted, origin));
        } catch (error) {
          ctx.status = (error as AppError).status ?? 500;
          await showTokenForm(ctx, visitor, {
            filled: fillFromForm(sent, held, mayBeEternal),
            problem: problemOf(error),
          });
        }
      },
      { returnTo: (ctx) => linkTo(ctx.path, parseInput(TokenForm, ctx.request.body)) },
    ),
  );

  router.get(
    '/:id/revoke',
    pages.signedIn(async function confirmRevocation(ctx, visitor) {
      const token = await shown(await ownToken(visitor.account, ctx.params.id));
      await pages.render(ctx, visitor, { section: 'tokens', view: 'token-revoke', data: { token } });
    }),
  );

  router.post(
    '/:id/revoke',
    form(),
    pages.signedIn(async function revokeToken(ctx, { account, origin }) {
      await personalTokens.revoke(account.id, String(ctx.params.id), origin);
      pages.redirect(ctx, '/account/tokens', 'token_revoked');
    }),
  );

  router.get(
    '/:id/rotate',
    pages.recentlySignedIn(async function confirmRotation(ctx, visitor) {
      const token = await shown(await ownToken(visitor.account, ctx.params.id));
      const overlap = keptIn(visitor, RotationForm.pick({ overlap: true }))?.overlap ?? OVERLAPS[0];
      const data = { token, overlaps: OVERLAPS, overlap, form: await forms.open(visitor.account.id) };
      await pages.render(ctx, visitor, { section: 'tokens', view: 'token-rotate', data });
    }),
  );

  router.post(
    '/:id/rotate',
    form(),
    pages.recentlySignedIn(async function rotateToken(ctx, visitor) {
      const { account, origin } = visitor;
      const { id } = await ownToken(account, ctx.params.id);
      const sent = parseInput(RotationForm, ctx.request.body);
      if (!(await forms.take(account.id, sent.form))) return pages.redirect(ctx, '/account/tokens', 'form_used');
      const overlap = Number(sent.overlap);
      const made = await personalTokens.rotate(account, id, { overlap, origin });
      await showMade(ctx, visitor, made, overlap);
    }),
  );

  /** The one answer that holds the token. It is the answer to a form that cannot be sent again. */
  async function showMade(ctx: Koa.Context, visitor: Visitor, made: MadePersonalToken, overlap?: number) {
    const data = { issuer, token: made.token, record: await shown(made.record), overlap };
    await pages.render(ctx, visitor, { section: 'tokens', view: 'token-made', data });
  }

  async function showTokenForm(
    ctx: Koa.Context,
    visitor: Visitor,
    { filled, problem }: { filled: FilledTokenForm; problem?: string },
  ) {
    const permissions = await describe(givable(visitor.account));
    const data = { filled, problem, permissions, form: await forms.open(visitor.account.id) };
    await pages.render(ctx, visitor, { section: 'tokens', view: 'token-new', data });
  }

  async function ownToken(account: Account, id: unknown): Promise<ListedToken> {
    const token = (await personalTokens.list(account.id)).find((own) => own.id === id);
    if (!token) throw noSuch('token', String(id));
    return token;
  }

  async function shown(token: ListedToken) {
    return { ...token, scope: await describe(token.scope), state: stateOf(token, now()) };
  }

  return router;
}

type TokenState = 'lasting' | 'ending' | 'expired' | 'replacing' | 'replaced';

function stateOf({ replacedUntil, expiresAt }: ListedToken, now: number): TokenState {
  if (expiresAt !== undefined && expiresAt <= now) return 'expired';
  if (replacedUntil !== undefined) return replacedUntil > now ? 'replacing' : 'replaced';
  return expiresAt !== undefined && expiresAt - now <= SOON ? 'ending' : 'lasting';
}

/** What the form says about a refusal. @throws whatever is no fault of the form. */
function problemOf(error: unknown): string {
  if (error instanceof AppError && error.code === 'conflict') return 'too_many';
  if (error instanceof AppError && error.field !== undefined) return error.field;
  throw error;
}
