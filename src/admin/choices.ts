/** What forms offer to choose from: the organizations and permissions there are. */
import type { Organization } from '../organizations/organization.ts';
import type { Organizations } from '../organizations/organizations.ts';
import type { Permission } from '../permissions/permission.ts';

/** More do not fit a list that people choose from. */
const MOST_ORGANIZATIONS = 1000;

export interface Choices {
  /** By name. */
  organizations(): Promise<Organization[]>;
  isOrganization(id: string): Promise<boolean>;
  /** By id. */
  organizationNames(ids: readonly (string | undefined)[]): Promise<Map<string, string>>;
  permissions(): Promise<Permission[]>;
}

export function createChoices({
  organizations,
  permissions,
}: {
  organizations: Pick<Organizations, 'get' | 'list'>;
  permissions: { list(): Promise<Permission[]> };
}): Choices {
  return {
    permissions: permissions.list,
    isOrganization: async (id) => (await organizations.get(id)) !== undefined,

    async organizations() {
      const found = await organizations.list({ limit: MOST_ORGANIZATIONS });
      return found.organizations.toSorted((a, b) => a.name.localeCompare(b.name));
    },

    async organizationNames(ids) {
      const wanted = [...new Set(ids)].filter((id) => id !== undefined);
      const found = await Promise.all(wanted.map((id) => organizations.get(id)));
      return new Map(found.flatMap((organization) => (organization ? [[organization.id, organization.name]] : [])));
    },
  };
}
