/** The permissions an administrator has created. Knows nothing of who holds them. */
import type { z } from 'zod';
import type { Audit, Origin } from '../audit.ts';
import { AppError, noSuch } from '../errors.ts';
import { parseInput } from '../input.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { Permission } from './permission.ts';

const VERSION_KEY = 'permissions-version';

const NewPermission = Permission.omit({ createdAt: true });
export type NewPermission = z.input<typeof NewPermission>;

const PermissionChanges = Permission.pick({ description: true }).partial();
export type PermissionChanges = z.input<typeof PermissionChanges>;

export interface Permissions {
  /** @throws {AppError} `conflict` when the name is taken; `invalid_request` naming the field. */
  create(input: NewPermission, origin?: Origin): Promise<Permission>;
  /** Its words; the name stays, which apps and people hold it by. @throws {AppError} `not_found`; `invalid_request` naming the field. */
  update(name: string, changes: PermissionChanges, origin?: Origin): Promise<Permission>;
  /** Takes it from everybody who holds it, then deletes it; safe to repeat. @throws {AppError} `not_found` */
  remove(name: string, origin?: Origin): Promise<void>;
  get(name: string): Promise<Permission | undefined>;
  /** All of them, by name. */
  list(): Promise<Permission[]>;
  names(): Promise<string[]>;
  /** One small read; another number whenever the set has changed. Read it before the list that is kept with it. */
  version(): Promise<number>;
}

export interface PermissionsOptions {
  storage: Storage;
  now: () => number;
  audit: Audit;
  /** Takes a permission from all apps and people. */
  takeFromAll(name: string): Promise<void>;
}

export function createPermissions({ storage, now, audit, takeFromAll }: PermissionsOptions): Permissions {
  const permissions = collection(storage, { kind: 'permission', version: 1, schema: Permission });

  async function list(): Promise<Permission[]> {
    const found: Permission[] = [];
    for await (const permission of permissions.all('permissions')) found.push(permission);
    return found;
  }

  async function changeVersion(): Promise<void> {
    await storage.update(VERSION_KEY, (current) => Number(current ?? 0) + 1);
  }

  return {
    get: (name) => permissions.get(name),
    list,
    names: async () => (await list()).map(({ name }) => name),
    version: async () => Number((await storage.get(VERSION_KEY)) ?? 0),

    async create(input, origin = {}) {
      const permission: Permission = { ...parseInput(NewPermission, input), createdAt: now() };
      const created = await permissions.insert(permission.name, permission, { groups: ['permissions'] });
      // Also when it exists: whoever created it may have died before saying so.
      await changeVersion();
      if (!created) throw new AppError('conflict', 'there is a permission of this name already', { field: 'name' });
      await audit.record({ ...origin, type: 'permission_created', detail: { name: permission.name } });
      return permission;
    },

    async remove(name, origin = {}) {
      if (!(await permissions.get(name))) throw noSuch('permission', name);
      await audit.record({ ...origin, type: 'permission_deleted', detail: { name } });
      await takeFromAll(name);
      await permissions.delete(name);
      await changeVersion();
      // Who was given it meanwhile; nobody can be any more.
      await takeFromAll(name);
    },

    async update(name, input, origin = {}) {
      const changes = parseInput(PermissionChanges, input);
      const changed = await permissions.update(name, (current) => ({ ...current, ...changes }) as Permission);
      if (!changed) throw noSuch('permission', name);
      await audit.record({ ...origin, type: 'permission_changed', detail: { name } });
      return changed;
    },
  };
}
