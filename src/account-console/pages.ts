/** The account console among the consoles: its sections, and what it says after a change. */
import {
  type ConsoleOptions,
  type Console as ConsolePages,
  createConsole as createConsolePages,
  type Visitor,
} from '../console/pages.ts';
import { deviceOf } from './device.ts';

/** Giving a script the right to act in one's name wants a sign-in at most this old, in seconds. */
const RECENT_SIGN_IN = 600;

/** What a page may say once, after the change before it. */
const NOTICES = [
  'token_revoked',
  'form_used',
  'session_ended',
  'sessions_ended',
  'app_removed',
  'partner_refused',
  'partner_allowed',
  'password_changed',
  'method_linked',
  'method_unlinked',
  'profile_saved',
] as const;
export type ConsoleNotice = (typeof NOTICES)[number];

/** The pages of the navigation, in its order. */
const SECTIONS = [
  { id: 'profile', href: '/account' },
  { id: 'tokens', href: '/account/tokens' },
  { id: 'sessions', href: '/account/sessions' },
  { id: 'apps', href: '/account/apps' },
  { id: 'security', href: '/account/security' },
] as const;
type Section = (typeof SECTIONS)[number]['id'];

export type Console = ConsolePages<Section, ConsoleNotice>;
export type { ConsoleOptions, Visitor };

export function createConsole(options: ConsoleOptions): Console {
  const plan = { name: 'account', sections: SECTIONS, notices: NOTICES, recentSignIn: RECENT_SIGN_IN };
  return createConsolePages({ ...plan, helpers: { deviceOf } }, options);
}
