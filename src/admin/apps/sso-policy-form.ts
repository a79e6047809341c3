/** The form of what an app may do by its own word: as a browser sends it, as it is shown again, and what is wrong with it. */
import { z } from 'zod';
import type { Client } from '../../clients/client.ts';
import { SsoPolicy } from '../../clients/sso-policy.ts';
import { AppError } from '../../errors.ts';

const checked = z
  .union([z.string(), z.array(z.string())])
  .transform((names) => [names].flat())
  .default([]);

export const SsoPolicyForm = z.object({
  organization: checked,
  permission: checked,
  /** One a line. */
  email_domains: z.string().default(''),
  next_origins: z.string().default(''),
  creates_people: z.enum(['yes', 'no']).default('no'),
  vouches_for_email: z.enum(['yes', 'no']).default('no'),
  rate_per_minute: z.string().max(20).default(''),
});
export type SsoPolicyForm = z.infer<typeof SsoPolicyForm>;

/** One thing that is wrong with a field, or with this line of it. */
export interface Problem {
  code: 'wrong' | 'too_many';
  text?: string;
}
export type Problems = Record<string, Problem[]>;

/** Fields by what the record calls them. */
const FIELD_OF: Record<string, keyof SsoPolicyForm> = {
  organizationIds: 'organization',
  permissions: 'permission',
  emailDomains: 'email_domains',
  nextOrigins: 'next_origins',
  createsPeople: 'creates_people',
  vouchesForEmail: 'vouches_for_email',
  ratePerMinute: 'rate_per_minute',
};

/** The form as it would have to be sent; for an app that may not yet, what is usual. */
export function fillFrom({ sso, organizationId }: Client): SsoPolicyForm {
  const usual = SsoPolicy.parse({ organizationIds: ['none'] });
  const { emailDomains = [], nextOrigins, permissions, createsPeople, vouchesForEmail, ratePerMinute } = sso ?? usual;
  return SsoPolicyForm.parse({
    organization: sso?.organizationIds ?? [organizationId ?? []].flat(),
    permission: permissions,
    email_domains: emailDomains.join('\n'),
    next_origins: nextOrigins.join('\n'),
    creates_people: createsPeople ? 'yes' : 'no',
    vouches_for_email: vouchesForEmail ? 'yes' : 'no',
    rate_per_minute: String(ratePerMinute),
  });
}

/** What the form asks for. */
export function ssoPolicyOf(sent: SsoPolicyForm): z.input<typeof SsoPolicy> {
  const emailDomains = linesOf(sent.email_domains);
  return {
    organizationIds: sent.organization,
    permissions: sent.permission,
    nextOrigins: linesOf(sent.next_origins),
    createsPeople: sent.creates_people === 'yes',
    ...(sent.vouches_for_email === 'yes' ? { vouchesForEmail: true } : {}),
    ratePerMinute: Number(sent.rate_per_minute),
    ...(emailDomains.length > 0 ? { emailDomains } : {}),
  };
}

/** Everything that is wrong with it, as far as the form and the app itself tell. */
export function problemsOf(sent: SsoPolicyForm, app: Client): Problems {
  const problems: Problems = {};
  const wanted = ssoPolicyOf(sent);
  for (const { path, code } of SsoPolicy.safeParse(wanted).error?.issues ?? []) {
    const [name, at] = path;
    const lines = wanted[name as keyof typeof wanted];
    const isLine = Array.isArray(lines) && typeof at === 'number';
    const problem: Problem = isLine
      ? { code: 'wrong', text: String(lines[at]) }
      : { code: Array.isArray(lines) && code === 'too_big' ? 'too_many' : 'wrong' };
    add(problems, FIELD_OF[String(name)] ?? String(name), problem);
  }
  // A permission is given to an app on its own form, not by the way.
  if (sent.permission.some((name) => !app.permissions.includes(name))) add(problems, 'permission', { code: 'wrong' });
  return problems;
}

/** What only the parts below can tell. @throws whatever is no fault of the form. */
export function problemsIn(error: unknown): Problems {
  if (error instanceof AppError && error.code === 'invalid_request' && error.field !== undefined)
    return { [error.field]: [{ code: 'wrong' }] };
  throw error;
}

function add(problems: Problems, field: string, problem: Problem): void {
  problems[field] = [...(problems[field] ?? []), problem];
}

function linesOf(field: string): string[] {
  const lines = field.split('\n').map((line) => line.trim());
  return [...new Set(lines.filter((line) => line !== ''))];
}
