import { z } from 'zod';
import { AppError } from '../errors.ts';
import { showLogin } from './login.ts';
import { actionsOf, type Interaction, type Outcome } from './step.ts';

/** The id of the chosen account, or `other`. */
export const AccountForm = z.object({ account: z.string() });

export function showAccounts(interaction: Interaction): Outcome {
  if (!interaction.account) return showLogin(interaction);
  const accounts = [{ ...interaction.account, current: true }];
  return {
    kind: 'page',
    view: 'interaction/account-chooser',
    data: { ...actionsOf(interaction), client: interaction.client, accounts },
  };
}

export function chooseAccount(interaction: Interaction, { account }: z.infer<typeof AccountForm>): Outcome {
  if (account === 'other') return showLogin(interaction, { email: '' });
  if (account !== interaction.account?.id)
    throw new AppError('invalid_request', 'account is not one of those offered', { field: 'account' });
  return { kind: 'finish', result: { select_account: {} } };
}
