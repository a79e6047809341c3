/**
 * Apps and what is done with them. Owns their records and secrets. Knows nothing of the protocol engine: how an app
 * looks to it is `oidc/`'s business.
 */
import { hash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { BUILT_IN_PERMISSION } from '../accounts/account.ts';
import type { Audit } from '../audit.ts';
import { AppError } from '../errors.ts';
import { parseInput } from '../input.ts';
import type { Permissions } from '../permissions/permissions.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { Client } from './client.ts';
import { isPublicKey } from './public-key.ts';

/** What an administrator says of a new app; everything else has a default. */
export const NewClient = Client.pick({ name: true }).extend({
  ...Client.pick({ organizationId: true, backchannelLogoutUri: true }).partial().shape,
  ...Client.pick({ logoUri: true, clientUri: true, policyUri: true, tosUri: true }).partial().shape,
  jwks: Client.shape.jwks.refine((jwks) => !jwks || jwks.keys.every(isPublicKey), {
    message: 'must hold public keys only, RSA ones of 2048 bits or more',
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
});
export type NewClient = z.input<typeof NewClient>;

export interface Clients {
  /**
   * Registers an app. `secret` is the only copy of its secret; absent for public apps and those with keys of their own.
   * @throws {AppError} `invalid_request` naming the field.
   */
  create(input: NewClient): Promise<{ client: Client; secret?: string }>;
  /** The app, also when disabled. */
  get(id: string): Promise<Client | undefined>;
  /** The app when it may act now. */
  findActive(id: string): Promise<Client | undefined>;
  /** Also ends whatever it was given. @throws {AppError} `not_found` */
  disable(id: string): Promise<void>;
  /** It may act again, with nothing left of what it was given earlier. @throws {AppError} `not_found` */
  enable(id: string): Promise<void>;
  /** Deletes the app; whatever it was given dies with it. */
  remove(id: string): Promise<void>;
}

export interface ClientsOptions {
  storage: Storage;
  now: () => number;
  audit: Audit;
  permissions: Permissions;
  /** Ends everything an app was given; called again after a crash. */
  endGrants(clientId: string): Promise<void>;
}

export function createClients({ storage, now, audit, permissions, endGrants }: ClientsOptions): Clients {
  const clients = collection(storage, { kind: 'client', version: 1, schema: Client });

  async function checkPermissions(names: readonly string[]): Promise<void> {
    const known = new Set([...(await permissions.names()), BUILT_IN_PERMISSION]);
    const unknown = names.find((name) => !known.has(name));
    if (unknown !== undefined)
      throw new AppError('invalid_request', `there is no permission ${JSON.stringify(unknown)}`, {
        field: 'permission',
      });
  }

  async function change(id: string, next: (client: Client) => Client): Promise<Client> {
    const changed = await clients.update(id, (client) => ({ ...next(client), updatedAt: now() }));
    if (!changed) throw new AppError('not_found', 'there is no such app');
    return changed;
  }

  return {
    get: (id) => clients.get(id),

    async findActive(id) {
      const client = await clients.get(id);
      return client?.disabledAt === undefined ? client : undefined;
    },

    async create(input) {
      const wanted = parseNewClient(input);
      await checkPermissions(wanted.permissions);
      const secret = wanted.public || wanted.jwks ? undefined : newClientSecret();
      const client: Client = {
        ...wanted,
        id: randomUUID(),
        secrets: secret === undefined ? [] : [{ digest: digestOf(secret), createdAt: now() }],
        createdAt: now(),
        updatedAt: now(),
      };
      await clients.insert(client.id, client, { groups: ['clients'] });
      await audit.record({ type: 'app_created', clientId: client.id, detail: { name: client.name } });
      return secret === undefined ? { client } : { client, secret };
    },

    async disable(id) {
      await change(id, (client) => ({ ...client, disabledAt: client.disabledAt ?? now() }));
      await endGrants(id);
      await audit.record({ type: 'app_changed', clientId: id, detail: { change: 'disabled' } });
    },

    async enable(id) {
      // What a crash during disabling left behind must not come back to life. An active app keeps its grants.
      if ((await clients.get(id))?.disabledAt !== undefined) await endGrants(id);
      await change(id, ({ disabledAt: _, ...client }) => client);
      await audit.record({ type: 'app_changed', clientId: id, detail: { change: 'enabled' } });
    },

    async remove(id) {
      if (!(await clients.delete(id))) throw new AppError('not_found', 'there is no such app');
      await endGrants(id);
      await audit.record({ type: 'app_deleted', clientId: id });
    },
  };
}

/** Whether a presented secret is one of the app's. Takes as long for a wrong one as for a right one. */
export function isClientSecret(digests: readonly string[], presented: string): boolean {
  const digest = Buffer.from(digestOf(presented));
  return digests.map((known) => timingSafeEqual(Buffer.from(known), digest)).includes(true);
}

function parseNewClient(input: NewClient): z.output<typeof NewClient> {
  const client = parseInput(NewClient, input);
  if (client.public && client.clientCredentials) {
    throw new AppError('invalid_request', 'an app without a secret cannot use client credentials', {
      field: 'client_credentials',
    });
  }
  if (client.implicit && client.redirectUris.length === 0) {
    throw new AppError('invalid_request', 'the implicit flow needs a redirect URI', { field: 'redirect_uris' });
  }
  return client;
}

/** 256 random bits: far beyond guessing, so that a fast digest is enough to store it. */
function newClientSecret(): string {
  return randomBytes(32).toString('base64url');
}

function digestOf(secret: string): string {
  return hash('sha256', secret, 'base64url');
}
