/** `latchkey organization …` and `latchkey permission …` */
import type { Core } from '../core.ts';
import type { Organization } from '../organizations/organization.ts';
import type { Permission } from '../permissions/permission.ts';
import { every } from '../storage/every.ts';
import { addListOptions, addSettings, chosen, type ListOptions, type Setting, saidOf } from './settings.ts';
import type { Result, Shell } from './shell.ts';

const ORGANIZATION: readonly Setting[] = [{ flag: 'name <name>', needed: true }];
const PERMISSION: readonly Setting[] = [
  { flag: 'description <text>', about: 'what an app that has it can do, in words for people', needed: true },
];

export function organizationCommands({ program, on }: Shell): void {
  const organization = program.command('organization').description('organizations');
  addSettings(organization.command('create').description('make an organization'), ORGANIZATION, 'create').action(
    on(async ({ organizations }, { name }: { name: string }) => {
      const { id, name: kept } = await organizations.create({ name });
      return { id, name: kept };
    }),
  );
  addListOptions(organization.command('list').description('list organizations')).action(
    on(async ({ organizations }, options: ListOptions) => {
      const found = await chosen(everyOrganization(organizations, options.after), options, ({ id, name }) => [
        id,
        name,
      ]);
      return found.map(shownOrganization);
    }),
  );
  organization
    .command('show <id>')
    .description('show an organization')
    .action(on(async ({ organizations }, id: string) => shownOrganization(await organizations.getOrFail(id))));
  addSettings(organization.command('update <id>').description('change an organization'), ORGANIZATION, 'update').action(
    on(async ({ organizations }, id: string, options: Record<string, unknown>) =>
      shownOrganization(await organizations.update(id, saidOf(options, ORGANIZATION))),
    ),
  );
  organization
    .command('delete <id>')
    .description('delete an organization that nobody belongs to')
    .action(
      on(async ({ organizations }, id: string) => {
        await organizations.remove(id);
        return { id, status: 'deleted' };
      }),
    );
}

export function permissionCommands({ program, on }: Shell): void {
  const permission = program.command('permission').description('what apps and people may be allowed to do');
  addSettings(permission.command('create <name>').description('make a permission'), PERMISSION, 'create').action(
    on(async ({ permissions }, name: string, { description }: { description: string }) => {
      await permissions.create({ name, description });
      return { name };
    }),
  );
  addListOptions(permission.command('list').description('list permissions')).action(
    on(async ({ permissions }, options: ListOptions) => {
      const { after } = options;
      const all = (await permissions.list()).filter(({ name }) => after === undefined || name > after);
      return (await chosen(all, options, ({ name, description }) => [name, description])).map(shownPermission);
    }),
  );
  addSettings(permission.command('update <name>').description('change its words'), PERMISSION, 'update').action(
    on(async ({ permissions }, name: string, options: Record<string, unknown>) =>
      shownPermission(await permissions.update(name, saidOf(options, PERMISSION))),
    ),
  );
  permission
    .command('delete <name>')
    .description('take it from all apps and people, and delete it')
    .action(
      on(async ({ permissions }, name: string) => {
        await permissions.remove(name);
        return { name, status: 'deleted' };
      }),
    );
}

function everyOrganization(organizations: Core['organizations'], after: string | undefined) {
  return every(async (page) => {
    const { organizations: records, ...rest } = await organizations.list(page);
    return { records, ...rest };
  }, after);
}

function shownOrganization({ id, name, createdAt }: Organization): Result {
  return { id, name, created_at: createdAt };
}

function shownPermission({ name, description, createdAt }: Permission): Result {
  return { name, description, created_at: createdAt };
}
