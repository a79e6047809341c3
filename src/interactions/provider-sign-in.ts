/** Signing in with an identity provider: going there, and what coming back means. */
import { z } from 'zod';
import { type Account, displayName } from '../accounts/account.ts';
import type { Audit, Origin } from '../audit.ts';
import { AppError } from '../errors.ts';
import { type IdentityProvider, nameOf } from '../identity-providers/identity-provider.ts';
import type { ResolveAccount } from '../identity-providers/resolve-account.ts';
import { ProviderUnavailable } from '../identity-providers/token-verifier.ts';
import type { CallbackResult, UpstreamSignIn } from '../identity-providers/upstream-sign-in.ts';
import type { createLinkAccount } from './link-account.ts';
import { type Problem, problemOf, providersFor, showLoginProblem } from './login.ts';
import { actionsOf, type Interaction, type Outcome } from './step.ts';

export const ProviderForm = z.object({ identity_provider: z.string() });

/** How a sign-in at an identity provider is called in tokens: as others do it, RFC 8176 having no word for it. */
const AMR = ['fed'];

export interface ProviderSignInOptions {
  upstream: Pick<UpstreamSignIn, 'begin' | 'complete'>;
  resolveAccount: ResolveAccount;
  linkAccount: ReturnType<typeof createLinkAccount>;
  audit: Audit;
  acr: string;
  now: () => number;
}

/** What came back from a provider. */
export interface Answer {
  identityProviderId: string;
  query: string;
}

export function createProviderSignIn(options: ProviderSignInOptions) {
  const { upstream, resolveAccount, linkAccount, audit, acr, now } = options;

  /** Shows the sign-in as it was, with why nobody is signed in. */
  async function showRefusal(
    interaction: Interaction,
    result: Exclude<CallbackResult, { outcome: 'proven' }>,
  ): Promise<Outcome> {
    const { outcome, identityProvider, problem, retryAfter } = result;
    const detail = { identity_provider: identityProvider.id, problem };
    if (outcome === 'refused' || outcome === 'not_asked_again')
      await audit.record({ ...originOf(interaction), type: 'sign_in_refused', detail });
    const provider = nameOf(identityProvider);
    return showLoginProblem(interaction, {
      problem: `provider_${outcome}`,
      provider,
      status: STATUS[outcome],
      retryAfter,
    });
  }

  async function finishSignIn(
    interaction: Interaction,
    account: Account,
    identityProvider: IdentityProvider,
  ): Promise<Outcome> {
    const event = { ...originOf(interaction), accountId: account.id };
    const { id } = identityProvider;
    if (account.status !== 'active') {
      const detail = { identity_provider: id, problem: account.status };
      await audit.record({ ...event, type: 'sign_in_refused', detail });
      return showRefused(interaction, account, nameOf(identityProvider));
    }
    await audit.record({ ...event, type: 'sign_in', detail: { identity_provider: id } });
    const provider = { id, epoch: identityProvider.epoch };
    const login = { accountId: account.id, epoch: account.epoch, provider, acr, amr: AMR, ts: now() };
    return { kind: 'finish', result: { login, select_account: {} } };
  }

  return {
    async start(interaction: Interaction, { identity_provider: id }: z.infer<typeof ProviderForm>): Promise<Outcome> {
      const provider = providersFor(interaction).find((offered) => offered.id === id);
      if (!provider)
        throw new AppError('invalid_request', 'identity_provider is not one of those offered', {
          field: 'identity_provider',
        });
      const returnTo = `/interaction/${interaction.uid}/callback/${id}`;
      const attempt = { boundTo: boundTo(interaction), returnTo, askAgain: interaction.mustBeFresh };
      try {
        return { kind: 'leave', url: await upstream.begin(id, attempt) };
      } catch (error) {
        if (!(error instanceof ProviderUnavailable)) throw error;
        const { retryAfter } = error;
        const problem = { problem: 'provider_unavailable', provider: provider.name, status: 503, retryAfter } as const;
        return showLoginProblem(interaction, problem);
      }
    },

    async arrive(interaction: Interaction, answer: Answer): Promise<Outcome> {
      const { address } = interaction.source;
      const completed = { ...answer, boundTo: boundTo(interaction), address };
      const result = await upstream.complete(completed).catch(problemWith);
      if ('status' in result) return showLoginProblem(interaction, result);
      if (result.outcome !== 'proven') return showRefusal(interaction, result);
      const { identity } = result;
      const account = await resolveAccount(identity, originOf(interaction));
      return account
        ? finishSignIn(interaction, account, identity.identityProvider)
        : linkAccount.ask(interaction, identity);
    },
  };
}

const STATUS = { cancelled: 200, refused: 400, not_asked_again: 400, unavailable: 503 } as const;

/** The interaction's cookie shows whose browser it is. */
function boundTo({ uid }: Interaction): string {
  return `interaction:${uid}`;
}

/** The sign-in goes on, whatever came back to it. @throws whatever is no fault of the answer. */
function problemWith(error: unknown): Problem {
  if (error instanceof AppError && error.code === 'interaction_expired')
    return { problem: 'provider_stale', status: error.status };
  return problemOf(error);
}

function originOf({ source, client }: Interaction): Origin {
  return { ...source, clientId: client.id };
}

function showRefused(interaction: Interaction, account: Account, provider: string): Outcome {
  const { status, email } = account;
  const data = {
    ...actionsOf(interaction),
    client: interaction.client,
    status,
    email: email || displayName(account),
    provider,
  };
  return { kind: 'page', view: 'interaction/no-entry', status: 403, data };
}
