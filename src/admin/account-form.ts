/** The forms of an account: as a browser sends them, as they are shown again, and what is wrong with them. */
import { z } from 'zod';
import type { Account } from '../accounts/account.ts';
import type { AccountChanges, NewAccount } from '../accounts/accounts.ts';
import { AppError } from '../errors.ts';

const text = (length: number) => z.string().max(length).default('');
const checked = z.union([z.string(), z.array(z.string())]).transform((names) => [names].flat());

export const AccountForm = z.object({
  form: text(64),
  email: text(1000),
  email_verified: z.enum(['yes', '']).default(''),
  given_name: text(1000),
  family_name: text(1000),
  password: text(1000),
  status: z.enum(['active', 'pending']).default('active'),
  organization: text(100),
  permission: checked.default([]),
});
export type AccountForm = z.infer<typeof AccountForm>;

export function emptyAccountForm(): AccountForm {
  return AccountForm.parse({});
}

export function fillFromAccount(account: Account): AccountForm {
  return AccountForm.parse({
    email: account.email,
    email_verified: account.emailVerified ? 'yes' : '',
    given_name: account.givenName,
    family_name: account.familyName,
    organization: account.organizationId,
    permission: [...account.permissions],
  });
}

export function newAccountOf(sent: AccountForm): NewAccount {
  const password = sent.password === '' ? {} : { password: sent.password };
  return { ...changesOf(sent), email: sent.email, status: sent.status, ...password };
}

export function changesOf(sent: AccountForm): Pick<AccountChanges, 'givenName' | 'familyName' | 'organizationId'> & {
  emailVerified: boolean;
  permissions: string[];
} {
  return {
    emailVerified: sent.email_verified === 'yes',
    givenName: filled(sent.given_name),
    familyName: filled(sent.family_name),
    organizationId: filled(sent.organization),
    permissions: sent.permission,
  };
}

/** The field at fault, and how. @throws whatever is no fault of the form. */
export function accountProblemIn(error: unknown): { field: string; code: 'wrong' | 'taken' } {
  if (!(error instanceof AppError) || error.field === undefined) throw error;
  if (error.code === 'conflict' && error.field === 'email') return { field: 'email', code: 'taken' };
  if (error.code === 'invalid_request') return { field: error.field, code: 'wrong' };
  throw error;
}

function filled(field: string): string | undefined {
  return field.trim() || undefined;
}
