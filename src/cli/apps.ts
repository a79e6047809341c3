/** `latchkey app …` */
import { readFileSync } from 'node:fs';
import { type Client, rotatesRefreshTokens, secretIdOf } from '../clients/client.ts';
import type { ClientChanges, NewClient } from '../clients/clients.ts';
import type { Core } from '../core.ts';
import type { ListedAppToken } from '../credentials/app-token.ts';
import { AppError } from '../errors.ts';
import { addListOptions, addSettings, chosen, collect, type ListOptions, type Setting, saidOf } from './settings.ts';
import { type Result, readSecret, type Shell } from './shell.ts';

const SETTINGS: readonly Setting[] = [
  { flag: 'name <name>', needed: true },
  { flag: 'description <text>', about: 'for its administrators' },
  { flag: 'redirect-uri <uri>', field: 'redirectUris', many: true },
  { flag: 'post-logout-redirect-uri <uri>', field: 'postLogoutRedirectUris', many: true },
  { flag: 'backchannel-logout-uri <uri>' },
  { flag: 'public', about: 'runs where no secret can be kept: a browser, a phone' },
  { flag: 'implicit', about: 'may get tokens in the URL fragment' },
  { flag: 'client-credentials', about: 'may act for itself' },
  { flag: 'introspection', about: 'an API that checks the tokens of all apps' },
  { flag: 'trusted', about: 'our own: people are not asked for consent' },
  {
    flag: 'refresh-token-rotation',
    about: 'each use of a refresh token brings another; off, one stays good for all its uses',
    on: true,
  },
  { flag: 'id-token-alg <alg>', field: 'idTokenSigningAlg', about: 'RS256, ES256 or EdDSA signs its ID tokens' },
  { flag: 'permission <name>', field: 'permissions', many: true, about: 'that it may ask for' },
  { flag: 'organization <id>', field: 'organizationId' },
  { flag: 'client-id <id>', about: 'that another system knows it by already', fixed: true },
];

export function appCommands(shell: Shell): void {
  const { program, on } = shell;
  const app = program.command('app').description('apps that people sign in to');
  addSettings(app.command('create').description('make an app'), SETTINGS, 'create')
    .option('--jwks <file>', 'signs its requests with these keys instead of having a secret')
    .option('--client-secret-stdin', 'the secret that it has already is read from standard input', false)
    .action(on(createClient));
  addListOptions(app.command('list').description('list apps')).action(
    on(async ({ everyClient }, options: ListOptions) =>
      (await chosen(everyClient({ after: options.after }), options, textsOf)).map(shownClient),
    ),
  );
  app
    .command('show <client_id>')
    .description('show an app')
    .action(on(async ({ clients }, clientId: string) => shownClient(await clients.getOrFail(clientId))));
  addSettings(app.command('update <client_id>').description('change an app'), SETTINGS, 'update').action(
    on(async ({ clients }, clientId: string, options: Record<string, unknown>) => {
      const { client, secret } = await clients.update(clientId, saidOf<ClientChanges>(options, SETTINGS));
      // One that can keep a secret from now on gets one.
      return { ...shownClient(client), client_secret: secret };
    }),
  );
  for (const [verb, run, status] of [
    ['disable', 'disable', 'disabled'],
    ['enable', 'enable', 'active'],
    ['delete', 'remove', 'deleted'],
  ] as const) {
    app
      .command(`${verb} <client_id>`)
      .description(`${verb} an app`)
      .action(
        on(async ({ clients }, clientId: string) => {
          await clients[run](clientId);
          return { client_id: clientId, status };
        }),
      );
  }
  app
    .command('sso <client_id>')
    .description('let an app sign people in by its own word')
    .requiredOption('--organization <id>', 'whose people; may be repeated', collect)
    .requiredOption('--permission <name...>', 'that it may give them; several may follow')
    .option('--next-origin <origin>', 'where a sign-in may lead to; may be repeated', collect, [])
    .option('--email-domain <domain>', "that people's e-mails must end in; may be repeated", collect)
    .option('--existing-people', 'makes no accounts', false)
    .option('--vouches-for-email', 'the e-mails that it says are known to be those people’s', false)
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
  secretCommands(app.command('secret').description('what an app proves itself with; two at most'), shell);
  tokenCommands(app.command('token').description("what an app's server exchanges its users' tokens with"), shell);
}

function secretCommands(secret: Shell['program'], { on }: Shell): void {
  secret
    .command('create <client_id>')
    .description('make another secret, which is shown once')
    .action(
      on(async ({ clients }, clientId: string) => {
        const { client, secret: made } = await clients.addSecret(clientId);
        const kept = client.secrets.at(-1);
        return { client_id: client.id, id: kept && secretIdOf(kept), client_secret: made };
      }),
    );
  secret
    .command('revoke <client_id> <id>')
    .description('end a secret, by its id as `app show` lists it')
    .action(
      on(async ({ clients }, clientId: string, id: string) => {
        await clients.revokeSecret(clientId, id);
        return { client_id: clientId, id };
      }),
    );
}

function tokenCommands(token: Shell['program'], { on }: Shell): void {
  token
    .command('create <client_id>')
    .description('make an app token, which is shown once')
    .requiredOption('--identity-provider <id>', 'whose tokens it exchanges')
    .option('--provider-client-id <id>', 'that the app has at the identity provider; may be repeated', collect, [])
    .action(
      on(async ({ appTokens }, clientId: string, options: { identityProvider: string; providerClientId: string[] }) => {
        const { identityProvider: identityProviderId, providerClientId: providerClientIds } = options;
        const { token: made, record } = await appTokens.create({ clientId, identityProviderId, providerClientIds });
        return { id: record.id, token: made };
      }),
    );
  addListOptions(token.command('list <client_id>').description('list the tokens of an app')).action(
    on(async ({ appTokens, clients }, clientId: string, options: ListOptions) => {
      await clients.getOrFail(clientId);
      const all = await appTokens.list(clientId);
      const from = options.after === undefined ? 0 : all.findIndex(({ id }) => id === options.after) + 1;
      const texts = ({ id, identityProviderId, hint }: ListedAppToken) => [id, identityProviderId, hint];
      return (await chosen(all.slice(from), options, texts)).map(shownToken);
    }),
  );
  token
    .command('revoke <client_id> <id>')
    .description('end an app token')
    .action(
      on(async ({ appTokens }, clientId: string, id: string) => {
        await appTokens.revoke(clientId, id);
        return { id };
      }),
    );
}

interface CreateOptions extends Record<string, unknown> {
  jwks?: string;
  clientSecretStdin: boolean;
}

async function createClient({ clients }: Core, options: CreateOptions): Promise<Result> {
  const { client, secret } = await clients.create({
    ...saidOf<NewClient>(options, SETTINGS),
    ...(options.jwks === undefined ? {} : { jwks: keysIn(options.jwks) }),
    ...(options.clientSecretStdin ? { clientSecret: readSecret() } : {}),
  });
  return { client_id: client.id, client_secret: secret ?? null };
}

function keysIn(file: string): NewClient['jwks'] {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    const message = `${file} must be a file with a JSON Web Key Set: ${(cause as Error).message}`;
    throw new AppError('invalid_request', message, { field: 'jwks', cause });
  }
}

interface PartnerSignInOptions {
  organization: string[];
  permission: string[];
  nextOrigin: string[];
  emailDomain?: string[];
  existingPeople: boolean;
  vouchesForEmail: boolean;
  rate?: number;
}

/** What an app gives people it may ask for as well. */
async function allowPartnerSignIn({ clients }: Core, clientId: string, options: PartnerSignInOptions): Promise<Result> {
  const known = await clients.getOrFail(clientId);
  const { client } = await clients.update(clientId, {
    permissions: [...new Set([...known.permissions, ...options.permission])],
    sso: {
      organizationIds: options.organization,
      permissions: options.permission,
      nextOrigins: options.nextOrigin,
      createsPeople: !options.existingPeople,
      ...(options.vouchesForEmail && { vouchesForEmail: true }),
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
    vouches_for_email: sso?.vouchesForEmail,
    next_origins: sso?.nextOrigins,
    rate_per_minute: sso?.ratePerMinute,
  };
}

function textsOf({ id, name, description, redirectUris }: Client) {
  return [id, name, description, ...redirectUris];
}

/** Never a secret, nor what one could be tried against. */
function shownClient(client: Client): Result {
  return {
    client_id: client.id,
    name: client.name,
    description: client.description,
    status: client.disabledAt === undefined ? 'active' : 'disabled',
    organization: client.organizationId,
    redirect_uris: client.redirectUris,
    post_logout_redirect_uris: client.postLogoutRedirectUris,
    backchannel_logout_uri: client.backchannelLogoutUri,
    public: client.public,
    implicit: client.implicit,
    client_credentials: client.clientCredentials,
    introspection: client.introspection,
    trusted: client.trusted,
    refresh_token_rotation: rotatesRefreshTokens(client),
    id_token_alg: client.idTokenSigningAlg,
    permissions: client.permissions,
    sso: client.sso && shownSso(client.sso),
    secrets: client.secrets.map((secret) => ({
      id: secretIdOf(secret),
      hint: secret.hint,
      created_at: secret.createdAt,
    })),
    jwks: client.jwks,
    created_at: client.createdAt,
    updated_at: client.updatedAt,
  };
}

function shownToken(token: ListedAppToken): Result {
  return {
    id: token.id,
    identity_provider: token.identityProviderId,
    provider_client_ids: token.providerClientIds,
    hint: token.hint,
    created_at: token.createdAt,
    last_used_at: token.lastUsedAt,
  };
}
