/** Organizations and what is done with them. Knows nothing of who belongs to them: members carry its id. */
import { randomUUID } from 'node:crypto';
import type { z } from 'zod';
import type { Audit, Origin } from '../audit.ts';
import { AppError, noSuch } from '../errors.ts';
import { parseInput } from '../input.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { Organization } from './organization.ts';

const NewOrganization = Organization.pick({ name: true }).extend({ id: Organization.shape.id.optional() });
export type NewOrganization = z.input<typeof NewOrganization>;

const OrganizationChanges = Organization.pick({ name: true }).partial();
export type OrganizationChanges = z.input<typeof OrganizationChanges>;

export interface Organizations {
  /** Without an id it gets a UUID. @throws {AppError} `conflict` when the id is taken; `invalid_request` naming the field. */
  create(input: NewOrganization, origin?: Origin): Promise<Organization>;
  get(id: string): Promise<Organization | undefined>;
  /** @throws {AppError} `not_found` */
  getOrFail(id: string): Promise<Organization>;
  /** Whatever is absent stays. @throws {AppError} `not_found`; `invalid_request` naming the field. */
  update(id: string, changes: OrganizationChanges, origin?: Origin): Promise<Organization>;
  /** Deletes one that nobody belongs to. @throws {AppError} `not_found`; `conflict` saying who does. */
  remove(id: string, origin?: Origin): Promise<void>;
  /** In the order of their ids. */
  list(page?: { limit?: number; after?: string }): Promise<{ organizations: Organization[]; next?: string }>;
}

export interface OrganizationsOptions {
  storage: Storage;
  now: () => number;
  audit: Audit;
  /** What belongs to an organization, in words; undefined for nothing. */
  whatBelongsTo(id: string): Promise<string | undefined>;
}

export function createOrganizations({ storage, now, audit, whatBelongsTo }: OrganizationsOptions): Organizations {
  const organizations = collection(storage, { kind: 'organization', version: 1, schema: Organization });

  async function getOrFail(id: string): Promise<Organization> {
    const organization = await organizations.get(id);
    if (!organization) throw noSuch('organization', id);
    return organization;
  }

  return {
    get: (id) => organizations.get(id),
    getOrFail,

    async create(input, origin = {}) {
      const { name, id = randomUUID() } = parseInput(NewOrganization, input);
      const organization: Organization = { id, name, createdAt: now() };
      const created = await organizations.insert(id, organization, { groups: ['organizations'] });
      if (!created) throw new AppError('conflict', 'there is an organization with this id already', { field: 'id' });
      await audit.record({ ...origin, type: 'organization_created', detail: { id, name } });
      return organization;
    },

    async update(id, input, origin = {}) {
      const changes = parseInput(OrganizationChanges, input);
      const changed = await organizations.update(id, (current) => ({ ...current, ...changes }) as Organization);
      if (!changed) throw noSuch('organization', id);
      await audit.record({ ...origin, type: 'organization_changed', detail: { id, name: changed.name } });
      return changed;
    },

    async remove(id, origin = {}) {
      const { name } = await getOrFail(id);
      const belongs = await whatBelongsTo(id);
      if (belongs !== undefined)
        throw new AppError('conflict', `${belongs} belongs to this organization: move or delete it first`);
      await audit.record({ ...origin, type: 'organization_deleted', detail: { id, name } });
      await organizations.delete(id);
    },

    async list(page = {}) {
      const { records, next } = await organizations.list('organizations', page);
      return next === undefined ? { organizations: records } : { organizations: records, next };
    },
  };
}
