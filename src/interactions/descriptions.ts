import { displayName } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Client } from '../clients/client.ts';
import type { Clients } from '../clients/clients.ts';
import type { WayOn } from '../errors.ts';
import { OPENID_SCOPE_SET } from '../oidc/claims.ts';
import { CONSOLE_CLIENT_ID } from '../oidc/protocol.ts';
import type { Organizations } from '../organizations/organizations.ts';
import type { Permissions } from '../permissions/permissions.ts';
import type { DescribedScope } from './consent.ts';
import type { WaitingClient } from './step.ts';

/** Latchkey itself, when a person signs in to its own pages. */
const OWN_PAGES: WaitingClient = { id: 'latchkey', name: 'Latchkey', firstParty: true };

export function describeClient({ id, name, logoUri, clientUri, policyUri, tosUri }: Client): WaitingClient {
  const clientHost = clientUri === undefined ? undefined : new URL(clientUri).host;
  return { id, name, logoUri, clientUri, clientHost, policyUri, tosUri, firstParty: false };
}

/** The site of an app, where somebody may go on who cannot go on here; undefined when it has none. */
export function siteOf(client: WaitingClient | undefined): WayOn | undefined {
  return client?.clientUri === undefined ? undefined : { href: client.clientUri, app: client.name };
}

/** A permission comes with its administrator's words; the catalogue has those of the rest. */
export async function describeScopes(
  names: readonly string[],
  permissions: Pick<Permissions, 'get'>,
): Promise<DescribedScope[]> {
  return Promise.all(
    names.map(async (name) => {
      const permission = OPENID_SCOPE_SET.has(name) ? undefined : await permissions.get(name);
      return permission ? { name, description: permission.description } : { name };
    }),
  );
}

export interface DescriptionsOptions {
  accounts: Pick<Accounts, 'findActive'>;
  clients: Pick<Clients, 'findActive'>;
  organizations: Pick<Organizations, 'get'>;
}

/** Whom and what pages name, as they show them; undefined for what may not act, or is not there. */
export function createDescriptions({ accounts, clients, organizations }: DescriptionsOptions) {
  return {
    async findClient(clientId: string): Promise<WaitingClient | undefined> {
      if (clientId === CONSOLE_CLIENT_ID) return OWN_PAGES;
      const client = await clients.findActive(clientId);
      return client && describeClient(client);
    },

    async findAccount(accountId: string) {
      const account = await accounts.findActive(accountId);
      return account && { id: account.id, name: displayName(account), email: account.email, locale: account.locale };
    },

    async findOrganization(id: string | undefined) {
      const organization = id === undefined ? undefined : await organizations.get(id);
      return organization && { id: organization.id, name: organization.name };
    },
  };
}
