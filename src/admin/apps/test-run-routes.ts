import Router from '@koa/router';
import type Koa from 'koa';
import { z } from 'zod';
import { BUILT_IN_PERMISSION } from '../../accounts/account.ts';
import type { Audit } from '../../audit.ts';
import type { Client } from '../../clients/client.ts';
import type { Clients } from '../../clients/clients.ts';
import { keptIn, type Visitor } from '../../console/pages.ts';
import { AppError } from '../../errors.ts';
import { form } from '../../http/form.ts';
import { parseInput } from '../../input.ts';
import { ROUTES, TEST_RUN_CALLBACK } from '../../oidc/protocol.ts';
import type { Choices } from '../choices.ts';
import { type AdminConsole, actorOf } from '../pages.ts';
import { shortened, type TestRunError, type TestRunner } from './test-runner.ts';
import {
  authorizationRequest,
  flowsOf,
  type Parameters,
  type TestRun,
  TestRunFlow,
  type TestRuns,
  tokenCommand,
  tokenRequest,
} from './test-runs.ts';

const APPS = '/admin/apps';
/** As many permissions as there may be, and the other fields. */
const FIELDS = 300;

/** The scopes every app may ask for. `offline_access` is not among them: nothing of a test run outlives it. */
const OPENID = ['openid', 'profile', 'email', 'address', 'phone'];
/** Those that most apps ask for. */
const USUAL = ['openid', 'profile', 'email'];

const TestRunForm = z.object({
  flow: TestRunFlow.default('code'),
  scope: z
    .union([z.string(), z.array(z.string())])
    .transform((names) => [names].flat())
    .default([]),
  asks_again: z.literal('yes').optional(),
});

/** A parameter that came twice is none. */
const parameter = (length: number) => z.string().max(length).optional().catch(undefined);

/** What the answer to an authorization request may say (RFC 6749 §4.1.2, RFC 9207 §2; OIDC Core §3.2.2.5). */
const Answer = z.object({
  code: z
    .string()
    .regex(/^[\w.~-]{1,200}$/)
    .optional()
    .catch(undefined),
  id_token: parameter(20_000),
  access_token: parameter(1000),
  token_type: parameter(100),
  expires_in: parameter(100),
  scope: parameter(20_000),
  error: parameter(100),
  error_description: parameter(1000),
  state: parameter(100),
  iss: parameter(2000),
});
type Answer = z.infer<typeof Answer>;

const FragmentForm = z.object({ answer: z.string().max(40_000).default('') });
const TokenForm = z.object({ code: Answer.shape.code, client_secret: z.string().trim().max(1000).default('') });

export interface TestRunRoutesOptions {
  issuer: string;
  pages: AdminConsole;
  clients: Pick<Clients, 'getOrFail' | 'get'>;
  choices: Choices;
  testRuns: TestRuns;
  run: TestRunner;
  audit: Audit;
}

/** Trying an app, step by step. What comes back is shown to the administrator who began it, and to nobody else. */
export function testRunRoutes({ issuer, pages, clients, choices, testRuns, run, audit }: TestRunRoutesOptions): Router {
  const router = new Router();

  router.get(
    `${APPS}/:id/try`,
    pages.recentlySignedIn(async function showStart(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const { openid, permissions } = await offered(app);
      const usual = { flow: 'code', scope: [...USUAL, ...permissions.map(({ name }) => name)], asks_again: undefined };
      const filled = keptIn(visitor, TestRunForm) ?? usual;
      const data = { app, flows: flowsOf(app), openid, permissions, filled };
      await show(ctx, visitor, { view: 'app-try', data });
    }),
  );

  router.post(
    `${APPS}/:id/try`,
    form({ fields: FIELDS }),
    pages.recentlySignedIn(async function begin(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const sent = parseInput(TestRunForm, ctx.request.body);
      if (!flowsOf(app).includes(sent.flow)) throw new AppError('conflict', 'this app cannot be tried so');
      const { openid, permissions } = await offered(app);
      const names = [...openid, ...permissions.map(({ name }) => name)];
      const { id } = await testRuns.begin({
        clientId: app.id,
        accountId: visitor.account.id,
        flow: sent.flow,
        scope: names.filter((name) => name === 'openid' || sent.scope.includes(name)),
        asksAgain: sent.asks_again !== undefined,
      });
      await audit.record({
        ...actorOf(visitor),
        type: 'administration',
        clientId: app.id,
        detail: { change: 'app tried' },
      });
      ctx.status = 303;
      ctx.redirect(`${APPS}/${app.id}/try/${id}`);
    }),
  );

  router.get(
    `${APPS}/:id/try/:testRun`,
    pages.signedIn(async function showRequest(ctx, visitor) {
      const app = await clients.getOrFail(ctx.params.id);
      const testRun = await testRuns.get(visitor.account.id, String(ctx.params.testRun));
      if (testRun?.clientId !== app.id) return refuse(ctx, visitor);
      const request = authorizationRequest(testRun, issuer);
      const url = `${ROUTES.authorization}?${new URLSearchParams(request)}`;
      await show(ctx, visitor, { view: 'app-try-request', data: { app, testRun, request, url } });
    }),
  );

  router.get(
    TEST_RUN_CALLBACK,
    pages.signedIn(
      async function receiveAnswer(ctx, visitor) {
        // The answer of an implicit request is in the fragment, which the browser keeps to itself.
        if (ctx.search === '')
          return show(ctx, visitor, { view: 'app-try-fragment', data: { action: TEST_RUN_CALLBACK } });
        await explain(ctx, visitor, { flow: 'code', answer: Answer.parse(ctx.query) });
      },
      { returnTo: () => APPS },
    ),
  );

  router.post(
    TEST_RUN_CALLBACK,
    form(),
    pages.signedIn(
      async function receiveFragment(ctx, visitor) {
        const sent = new URLSearchParams(parseInput(FragmentForm, ctx.request.body).answer);
        await explain(ctx, visitor, { flow: 'implicit', answer: Answer.parse(Object.fromEntries(sent)) });
      },
      { returnTo: () => APPS },
    ),
  );

  router.post(
    `${APPS}/:id/try/:testRun/token`,
    form(),
    pages.signedIn(
      async function redeemCode(ctx, visitor) {
        const { id, testRun: testRunId } = ctx.params as { id: string; testRun: string };
        const { code, client_secret: secret } = parseInput(TokenForm, ctx.request.body);
        const testRun = await testRuns.get(visitor.account.id, testRunId);
        const app = await clients.getOrFail(id);
        if (testRun?.clientId !== app.id || testRun.flow !== 'code' || code === undefined) return refuse(ctx, visitor);
        const answer = { code, state: testRun.id, iss: issuer };
        if (secret === '') return askForSecret(ctx, visitor, { app, testRun, answer, problem: true });
        await redeem(ctx, visitor, { app, testRun, answer, secret });
      },
      { returnTo: () => APPS },
    ),
  );

  /** The answer to the request of a test run, if it is one of this visitor's. */
  async function explain(ctx: Koa.Context, visitor: Visitor, { flow, answer }: { flow: TestRunFlow; answer: Answer }) {
    const testRun = await testRuns.get(visitor.account.id, answer.state ?? '');
    const app = testRun && (await clients.get(testRun.clientId));
    if (!app || testRun.flow !== flow || answer.iss !== issuer) return refuse(ctx, visitor);
    const values = present(answer);
    const { code, error, error_description: description } = answer;
    if (error !== undefined)
      return finish(ctx, visitor, { app, testRun, answer: values, error: { code: error, description } });
    if (flow === 'implicit') return finish(ctx, visitor, { app, testRun, answer: values, tokens: values });
    if (code === undefined) return refuse(ctx, visitor);
    const found = { app, testRun, answer: { code, state: testRun.id, iss: issuer } };
    if (app.public) return redeem(ctx, visitor, { ...found, secret: '' });
    await askForSecret(ctx, visitor, found);
  }

  async function askForSecret(
    ctx: Koa.Context,
    visitor: Visitor,
    { app, testRun, answer, problem = false }: Tried & { answer: Parameters & { code: string }; problem?: boolean },
  ) {
    const request = tokenRequest(testRun, app, { code: answer.code, issuer });
    if (problem) ctx.status = 400;
    const data = {
      app,
      testRun,
      answer,
      problem,
      tokenRequest: request,
      command: tokenCommand(app, request, `${issuer}${ROUTES.token}`),
    };
    await show(ctx, visitor, { view: 'app-try-answer', data });
  }

  async function redeem(
    ctx: Koa.Context,
    visitor: Visitor,
    { app, testRun, answer, secret }: Tried & { answer: Parameters & { code: string }; secret: string },
  ) {
    if (!(await testRuns.take(visitor.account.id, testRun.id))) return refuse(ctx, visitor);
    const redeemed = await run.redeem(testRun, app, { code: answer.code, secret, source: sourceOf(ctx) });
    const outcome = redeemed.error ? { error: redeemed.error } : { tokens: redeemed.answer };
    await finish(ctx, visitor, { app, testRun, answer, redeemed, ...outcome });
  }

  /** The last page: everything that happened, and what the app learned from it. */
  async function finish(
    ctx: Koa.Context,
    visitor: Visitor,
    {
      app,
      testRun,
      tokens,
      redeemed,
      ...said
    }: Tried & {
      answer: Parameters;
      redeemed?: { request: Parameters; status: number; answer: Parameters };
      tokens?: Parameters;
      error?: TestRunError;
    },
  ) {
    // Who redeemed a code has taken it already.
    if (!redeemed && !(await testRuns.take(visitor.account.id, testRun.id))) return refuse(ctx, visitor);
    const data = {
      app,
      testRun,
      ...said,
      answer: shortened(said.answer),
      redeemed: redeemed && { ...redeemed, answer: shortened(redeemed.answer) },
      learned: tokens && (await run.inspect(testRun, tokens, sourceOf(ctx))),
      permissions: await choices.permissions(),
    };
    await show(ctx, visitor, { view: 'app-try-result', data });
  }

  /** Somebody else's answer, or one that was shown: nothing of it is looked at, least of all redeemed. */
  async function refuse(ctx: Koa.Context, visitor: Visitor) {
    ctx.status = 400;
    await show(ctx, visitor, { view: 'app-try-refused', data: {} });
  }

  function show(ctx: Koa.Context, visitor: Visitor, { view, data }: { view: string; data: Record<string, unknown> }) {
    const testRun = data.testRun as TestRun | undefined;
    const request = testRun && authorizationRequest(testRun, issuer);
    return pages.render(ctx, visitor, { section: 'apps', view, data: { issuer, request, routes: ROUTES, ...data } });
  }

  async function offered({ permissions }: Client) {
    const known = (await choices.permissions()).filter(({ name }) => permissions.includes(name));
    const builtIn = permissions.includes(BUILT_IN_PERMISSION) ? [{ name: BUILT_IN_PERMISSION }] : [];
    return { openid: OPENID, permissions: [...builtIn, ...known] };
  }

  return router;
}

/** Whom what was tried for. */
interface Tried {
  app: Client;
  testRun: TestRun;
}

function present(answer: Answer): Parameters {
  return Object.fromEntries(
    Object.entries(answer).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

function sourceOf(ctx: Koa.Context) {
  return { address: ctx.ip, userAgent: ctx.get('User-Agent') || undefined };
}
