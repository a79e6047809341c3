/**
 * Administration from the shell. Works while the server runs, on the same store. With `--json` every command prints exactly one
 * JSON value; failures are one line on stderr and exit 1, wrong usage exits 2.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import type { Account } from './accounts/account.ts';
import { type Directory, openDirectory } from './app.ts';
import type { Client } from './clients/client.ts';
import { readConfig } from './config.ts';
import { AppError } from './errors.ts';
import type { NewIdentityProvider } from './identity-providers/identity-providers.ts';
import { backUp } from './storage/backup.ts';
import { directoryOf } from './storage/open.ts';
import { secretKeyFileIn } from './storage/secret-key.ts';

const USAGE = 2;

type Result = Record<string, unknown>;

const program = new Command('latchkey')
  .description('Administers Latchkey from the shell, also while the server runs.')
  .option('--json', 'print one JSON value')
  .exitOverride()
  .configureOutput({ writeErr: (text) => process.stderr.write(text) });

const account = program.command('account').description('people');
account
  .command('create')
  .description('make an account')
  .requiredOption('--email <email>')
  .requiredOption('--password <password>')
  .option('--given-name <name>')
  .option('--family-name <name>')
  .option('--organization <id>')
  .option('--permission <name>', 'may be repeated', collect, [])
  .option('--admin', 'an administrator', false)
  .option('--pending', 'waits for approval', false)
  .action(on(createAccount));
for (const change of ['disable', 'enable', 'approve'] as const) {
  account
    .command(`${change} <id-or-email>`)
    .description(`${change} an account`)
    .action(
      on(async ({ accounts }, who: string) => {
        const { id } = await accounts.find(who);
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
      const { id } = await accounts.find(who);
      await accounts.remove(id);
      return { id, status: 'deleted' };
    }),
  );
account
  .command('link <id-or-email>')
  .description('say who this person is at an identity provider')
  .requiredOption('--identity-provider <id>')
  .requiredOption('--subject <subject>', "the provider's own name for the person; at GitHub the number, not the login")
  .action(on(linkAccount));

program
  .command('organization')
  .description('organizations')
  .command('create')
  .requiredOption('--name <name>')
  .action(
    on(async ({ organizations }, { name }: { name: string }) => {
      const organization = await organizations.create({ name });
      return { id: organization.id, name: organization.name };
    }),
  );

program
  .command('permission')
  .description('what apps and people may be allowed to do')
  .command('create <name>')
  .requiredOption('--description <text>', 'what an app that has it can do, in words for people')
  .action(
    on(async ({ permissions }, name: string, { description }: { description: string }) => {
      await permissions.create({ name, description });
      return { name };
    }),
  );

const app = program.command('app').description('apps that people sign in to');
app
  .command('create')
  .requiredOption('--name <name>')
  .option('--redirect-uri <uri>', 'may be repeated', collect, [])
  .option('--post-logout-redirect-uri <uri>', 'may be repeated', collect, [])
  .option('--backchannel-logout-uri <uri>')
  .option('--public', 'runs where no secret can be kept: a browser, a phone', false)
  .option('--implicit', 'may get tokens in the URL fragment', false)
  .option('--client-credentials', 'may act for itself', false)
  .option('--introspection', 'an API that checks the tokens of all apps', false)
  .option('--trusted', 'our own: people are not asked for consent', false)
  .option('--permission <name>', 'that it may ask for; may be repeated', collect, [])
  .option('--organization <id>')
  .option('--jwks <file>', 'signs its requests with these keys instead of having a secret')
  .action(on(createClient));

app
  .command('sso <client_id>')
  .description('let an app sign people in by its own word')
  .requiredOption('--organization <id>', 'whose people; may be repeated', collect)
  .requiredOption('--permission <name...>', 'that it may give them; several may follow')
  .option('--next-origin <origin>', 'where a sign-in may lead to; may be repeated', collect, [])
  .option('--email-domain <domain>', "that people's e-mails must end in; may be repeated", collect)
  .option('--existing-people', 'makes no accounts', false)
  .option('--rate <number>', 'sign-ins a minute', Number)
  .action(on(allowPartnerSignIn));

app
  .command('sso-end <client_id>')
  .description('an app signs nobody in by its own word any more')
  .action(
    on(async ({ clients }, clientId: string) => {
      const { client } = await clients.update(clientId, { sso: undefined });
      return { client_id: client.id };
    }),
  );

const appToken = app.command('token').description("what an app's server exchanges its users' tokens with");
appToken
  .command('create <client_id>')
  .requiredOption('--identity-provider <id>', 'whose tokens it exchanges')
  .option('--provider-client-id <id>', 'that the app has at the identity provider; may be repeated', collect, [])
  .action(on(createAppToken));
appToken.command('revoke <client_id> <id>').action(
  on(async ({ appTokens }, clientId: string, id: string) => {
    await appTokens.revoke(clientId, id);
    return { id };
  }),
);

program
  .command('identity-provider')
  .description('systems elsewhere that say who people are')
  .command('create <id>')
  .requiredOption('--kind <kind>', 'github, google or oidc')
  .option('--issuer <url>', 'of an OpenID provider, exactly as it calls itself')
  .option('--client-id <id>', 'that we have there')
  .option('--client-secret <secret>')
  .option('--name <name>', 'what people call it on the sign-in page')
  .option('--no-sign-in', 'not offered on the sign-in page, for apps that exchange tokens only')
  .option('--new-people <policy>', 'who have no account yet: refuse, pending or active', 'refuse')
  .option('--organization <id>', 'of new people')
  .option('--base-url <url>', 'another place of GitHub or Google: an Enterprise host, a test double')
  .action(on(createIdentityProvider));

program
  .command('keys')
  .description('signing keys')
  .command('rotate')
  .description('sign with new keys from now on; the old ones verify on')
  .action(
    on(async ({ signingKeys, identityProviders }) => {
      await identityProviders.reseal();
      return signingKeys.rotate();
    }),
  );

program
  .command('setup')
  .description('the link that makes the first administrator')
  .command('reopen')
  .description('print a new link when there is no administrator any more')
  .action(on(async ({ setup }) => ({ url: `${readConfig().issuer}/setup?code=${await setup.reopen()}` })));

program
  .command('backup <file>')
  .description('copy the embedded store into one file, also while the server runs; the secret key is not in it')
  .action((file: string) => {
    const { storeUrl, secretKeys } = readConfig();
    const made = backUp(storeUrl, file);
    const where = secretKeys.length > 0 ? 'in SECRET_KEY' : `in ${secretKeyFileIn(directoryOf(storeUrl) ?? '')}`;
    print({ ...made, secret_key: `${where}; the backup is of no use without it: keep a copy of it, in another place` });
  });

interface AccountOptions {
  email: string;
  password: string;
  givenName?: string;
  familyName?: string;
  organization?: string;
  permission: string[];
  admin: boolean;
  pending: boolean;
}

async function createAccount({ accounts }: Directory, options: AccountOptions): Promise<Result> {
  const { organization, permission, admin, pending, ...person } = options;
  const made = await accounts.create({
    ...person,
    permissions: permission,
    administrator: admin,
    status: pending ? 'pending' : 'active',
    ...(organization === undefined ? {} : { organizationId: organization }),
  });
  return shownAccount(made);
}

interface LinkOptions {
  identityProvider: string;
  subject: string;
}

async function linkAccount(
  { accounts, identityProviders, links }: Directory,
  who: string,
  options: LinkOptions,
): Promise<Result> {
  const [{ id }, identityProvider] = await Promise.all([
    accounts.find(who),
    identityProviders.get(options.identityProvider),
  ]);
  if (!identityProvider) throw new AppError('not_found', 'there is no such identity provider');
  await links.add({ accountId: id, identityProviderId: identityProvider.id, subject: options.subject });
  return { id };
}

interface AppTokenOptions {
  identityProvider: string;
  providerClientId: string[];
}

async function createAppToken(
  { appTokens }: Directory,
  clientId: string,
  { identityProvider, providerClientId }: AppTokenOptions,
): Promise<Result> {
  const wanted = { clientId, identityProviderId: identityProvider, providerClientIds: providerClientId };
  const { token, record } = await appTokens.create(wanted);
  return { id: record.id, token };
}

interface IdentityProviderOptions extends Omit<NewIdentityProvider, 'id' | 'newPeople'> {
  newPeople: 'refuse' | 'pending' | 'active';
  organization?: string;
}

async function createIdentityProvider(
  { identityProviders }: Directory,
  id: string,
  { newPeople: policy, organization: organizationId, ...options }: IdentityProviderOptions,
): Promise<Result> {
  const newPeople = policy === 'refuse' ? { policy } : { policy, ...(organizationId ? { organizationId } : {}) };
  const made = await identityProviders.create({ ...options, newPeople, id });
  return { id: made.id };
}

function shownAccount({ passwordHash: _, ...shown }: Account): Result {
  return shown;
}

interface ClientOptions {
  name: string;
  redirectUri: string[];
  postLogoutRedirectUri: string[];
  backchannelLogoutUri?: string;
  public: boolean;
  implicit: boolean;
  clientCredentials: boolean;
  introspection: boolean;
  trusted: boolean;
  permission: string[];
  organization?: string;
  jwks?: string;
}

async function createClient({ clients }: Directory, options: ClientOptions): Promise<Result> {
  const { redirectUri, postLogoutRedirectUri, permission, organization, jwks, ...client } = options;
  const made = await clients.create({
    ...client,
    redirectUris: redirectUri,
    postLogoutRedirectUris: postLogoutRedirectUri,
    permissions: permission,
    ...(organization === undefined ? {} : { organizationId: organization }),
    ...(jwks === undefined ? {} : { jwks: JSON.parse(readFileSync(jwks, 'utf8')) }),
  });
  return { client_id: made.client.id, client_secret: made.secret ?? null };
}

interface PartnerSignInOptions {
  organization: string[];
  permission: string[];
  nextOrigin: string[];
  emailDomain?: string[];
  existingPeople: boolean;
  rate?: number;
}

/** What an app gives people it may ask for as well. */
async function allowPartnerSignIn(
  { clients }: Directory,
  clientId: string,
  options: PartnerSignInOptions,
): Promise<Result> {
  const known = await clients.find(clientId);
  const { client } = await clients.update(clientId, {
    permissions: [...new Set([...known.permissions, ...options.permission])],
    sso: {
      organizationIds: options.organization,
      permissions: options.permission,
      nextOrigins: options.nextOrigin,
      createsPeople: !options.existingPeople,
      ...(options.emailDomain && { emailDomains: options.emailDomain }),
      ...(options.rate !== undefined && { ratePerMinute: options.rate }),
    },
  });
  return { client_id: client.id, ...shownSso(client.sso) };
}

function shownSso(sso: Client['sso']): Result {
  return {
    organizations: sso?.organizationIds,
    email_domains: sso?.emailDomains,
    permissions: sso?.permissions,
    creates_people: sso?.createsPeople,
    next_origins: sso?.nextOrigins,
    rate_per_minute: sso?.ratePerMinute,
  };
}

/** Opens the store for one command and prints what it answers. */
function on<Arguments extends unknown[]>(command: (directory: Directory, ...args: Arguments) => Promise<Result>) {
  return async (...args: unknown[]) => {
    const directory = await openDirectory(readConfig());
    try {
      print(await command(directory, ...(args as Arguments)));
    } finally {
      await directory.storage.close();
    }
  };
}

function print(result: Result): void {
  const lines = Object.entries(result)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  console.log(program.opts().json ? JSON.stringify(result) : lines.join('\n'));
}

function collect(value: string, earlier: string[] = []): string[] {
  return [...earlier, value];
}

/** `--json` belongs to the program, but is typed where the command's options are. */
function withJsonFirst(args: readonly string[]): string[] {
  return args.includes('--json') ? ['--json', ...args.filter((arg) => arg !== '--json')] : [...args];
}

try {
  await program.parseAsync(withJsonFirst(process.argv.slice(2)), { from: 'user' });
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : USAGE;
  else {
    console.error((error as Error).message.replaceAll('\n', ' '));
    process.exitCode = 1;
  }
}
// A connection that failed to open lingers for seconds.
process.exit();
