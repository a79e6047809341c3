import { z } from 'zod';
import type { PasswordSignIn } from '../accounts/sign-in.ts';
import { AppError } from '../errors.ts';
import { actionsOf, type Interaction, type Outcome } from './step.ts';

export const LoginForm = z.object({ email: z.string(), password: z.string() });
export type LoginForm = z.infer<typeof LoginForm>;

type Problem = 'wrong' | 'throttled';

/** The form; an e-mail that is known is filled in and stays editable. */
export function showLogin(interaction: Interaction, shown: { email?: string | undefined } = {}): Outcome {
  return loginPage(interaction, { email: shown.email ?? interaction.loginHint ?? interaction.account?.email });
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
  return async function login(interaction: Interaction, { email, password }: LoginForm): Promise<Outcome> {
    try {
      const account = await signIn({ email, password, source: interaction.source, clientId: interaction.client.id });
      return {
        kind: 'finish',
        result: { login: { accountId: account.id, acr, amr: ['pwd'], ts: now() }, select_account: {} },
      };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code === 'invalid_grant') return loginPage(interaction, { email, problem: 'wrong' }, 401);
      if (error.code !== 'too_many_requests') throw error;
      const { retryAfter = 1 } = error;
      return {
        ...loginPage(interaction, { email, problem: 'throttled', retryAfterMinutes: Math.ceil(retryAfter / 60) }, 429),
        retryAfter,
      };
    }
  };
}

interface LoginPage {
  email?: string | undefined;
  problem?: Problem;
  retryAfterMinutes?: number;
}

function loginPage(interaction: Interaction, page: LoginPage, status = 200): Extract<Outcome, { kind: 'page' }> {
  const reauthenticate = interaction.prompt === 'login' && interaction.account !== undefined;
  return {
    kind: 'page',
    view: 'interaction/login',
    status,
    data: { ...actionsOf(interaction), client: interaction.client, reauthenticate, ...page },
  };
}
