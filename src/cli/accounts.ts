/** `latchkey account …` */
import type { Account } from '../accounts/account.ts';
import type { AccountChanges, NewAccount } from '../accounts/accounts.ts';
import type { Core } from '../core.ts';
import { noSuch } from '../errors.ts';
import { KINDS } from '../identity-providers/kinds/kinds.ts';
import { addListOptions, addSettings, chosen, type ListOptions, type Setting, saidOf } from './settings.ts';
import { type Result, readSecret, type Shell } from './shell.ts';

const SETTINGS: readonly Setting[] = [
  { flag: 'email <email>', needed: true, fixed: true },
  { flag: 'password <password>', needed: true, fixed: true },
  { flag: 'given-name <name>' },
  { flag: 'family-name <name>' },
  { flag: 'preferred-username <name>', about: 'what they want to be called where names are short' },
  { flag: 'email-verified', about: 'the e-mail is known to be theirs' },
  { flag: 'organization <id>', field: 'organizationId' },
  { flag: 'permission <name>', field: 'permissions', many: true },
  { flag: 'admin', field: 'administrator', about: 'an administrator' },
];

export function accountCommands({ program, on }: Shell): void {
  const account = program.command('account').description('people');
  addSettings(account.command('create').description('make an account'), SETTINGS, 'create')
    .option('--pending', 'waits for approval', false)
    .action(
      on(async ({ accounts }, { pending, ...options }: { pending: boolean }) => {
        const said = saidOf<NewAccount>(options, SETTINGS);
        return shownAccount(await accounts.create({ ...said, status: pending ? 'pending' : 'active' }));
      }),
    );
  addListOptions(account.command('list').description('list accounts, all or those of an organization'))
    .option('--organization <id>')
    .action(
      on(
        async (
          { everyAccount, organizations },
          { organization, ...options }: ListOptions & { organization?: string },
        ) => {
          if (organization !== undefined) await organizations.getOrFail(organization);
          const page = { organizationId: organization, after: options.after };
          return (await chosen(everyAccount(page), options, textsOf)).map(shownAccount);
        },
      ),
    );
  account
    .command('show <id-or-email>')
    .description('show an account')
    .action(on(async ({ accounts }, who: string) => shownAccount(await accounts.getOrFail(who))));
  addSettings(account.command('update <id-or-email>').description('change an account'), SETTINGS, 'update').action(
    on(async ({ accounts }, who: string, options: Record<string, unknown>) => {
      const { id } = await accounts.getOrFail(who);
      return shownAccount(await accounts.update(id, saidOf<AccountChanges>(options, SETTINGS)));
    }),
  );
  account
    .command('verify-email <id-or-email>')
    .description('say that the e-mail is known to be theirs')
    .action(
      on(async ({ accounts }, who: string) => {
        const { id } = await accounts.getOrFail(who);
        const { emailVerified } = await accounts.update(id, { emailVerified: true });
        return { id, email_verified: emailVerified };
      }),
    );
  account
    .command('set-password <id-or-email>')
    .description('give a new password, read from standard input; it ends all sessions, and what apps were given')
    .action(
      on(async ({ accounts }, who: string) => {
        const { id } = await accounts.getOrFail(who);
        await accounts.setPassword(id, readSecret());
        return { id };
      }),
    );
  for (const change of ['disable', 'enable', 'approve'] as const) {
    account
      .command(`${change} <id-or-email>`)
      .description(`${change} an account`)
      .action(
        on(async ({ accounts }, who: string) => {
          const { id } = await accounts.getOrFail(who);
          const { status } = await accounts[change](id);
          return { id, status };
        }),
      );
  }
  account
    .command('delete <id-or-email>')
    .description('delete an account and all that is its')
    .action(
      on(async ({ accounts }, who: string) => {
        const { id } = await accounts.getOrFail(who);
        await accounts.remove(id);
        return { id, status: 'deleted' };
      }),
    );
  account
    .command('link <id-or-email>')
    .description('say who this person is at an identity provider')
    .requiredOption('--identity-provider <id>')
    .requiredOption('--subject <subject>', `the provider's own name for the person: ${subjects().join('; ')}`)
    .action(on(linkAccount));
}

function subjects(): string[] {
  return Object.values(KINDS).map(({ title, subject }) => `with ${title} ${subject}`);
}

async function linkAccount(
  { accounts, identityProviders, links }: Core,
  who: string,
  { identityProvider, subject }: { identityProvider: string; subject: string },
): Promise<Result> {
  const [{ id }, provider] = await Promise.all([accounts.getOrFail(who), identityProviders.get(identityProvider)]);
  if (!provider) throw noSuch('identity provider', identityProvider);
  await links.add({ accountId: id, identityProviderId: provider.id, subject });
  return { id };
}

function textsOf({ id, email, emailGivenUp, givenName, middleName, familyName, nickname, preferredUsername }: Account) {
  const name = [givenName, middleName, familyName].filter((part) => part !== undefined).join(' ');
  return [id, email, emailGivenUp, name, nickname, preferredUsername];
}

/** Never the password's hash. */
function shownAccount(account: Account): Result {
  return {
    id: account.id,
    email: account.email || undefined,
    email_verified: account.emailVerified,
    email_said_by: account.emailSaidBy,
    email_given_up: account.emailGivenUp,
    status: account.status,
    administrator: account.administrator,
    organization: account.organizationId,
    permissions: account.permissions,
    given_name: account.givenName,
    middle_name: account.middleName,
    family_name: account.familyName,
    nickname: account.nickname,
    preferred_username: account.preferredUsername,
    locale: account.locale,
    zoneinfo: account.zoneinfo,
    phone_number: account.phoneNumber,
    has_password: account.passwordHash !== undefined,
    created_at: account.createdAt,
    updated_at: account.updatedAt,
  };
}
