/**
 * Apps and what is done with them. Owns their records and secrets. Knows nothing of the protocol engine: how an app
 * looks to it is `oidc/`'s business.
 */
import { hash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { BUILT_IN_PERMISSION } from '../accounts/account.ts';
import type { Audit, Origin } from '../audit.ts';
import { AppError, noSuch } from '../errors.ts';
import { parseInput } from '../input.ts';
import type { Permissions } from '../permissions/permissions.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { Client, type ClientSecret, secretIdOf } from './client.ts';
import { isPublicKey } from './public-key.ts';
import type { SsoPolicy } from './sso-policy.ts';

/** What an administrator says of a new app; everything else has a default. */
export const NewClient = Client.pick({ name: true }).extend({
  ...Client.pick({
    description: true,
    organizationId: true,
    backchannelLogoutUri: true,
    exchangedTokenLifetime: true,
    refreshTokenRotation: true,
  }).partial().shape,
  ...Client.pick({ logoUri: true, clientUri: true, policyUri: true, tosUri: true }).partial().shape,
  jwks: Client.shape.jwks.refine((jwks) => !jwks || jwks.keys.every(isPublicKey), {
    message: 'must hold public keys only, RSA ones of 2048 to 4096 bits with an exponent below 2^32',
  }),
  redirectUris: Client.shape.redirectUris.default([]),
  postLogoutRedirectUris: Client.shape.postLogoutRedirectUris.default([]),
  public: z.boolean().default(false),
  implicit: z.boolean().default(false),
  clientCredentials: z.boolean().default(false),
  introspection: z.boolean().default(false),
  trusted: z.boolean().default(false),
  permissions: z.array(z.string()).default([]),
  idTokenSigningAlg: Client.shape.idTokenSigningAlg.default('RS256'),
  /** What another system knows the app by already; made up when absent. */
  clientId: z
    .string()
    .regex(/^[A-Za-z0-9](?:[A-Za-z0-9._~@-]{0,126}[A-Za-z0-9])?$/, 'must be letters, digits and ._~@-, at most 128')
    .optional(),
  clientSecret: z
    .string()
    .regex(
      /^[\x20-\x7e]{16,1000}$/,
      'must be 16 or more characters of ASCII: it is kept as a digest that is quick to try',
    )
    .optional(),
});
export type NewClient = z.input<typeof NewClient>;

/** Whatever is absent stays; what may be absent from an app is taken away by being undefined. */
const ClientChanges = Client.omit({
  id: true,
  secrets: true,
  jwks: true,
  epoch: true,
  disabledAt: true,
  createdAt: true,
  updatedAt: true,
})
  .partial()
  .extend({ idTokenSigningAlg: z.exactOptional(Client.shape.idTokenSigningAlg) });
export type ClientChanges = z.input<typeof ClientChanges>;

export interface Clients {
  /**
   * Registers an app. `secret` is the only copy of its secret; absent for public apps and those with keys of their own.
   * @throws {AppError} `invalid_request` naming the field; `conflict` when the id is taken.
   */
  create(input: NewClient, origin?: Origin): Promise<{ client: Client; secret?: string }>;
  /** The app, also when disabled. */
  get(id: string): Promise<Client | undefined>;
  /** The same. @throws {AppError} `not_found` */
  getOrFail(id: string): Promise<Client>;
  /** The app when it may act now. */
  findActive(id: string): Promise<Client | undefined>;
  /** In the order of their ids, the disabled ones included. */
  list(page?: { limit?: number; after?: string }): Promise<{ clients: Client[]; next?: string }>;
  /**
   * An app that turns public loses its secrets; one that no longer is gets `secret`.
   * @throws {AppError} `not_found`, or as `create` does.
   */
  update(id: string, changes: ClientChanges, origin?: Origin): Promise<{ client: Client; secret?: string }>;
  /** It may neither ask for the permission nor give it any more. @throws {AppError} `not_found` */
  takePermission(id: string, permission: string, origin?: Origin): Promise<void>;
  /** Another secret beside the one it has. @throws {AppError} `not_found`; `conflict` for one too many, or an app without. */
  addSecret(id: string, origin?: Origin): Promise<{ client: Client; secret: string }>;
  /** @param secretId As `secretIdOf` has it. @throws {AppError} `not_found`; `conflict` for the only one. */
  revokeSecret(id: string, secretId: string, origin?: Origin): Promise<void>;
  /** Also ends whatever it was given. @throws {AppError} `not_found` */
  disable(id: string, origin?: Origin): Promise<void>;
  /** It may act again, with nothing left of what it was given earlier. @throws {AppError} `not_found` */
  enable(id: string, origin?: Origin): Promise<void>;
  /** Deletes the app; whatever it was given dies with it. @throws {AppError} `not_found` */
  remove(id: string, origin?: Origin): Promise<void>;
}

export interface ClientsOptions {
  storage: Storage;
  now: () => number;
  audit: Audit;
  permissions: Permissions;
  /** Our own pages, which no app may have the answers to its requests sent to. */
  ownRedirectUris: readonly string[];
  /** Undefined when there is no such organization. */
  organizationName(id: string): Promise<string | undefined>;
  /** Ids that no app may have. */
  reservedIds: readonly string[];
  /** Ends everything an app was given, and the sign-ins by its word; called again after a crash. */
  endAccess(clientId: string): Promise<void>;
}

export function createClients(options: ClientsOptions): Clients {
  const { storage, now, audit, permissions, ownRedirectUris, endAccess } = options;
  const clients = collection(storage, { kind: 'client', version: 1, schema: Client });

  async function checkPermissions(names: readonly string[]): Promise<void> {
    const known = new Set([...(await permissions.names()), BUILT_IN_PERMISSION]);
    const unknown = names.find((name) => !known.has(name));
    if (unknown !== undefined)
      throw new AppError('invalid_request', `there is no permission ${JSON.stringify(unknown)}`, {
        field: 'permission',
      });
  }

  async function checkOrganizations(ids: readonly (string | undefined)[]): Promise<void> {
    for (const id of ids) {
      if (id !== undefined && (await options.organizationName(id)) === undefined)
        throw new AppError('invalid_request', `there is no organization ${JSON.stringify(id)}`, {
          field: 'organization',
        });
    }
  }

  function checkRedirectUris({ redirectUris = [], postLogoutRedirectUris = [] }: ClientChanges): void {
    const taken = (uri: string) => ownRedirectUris.includes(URL.parse(uri)?.href ?? uri);
    const own = [...redirectUris, ...postLogoutRedirectUris].find(taken);
    if (own === undefined) return;
    throw new AppError('invalid_request', `${JSON.stringify(own)} is a page of this server`, {
      field: redirectUris.includes(own) ? 'redirect_uris' : 'post_logout_redirect_uris',
    });
  }

  /** What an app gives people it must be able to use; what everybody holds anyway is nothing to give. */
  async function checkSso({ permissions: names, organizationIds }: SsoPolicy): Promise<void> {
    await checkOrganizations(organizationIds);
    await checkPermissions(names);
    if (names.includes(BUILT_IN_PERMISSION))
      throw new AppError('invalid_request', `${BUILT_IN_PERMISSION} is not given by apps`, { field: 'permission' });
  }

  /** @throws {AppError} `not_found`, or what `next` throws. */
  async function change(id: string, next: (client: Client) => Client): Promise<Client> {
    const changed = await clients.update(id, (client) => ({ ...next(client), updatedAt: now() }));
    if (!changed) throw noSuch('app', id);
    return changed;
  }

  function newSecret(secret = randomSecret()): { secret: string; kept: ClientSecret } {
    return { secret, kept: { digest: digestOf(secret), hint: secret.slice(-4), createdAt: now() } };
  }

  const record = (clientId: string, what: string, origin: Origin) =>
    audit.record({ ...origin, type: 'app_changed', clientId, detail: { change: what } });

  return {
    get: (id) => clients.get(id),

    async getOrFail(id) {
      const client = await clients.get(id);
      if (!client) throw noSuch('app', id);
      return client;
    },

    async findActive(id) {
      const client = await clients.get(id);
      return client?.disabledAt === undefined ? client : undefined;
    },

    async list(page = {}) {
      const { records, next } = await clients.list('clients', page);
      return next === undefined ? { clients: records } : { clients: records, next };
    },

    async create(input, origin = {}) {
      const { clientId: id = randomUUID(), clientSecret, ...wanted } = parseInput(NewClient, input);
      checkFlows(wanted);
      if (clientSecret !== undefined && !hasSecrets(wanted))
        throw new AppError('invalid_request', 'a public app, or one with keys, has no secret', {
          field: 'client_secret',
        });
      checkRedirectUris(wanted);
      await checkOrganizations([wanted.organizationId]);
      await checkPermissions(wanted.permissions);
      const { secret, kept } = newSecret(clientSecret);
      const client: Client = {
        ...wanted,
        id,
        epoch: 0,
        secrets: hasSecrets(wanted) ? [kept] : [],
        createdAt: now(),
        updatedAt: now(),
      };
      if (options.reservedIds.includes(id) || !(await clients.insert(id, client, { groups: ['clients'] })))
        throw new AppError('conflict', 'there is an app with this client_id already', { field: 'client_id' });
      await audit.record({ ...origin, type: 'app_created', clientId: client.id, detail: { name: client.name } });
      return hasSecrets(client) ? { client, secret } : { client };
    },

    async update(id, input, origin = {}) {
      const changes = parseInput(ClientChanges, input);
      checkRedirectUris(changes);
      await checkOrganizations([changes.organizationId]);
      await checkPermissions(changes.permissions ?? []);
      if (changes.sso) await checkSso(changes.sso);
      const { secret, kept } = newSecret();
      let isNarrowed = false;
      const client = await change(id, (current) => {
        const next = { ...current, ...changes } as Client;
        checkFlows(next);
        isNarrowed = current.sso?.organizationIds.some((one) => !next.sso?.organizationIds.includes(one)) === true;
        if (isNarrowed) next.epoch = current.epoch + 1;
        if (!hasSecrets(next)) return { ...next, secrets: [] };
        return next.secrets.length > 0 ? next : { ...next, secrets: [kept] };
      });
      // What it has and did by its own word ends with the right to it; nothing tells its tokens from those it has otherwise.
      if (isNarrowed) await endAccess(id);
      await record(id, Object.keys(changes).join(' '), origin);
      return client.secrets.some(({ digest }) => digest === kept.digest) ? { client, secret } : { client };
    },

    async takePermission(id, permission, origin = {}) {
      const without = (names: readonly string[]) => names.filter((name) => name !== permission);
      await change(id, ({ sso, permissions: held, ...client }) => ({
        ...client,
        permissions: without(held),
        ...(sso && { sso: { ...sso, permissions: without(sso.permissions) } }),
      }));
      await record(id, `permission ${permission} taken`, origin);
    },

    async addSecret(id, origin = {}) {
      const { secret, kept } = newSecret();
      const client = await change(id, (current) => {
        if (!hasSecrets(current)) throw new AppError('conflict', 'this app has no secrets', { field: 'secret' });
        if (current.secrets.length > 1)
          throw new AppError('conflict', 'two secrets are the most: revoke one first', { field: 'secret' });
        return { ...current, secrets: [...current.secrets, kept] };
      });
      await record(id, 'secret added', origin);
      return { client, secret };
    },

    async revokeSecret(id, secretId, origin = {}) {
      await change(id, (current) => {
        const secrets = current.secrets.filter((secret) => secretIdOf(secret) !== secretId);
        if (secrets.length === current.secrets.length) throw noSuch('secret', secretId);
        if (secrets.length === 0)
          throw new AppError('conflict', 'this is the only secret: make another one first', { field: 'secret' });
        return { ...current, secrets };
      });
      await record(id, 'secret revoked', origin);
    },

    async disable(id, origin = {}) {
      if (!(await clients.get(id))) throw noSuch('app', id);
      // Before it, as with all that ends something: it must not have happened unseen.
      await record(id, 'disabled', origin);
      await change(id, (client) => ({ ...ended(client), disabledAt: client.disabledAt ?? now() }));
      await endAccess(id);
    },

    async enable(id, origin = {}) {
      // What a crash during disabling left behind must not come back to life. An active app keeps its grants.
      if ((await clients.get(id))?.disabledAt !== undefined) await endAccess(id);
      await change(id, (client) => {
        const { disabledAt, ...enabled } = client;
        return disabledAt === undefined ? client : ended(enabled);
      });
      await record(id, 'enabled', origin);
    },

    async remove(id, origin = {}) {
      if (!(await clients.get(id))) throw noSuch('app', id);
      await audit.record({ ...origin, type: 'app_deleted', clientId: id });
      await clients.delete(id);
      await endAccess(id);
    },
  };
}

/** The app, with everything ended that it was given before. */
function ended(client: Client): Client {
  return { ...client, epoch: client.epoch + 1 };
}

/** Whether a presented secret is one of the app's. Takes as long for a wrong one as for a right one. */
export function isClientSecret(digests: readonly string[], presented: string): boolean {
  const digest = Buffer.from(digestOf(presented));
  return digests.map((known) => timingSafeEqual(Buffer.from(known), digest)).includes(true);
}

type Flows = Pick<
  Client,
  'public' | 'implicit' | 'clientCredentials' | 'refreshTokenRotation' | 'redirectUris' | 'jwks' | 'sso'
>;

/** @throws {AppError} `invalid_request` for what does not go together. */
function checkFlows(flows: Flows): void {
  const { public: isPublic, implicit, clientCredentials, refreshTokenRotation, redirectUris, jwks, sso } = flows;
  if (isPublic && clientCredentials) {
    throw new AppError('invalid_request', 'an app without a secret cannot use client credentials', {
      field: 'client_credentials',
    });
  }
  if (isPublic && refreshTokenRotation === false) {
    throw new AppError('invalid_request', 'an app without a secret cannot keep its refresh tokens', {
      field: 'refresh_token_rotation',
    });
  }
  if (sso && !hasSecrets({ public: isPublic, jwks })) {
    throw new AppError('invalid_request', 'an app without a secret cannot sign people in', { field: 'sso' });
  }
  if (implicit && redirectUris.length === 0) {
    throw new AppError('invalid_request', 'the implicit flow needs a redirect URI', { field: 'redirect_uris' });
  }
}

function hasSecrets({ public: isPublic, jwks }: { public: boolean; jwks?: Client['jwks'] }): boolean {
  return !isPublic && jwks === undefined;
}

/** 256 random bits: far beyond guessing, so that a fast digest is enough to store it. */
function randomSecret(): string {
  return randomBytes(32).toString('base64url');
}

function digestOf(secret: string): string {
  return hash('sha256', secret, 'base64url');
}
