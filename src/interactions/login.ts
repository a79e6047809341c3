import { z } from 'zod';
import type { Account } from '../accounts/account.ts';
import type { PasswordSignIn } from '../accounts/sign-in.ts';
import { AppError } from '../errors.ts';
import type { OfferedProvider } from '../identity-providers/upstream-sign-in.ts';
import { ROUTES } from '../oidc/protocol.ts';
import { actionsOf, type Interaction, type Outcome } from './step.ts';

export const LoginForm = z.object({ email: z.string(), password: z.string() });
export type LoginForm = z.infer<typeof LoginForm>;

/** Why a page that asks who somebody is comes again. */
export interface Problem {
  problem:
    | 'wrong'
    | 'throttled'
    | 'provider_unavailable'
    | 'provider_cancelled'
    | 'provider_refused'
    | 'provider_not_asked_again'
    /** Used already, too old, or another browser's. */
    | 'provider_stale';
  /** The name of the identity provider. */
  provider?: string;
  status: number;
  retryAfter?: number | undefined;
}

/** The form; an e-mail that is known is filled in and stays editable. */
export function showLogin(interaction: Interaction, shown: { email?: string | undefined } = {}): Outcome {
  return loginPage(interaction, { email: shown.email ?? knownEmail(interaction) });
}

/** The form again, with what went wrong elsewhere. */
export function showLoginProblem(interaction: Interaction, problem: Problem): Outcome {
  return loginPage(interaction, { email: knownEmail(interaction), problem });
}

/** Checks the password. A failure shows the form again with what was typed, except the password. */
export function createLogin({
  signIn,
  acr,
  now,
}: {
  signIn: PasswordSignIn['signIn'];
  acr: string;
  now: () => number;
}) {
  return async function login(
    interaction: Interaction,
    { email, password }: LoginForm,
    { proven, again }: LoginSteps = {},
  ): Promise<Outcome> {
    try {
      const { source, client, keptByBrowser } = interaction;
      const account = await signIn({ email, password, source, clientId: client.id, keptByBrowser });
      await proven?.(account);
      return {
        kind: 'finish',
        result: {
          login: { accountId: account.id, epoch: account.epoch, acr, amr: ['pwd'], ts: now() },
          select_account: {},
        },
      };
    } catch (error) {
      const problem = problemOf(error);
      return again ? again(problem) : loginPage(interaction, { email, problem });
    }
  };
}

/** What a page with a form of its own wants to have done. */
export interface LoginSteps {
  /** As soon as the password was right. */
  proven?: (account: Account) => Promise<void>;
  /** The form again. */
  again?: (problem: Problem) => Outcome;
}

/** @throws whatever is no fault of what was typed. */
export function problemOf(error: unknown): Problem {
  if (!(error instanceof AppError)) throw error;
  if (error.code === 'invalid_grant') return { problem: 'wrong', status: 401 };
  if (error.code === 'too_many_requests')
    return { problem: 'throttled', status: 429, retryAfter: error.retryAfter ?? 1 };
  throw error;
}

/** What a page says of a problem, and how it is answered. */
export function shownProblem(problem: Problem | undefined) {
  if (!problem) return { page: {}, data: {} };
  const { status, retryAfter, problem: name, provider } = problem;
  const retryAfterMinutes = Math.ceil((retryAfter ?? 1) / 60);
  return {
    page: { status, ...(retryAfter === undefined ? {} : { retryAfter }) },
    data: { problem: name, provider, retryAfterMinutes },
  };
}

/** The providers that can do what this request wants. */
export function providersFor({ providers, mustBeFresh }: Interaction): OfferedProvider[] {
  return providers.filter(({ canAskAgain }) => canAskAgain || !mustBeFresh);
}

function knownEmail({ loginHint, account }: Interaction): string | undefined {
  return loginHint ?? account?.email;
}

function loginPage(
  interaction: Interaction,
  { email, problem }: { email?: string | undefined; problem?: Problem },
): Outcome {
  const reauthenticate = interaction.prompt === 'login' && interaction.account !== undefined;
  const providers = providersFor(interaction);
  const unable = interaction.providers.filter((provider) => !providers.includes(provider)).map(({ name }) => name);
  const { page, data } = shownProblem(problem);
  return {
    kind: 'page',
    view: 'interaction/login',
    ...page,
    formTargets: providers.map(({ address }) => address),
    data: {
      ...actionsOf(interaction),
      logoutAction: ROUTES.end_session,
      client: interaction.client,
      email,
      reauthenticate,
      providers,
      unable,
      ...data,
    },
  };
}
