/** The administrator's console among the consoles: its sections, what it says after a change, and who may be here. */
import type { Account } from '../accounts/account.ts';
import type { Origin } from '../audit.ts';
import {
  type ConsoleOptions,
  type Console as ConsolePages,
  createConsole as createConsolePages,
  type Visitor,
} from '../console/pages.ts';
import { AppError } from '../errors.ts';

/** Changing what others depend on wants a sign-in at most this old, in seconds. */
const RECENT_SIGN_IN = 30 * 60;

/** What a page may say once, after the change before it. */
const NOTICES = [
  'form_used',
  'app_saved',
  'app_disabled',
  'app_enabled',
  'app_deleted',
  'secret_revoked',
  'app_token_revoked',
  'partner_sign_in_saved',
  'partner_sign_in_ended',
  'account_created',
  'account_saved',
  'account_approved',
  'account_disabled',
  'account_enabled',
  'account_deleted',
  'administrator_made',
  'administrator_removed',
  'provider_created',
  'provider_saved',
  'provider_disabled',
  'provider_enabled',
  'provider_deleted',
  'organization_created',
  'organization_saved',
  'permission_created',
  'permission_saved',
] as const;
export type AdminNotice = (typeof NOTICES)[number];

/** The pages of the navigation, in its order. */
const SECTIONS = [
  { id: 'apps', href: '/admin/apps' },
  { id: 'accounts', href: '/admin/accounts' },
  { id: 'organizations', href: '/admin/organizations' },
  { id: 'permissions', href: '/admin/permissions' },
  { id: 'identity_providers', href: '/admin/identity-providers' },
] as const;
type Section = (typeof SECTIONS)[number]['id'];

export type AdminConsole = ConsolePages<Section, AdminNotice>;

export function createAdminConsole(options: ConsoleOptions): AdminConsole {
  const plan = {
    name: 'admin',
    sections: SECTIONS,
    notices: NOTICES,
    recentSignIn: RECENT_SIGN_IN,
    admit({ administrator }: Account) {
      if (!administrator) throw new AppError('access_denied', 'this is for administrators');
    },
  };
  return createConsolePages(plan, options);
}

/** Who did it, for the audit trail. */
export function actorOf({ account, origin }: Visitor): Origin {
  return { ...origin, actorId: account.id };
}
