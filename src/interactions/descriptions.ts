import type { Client } from '../clients/client.ts';
import type { WayOn } from '../errors.ts';
import { OPENID_SCOPE_SET } from '../oidc/claims.ts';
import type { Permissions } from '../permissions/permissions.ts';
import type { DescribedScope } from './consent.ts';
import type { WaitingClient } from './step.ts';

/** Latchkey itself, when a person signs in to its own pages. */
export const OWN_PAGES: WaitingClient = { id: 'latchkey', name: 'Latchkey', firstParty: true };

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
