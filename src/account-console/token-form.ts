/** The form of a new personal token: what a link may fill in, what a person sent, and what is wrong with it. */
import { z } from 'zod';
import { type Account, BUILT_IN_PERMISSION, permissionsOf } from '../accounts/account.ts';
import { AppError } from '../errors.ts';

const DAY = 24 * 60 * 60;
/** Days a token may be made for; the first that is at least as long as asked for is chosen for a link. */
const LIFETIMES = [7, 30, 90, 365];
const DEFAULT_LIFETIME = 90;
const NEVER = 'never';
/** Characters of a link back to the form that survive being sent through a sign-in. */
const LONGEST_LINK = 3000;

const checked = z.union([z.string(), z.array(z.string())]).transform((names) => [names].flat());

/** As a browser sends it. */
export const TokenForm = z.object({
  form: z.string().max(64).default(''),
  description: z.string().max(1000).default(''),
  /** Seconds, or `never`. */
  expires_in: z.string().max(20).default(''),
  access: z.enum(['all', 'some']).default('all'),
  permission: checked.default([]),
});
export type TokenForm = z.infer<typeof TokenForm>;

/** What a link may ask to be filled in, with the names of `POST /api/tokens`. Whatever else it carries is left out. */
export const TokenLink = z.object({
  description: z.string().catch(''),
  /** Said more than once, all of it counts. */
  scope: checked
    .transform((names) => names.join(' '))
    .optional()
    .catch(undefined),
  expires_in: z.string().catch(''),
});
export type TokenLink = z.infer<typeof TokenLink>;

export interface FilledTokenForm {
  description: string;
  expiresIn: string;
  lifetimes: Array<{ value: string; days?: number }>;
  access: 'all' | 'some';
  /** The permissions that are chosen. */
  chosen: string[];
  /** The link asked for permissions that this person does not hold. */
  leftOut: boolean;
}

/** What a token may be given: everything but the right to make tokens. */
export function givable(account: Account): string[] {
  return permissionsOf(account).filter((name) => name !== BUILT_IN_PERMISSION);
}

export function fillFromLink(link: TokenLink, held: string[], mayBeEternal: boolean): FilledTokenForm {
  const asked = link.scope?.split(' ').filter((name) => name !== '');
  const chosen = held.filter((name) => asked?.includes(name));
  return {
    description: link.description.slice(0, 120),
    expiresIn: nearestLifetime(link.expires_in, mayBeEternal),
    lifetimes: lifetimes(mayBeEternal),
    access: asked === undefined || held.length === 0 ? 'all' : 'some',
    chosen,
    leftOut: (asked ?? []).some((name) => !held.includes(name)),
  };
}

/** The form as it was sent, to be sent again. */
export function fillFromForm(sent: TokenForm, held: string[], mayBeEternal: boolean): FilledTokenForm {
  return {
    ...fillFromLink({ description: sent.description, expires_in: sent.expires_in }, held, mayBeEternal),
    access: sent.access,
    chosen: held.filter((name) => sent.permission.includes(name)),
  };
}

/** A link to the form filled in as it was sent: without its permissions when they are too many for a link. */
export function linkTo(path: string, { description, expires_in, access, permission }: TokenForm): string {
  const link = new URLSearchParams({ description: description.slice(0, 120), expires_in });
  if (access === 'some') link.set('scope', permission.join(' '));
  if (link.toString().length > LONGEST_LINK) link.set('scope', '');
  return `${path}?${link}`;
}

/**
 * The form as the parts below want it.
 * @throws {AppError} `invalid_request` naming the field.
 */
export function newTokenOf(sent: TokenForm, held: string[]) {
  const isNever = sent.expires_in === NEVER;
  const seconds = sent.expires_in === '' ? DEFAULT_LIFETIME * DAY : Number(sent.expires_in);
  if (!isNever && !LIFETIMES.includes(seconds / DAY))
    throw new AppError('invalid_request', 'expires_in: must be one of those offered', { field: 'expires_in' });
  if (sent.access === 'some' && sent.permission.length === 0 && held.length > 0)
    throw new AppError('invalid_scope', 'scope: nothing was chosen', { field: 'scope' });
  return {
    description: sent.description,
    expiresIn: isNever ? null : seconds,
    ...(sent.access === 'some' ? { scope: sent.permission.join(' ') } : {}),
  };
}

function lifetimes(mayBeEternal: boolean): FilledTokenForm['lifetimes'] {
  const limited = LIFETIMES.map((days) => ({ value: String(days * DAY), days }));
  return mayBeEternal ? [...limited, { value: NEVER }] : limited;
}

/** Never shorter than asked for, so that what an app needs it for gets done; but as long as is allowed at most. */
function nearestLifetime(wanted: string, mayBeEternal: boolean): string {
  if (wanted === NEVER && mayBeEternal) return NEVER;
  const days = /^\d{1,12}$/.test(wanted) ? Number(wanted) / DAY : DEFAULT_LIFETIME;
  return String((LIFETIMES.find((offered) => offered >= days) ?? Math.max(...LIFETIMES)) * DAY);
}
