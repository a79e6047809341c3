import Router from '@koa/router';
import type Koa from 'koa';
import type Provider from 'oidc-provider';
import type { Interaction as EngineInteraction } from 'oidc-provider';
import { AppError, type ErrorDetails } from '../errors.ts';
import { form } from '../http/form.ts';
import { sameOrigin } from '../http/same-origin.ts';
import { allowFormTarget } from '../http/security-headers.ts';
import type { Views } from '../http/views.ts';
import type { OfferedProvider } from '../identity-providers/upstream-sign-in.ts';
import { parseInput } from '../input.ts';
import { nameBrowser } from '../oidc/beginning.ts';
import { browserCookieOf } from '../oidc/cookie-name.ts';
import type { Requested } from '../oidc/prompts.ts';
import { AccountForm, chooseAccount, showAccounts } from './account-chooser.ts';
import { type createConsent, DecisionForm } from './consent.ts';
import { siteOf } from './descriptions.ts';
import type { createLinkAccount } from './link-account.ts';
import { type createLogin, LoginForm, showLogin } from './login.ts';
import { type createProviderSignIn, ProviderForm } from './provider-sign-in.ts';
import type { Interaction, Outcome, WaitingClient } from './step.ts';

/** Seconds within which a browser that was sent to a sign-in has arrived there. */
const JUST_BEGUN = 30;

export interface InteractionRoutesOptions {
  issuer: string;
  now: () => number;
  views: Views;
  provider: () => Promise<Provider>;
  login: ReturnType<typeof createLogin>;
  consent: ReturnType<typeof createConsent>;
  providerSignIn: ReturnType<typeof createProviderSignIn>;
  linkAccount: ReturnType<typeof createLinkAccount>;
  /** What a browser keeps of earlier sign-ins, once this account has signed in there as well. */
  rememberBrowser: (kept: string | undefined, accountId: string) => Promise<string | undefined>;
  /** The identity providers that people can sign in with now. */
  offeredProviders: () => Promise<OfferedProvider[]>;
  /** What `acr` is when somebody has. */
  federatedAcr: string;
  findClient: (clientId: string) => Promise<WaitingClient | undefined>;
  findAccount: (
    accountId: string,
  ) => Promise<{ id: string; name: string; email: string; locale?: string | undefined } | undefined>;
}

/** As long as browsers keep any cookie (RFC 6265bis §5.5). */
const BROWSER_REMEMBERED_MS = 400 * 24 * 60 * 60 * 1000;

export function interactionRoutes(options: InteractionRoutesOptions): Router {
  const { issuer, now, views, login, consent, providerSignIn, linkAccount } = options;
  const browserCookie = browserCookieOf(issuer);
  const router = new Router({ prefix: '/interaction/:uid' });
  // The path itself is known only to who was sent there, and bound to their browser by a cookie.
  router.use(sameOrigin({ issuer, provenByForm: true }));

  router.get('/', async function showInteraction(ctx) {
    const { details, interaction } = await load(ctx);
    if (interaction.prompt !== 'consent') nameBrowser(ctx, issuer);
    await perform(ctx, { details, outcome: await firstPage(details, interaction) });
  });

  router.post('/', form(), async function submitInteraction(ctx) {
    const { details, interaction } = await load(ctx);
    await perform(ctx, { details, outcome: await submitted(ctx, details, interaction) });
  });

  router.post('/cancel', form(), async function cancelInteraction(ctx) {
    const { details } = await load(ctx);
    const result = { error: 'access_denied', error_description: 'the person cancelled' };
    await perform(ctx, { details, outcome: { kind: 'finish', result } });
  });

  router.post('/provider', form(), async function goToProvider(ctx) {
    const { details, interaction } = await load(ctx);
    const wanted = parseInput(ProviderForm, ctx.request.body);
    await perform(ctx, { details, outcome: await providerSignIn.start(interaction, wanted) });
  });

  router.get('/callback/:identityProvider', async function comeBack(ctx) {
    // What is only looked at beforehand must not use up the answer.
    if (ctx.method !== 'GET') throw new AppError('method_not_allowed', 'only a browser that is sent back comes here');
    const { details, interaction } = await load(ctx);
    const answer = { identityProviderId: String(ctx.params.identityProvider), query: ctx.querystring };
    await perform(ctx, { details, outcome: await providerSignIn.arrive(interaction, answer) });
  });

  router.get('/link', async function showLink(ctx) {
    const { details, interaction } = await load(ctx);
    await perform(ctx, { details, outcome: await linkAccount.show(interaction) });
  });

  router.post('/link', form(), async function linkToAccount(ctx) {
    const { details, interaction } = await load(ctx);
    const sent = parseInput(LoginForm, ctx.request.body);
    await perform(ctx, { details, outcome: await linkAccount.submit(interaction, sent) });
  });

  function firstPage(details: EngineInteraction, interaction: Interaction): Outcome | Promise<Outcome> {
    switch (interaction.prompt) {
      case 'login':
        return showLogin(interaction);
      case 'select_account':
        return showAccounts(interaction);
      case 'consent':
        return consent.show(interaction, consentRequest(details));
    }
  }

  /** A form belongs to the step that is asked for; only the login form may also come from a page that offers another account. */
  function submitted(
    ctx: Koa.Context,
    details: EngineInteraction,
    interaction: Interaction,
  ): Outcome | Promise<Outcome> {
    const sent = ctx.request.body as Record<string, unknown>;
    if (interaction.prompt === 'select_account' && 'account' in sent)
      return chooseAccount(interaction, parseInput(AccountForm, ctx.request.body));
    if (interaction.prompt === 'consent' && 'decision' in sent) {
      return consent.decide(interaction, consentRequest(details), parseInput(DecisionForm, ctx.request.body));
    }
    return login(interaction, parseInput(LoginForm, ctx.request.body));
  }

  async function load(ctx: Koa.Context): Promise<{ details: EngineInteraction; interaction: Interaction }> {
    const provider = await options.provider();
    const details = await provider.interactionDetails(ctx.req, ctx.res).catch(async (cause: Error) => {
      throw cause.name === 'SessionNotFound' ? await explained(ctx, provider) : cause;
    });
    if (details.uid !== ctx.params.uid) throw await explained(ctx, provider);
    ctx.state.uiLocales = details.params.ui_locales;
    const client = await options.findClient(String(details.params.client_id));
    if (!client) throw expired();
    return { details, interaction: await describe(ctx, details, client) };
  }

  /** Why there is nothing to go on with, as far as can be told, and where to go. */
  async function explained(ctx: Koa.Context, provider: Provider): Promise<AppError> {
    const begun = await provider.Interaction.find(String(ctx.params.uid));
    if (!begun) return expired();
    const wayOn = siteOf(await options.findClient(String(begun.params.client_id)));
    const hasCookie = ctx.cookies.get(provider.cookieName('interaction'), { signed: false }) !== undefined;
    if (hasCookie || now() - begun.iat > JUST_BEGUN) return expired({ wayOn });
    return new AppError('cookies_missing', 'the cookie that was set a moment ago has not come back', { wayOn });
  }

  async function describe(
    ctx: Koa.Context,
    { uid, prompt, params, session }: EngineInteraction,
    client: WaitingClient,
  ): Promise<Interaction> {
    const userAgent = ctx.get('User-Agent');
    const account = session && (await options.findAccount(session.accountId));
    const epoch = session === undefined ? undefined : await epochOf(session);
    ctx.state.profileLocale = account?.locale;
    return {
      uid,
      prompt: prompt.name as Interaction['prompt'],
      client: { ...client, clientHost: client.clientHost ?? hostOf(params.redirect_uri) },
      account: account && { ...account, epoch: epoch ?? 0 },
      providers: isWanted(options.federatedAcr, prompt.details) ? await options.offeredProviders() : [],
      mustBeFresh: String(params.prompt).split(' ').includes('login') || params.max_age !== undefined,
      loginHint: typeof params.login_hint === 'string' ? params.login_hint.slice(0, 254) : undefined,
      source: { address: ctx.ip, ...(userAgent ? { userAgent } : {}) },
      keptByBrowser: ctx.cookies.get(browserCookie, { signed: false }),
    };
  }

  /** As the session has it: by now the account may be past what this person has proven. */
  async function epochOf({ uid }: { uid?: string }): Promise<number> {
    const provider = await options.provider();
    const session = uid === undefined ? undefined : await provider.Session.findByUid(uid);
    return (session as { epoch?: number } | undefined)?.epoch ?? 0;
  }

  async function perform(
    ctx: Koa.Context,
    { details, outcome }: { details: EngineInteraction; outcome: Outcome },
  ): Promise<void> {
    ctx.set('Cache-Control', 'no-store');
    if (outcome.kind === 'page') {
      ctx.status = outcome.status ?? 200;
      if (outcome.retryAfter !== undefined) ctx.set('Retry-After', String(outcome.retryAfter));
      for (const target of [String(details.params.redirect_uri), ...(outcome.formTargets ?? [])])
        allowFormTarget(ctx, target);
      await views.render(ctx, outcome.view, outcome.data);
      return;
    }
    ctx.status = 303;
    if (outcome.kind === 'leave') return ctx.redirect(outcome.url);
    if (outcome.result.login) await rememberBrowser(ctx, outcome.result.login.accountId);
    const provider = await options.provider();
    const returnTo = await provider.interactionResult(ctx.req, ctx.res, outcome.result, {
      mergeWithLastSubmission: true,
    });
    ctx.redirect(returnTo);
  }

  async function rememberBrowser(ctx: Koa.Context, accountId: string): Promise<void> {
    const kept = await options.rememberBrowser(ctx.cookies.get(browserCookie, { signed: false }), accountId);
    const secure = issuer.startsWith('https:');
    if (kept !== undefined)
      ctx.cookies.set(browserCookie, kept, {
        httpOnly: true,
        sameSite: 'lax',
        secure,
        signed: false,
        maxAge: BROWSER_REMEMBERED_MS,
      });
  }

  return router;
}

/** What the engine's consent prompt carries. */
function consentRequest({ prompt }: EngineInteraction): Requested {
  const { scopes = [], claims = [] } = prompt.details as Partial<Requested>;
  return { scopes, claims };
}

/** Whether a sign-in of this class would do, where the app insists on some (OIDC Core §5.5.1.1). */
function isWanted(acr: string, details: unknown): boolean {
  const { value, values } = (details as { acr?: { value?: unknown; values?: unknown[] } }).acr ?? {};
  const wanted = values ?? (value === undefined ? undefined : [value]);
  return wanted === undefined || wanted.includes(acr);
}

function expired(details: ErrorDetails = {}): AppError {
  return new AppError(
    'interaction_expired',
    'this sign-in was finished, has expired, or was started in another browser',
    details,
  );
}

/** Where the person will be sent: says more of who asks than a name that anybody may choose. */
function hostOf(redirectUri: unknown): string | undefined {
  return URL.parse(String(redirectUri))?.host || undefined;
}
