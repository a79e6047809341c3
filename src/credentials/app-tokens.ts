/**
 * App tokens: making, listing, revoking and recognising them. Owns their records. Whether their app and identity provider may act is
 * asked at each use. Knows nothing of what they are exchanged for.
 */
import { randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { Instant } from '../accounts/account.ts';
import type { Audit, Origin } from '../audit.ts';
import type { Client } from '../clients/client.ts';
import type { Clients } from '../clients/clients.ts';
import { elapsed } from '../clock.ts';
import { AppError, noSuch } from '../errors.ts';
import { audienceOf, type IdentityProvider } from '../identity-providers/identity-provider.ts';
import type { IdentityProviders } from '../identity-providers/identity-providers.ts';
import { KINDS } from '../identity-providers/kinds/kinds.ts';
import { parseInput } from '../input.ts';
import { createSecretToken, digestOf } from '../secrets/secret-token.ts';
import { collection } from '../storage/collection.ts';
import { createPlaces } from '../storage/places.ts';
import type { Storage } from '../storage/storage.ts';
import { AppToken, type ListedAppToken } from './app-token.ts';
import { CREDENTIAL_KINDS, kindOf } from './kinds.ts';

/** The last use is written at most this often, in seconds. */
const USE_INTERVAL = 60;
/** More than anybody needs at once, and few enough to list. */
const MOST_TOKENS = 50;

const NewAppToken = AppToken.pick({ clientId: true, identityProviderId: true }).extend({
  providerClientIds: z
    .array(z.string().regex(/^[\x21-\x7e]{1,255}$/, 'must be an id of visible characters'))
    .max(20, 'holds too many ids')
    .default([]),
});
export type NewAppToken = z.input<typeof NewAppToken>;

/** An app token that works now, with what it stands for. */
export interface LiveAppToken {
  record: AppToken;
  client: Client;
  identityProvider: IdentityProvider;
}

export interface AppTokens {
  /**
   * The only time the token itself is known.
   * @throws {AppError} `not_found`; `invalid_request` naming the field; `conflict` when there are too many.
   */
  create(input: NewAppToken, origin?: Origin): Promise<{ token: string; record: AppToken }>;
  /** Those that work or worked until their app or identity provider was disabled, newest first. */
  list(clientId: string): Promise<ListedAppToken[]>;
  /** @throws {AppError} `not_found` when it is not this app's. Repeating it is fine. */
  revoke(clientId: string, id: string, origin?: Origin): Promise<void>;
  /** Revokes a token that somebody has found. False when there is no such token, or it was dead already. */
  revokeLeaked(token: string, origin?: Origin): Promise<boolean>;
  /** `revoked` when it was, or when its app or identity provider may not act; undefined for what is no app token. */
  authenticate(token: string | undefined): Promise<LiveAppToken | 'revoked' | undefined>;
  /** The ids that an app has at an identity provider, by its live tokens; undefined without any. */
  audienceOf(clientId: string, identityProvider: IdentityProvider): Promise<string[] | undefined>;
  /** Notes that it was used, at most once a minute. */
  noteUse(record: AppToken): Promise<void>;
}

export interface AppTokensOptions {
  storage: Storage;
  now: () => number;
  audit: Audit;
  clients: Pick<Clients, 'get' | 'findActive'>;
  identityProviders: Pick<IdentityProviders, 'get' | 'findActive'>;
}

const isUnrevoked = ({ revokedAt }: AppToken) => revokedAt === undefined;

export function createAppTokens(options: AppTokensOptions): AppTokens {
  const { storage, now, audit, clients, identityProviders } = options;
  const tokens = collection(storage, { kind: 'app-token', version: 1, schema: AppToken });
  const uses = collection(storage, { kind: 'app-token-use', version: 1, schema: Instant });
  const noted = new LRUCache<string, number>({ max: 1_000 });
  const takePlace = createPlaces({ storage, now });
  const groupOf = (clientId: string) => `app-tokens:client:${clientId}`;

  async function unrevoked(clientId: string): Promise<AppToken[]> {
    const found = await Array.fromAsync(tokens.all(groupOf(clientId)));
    return found.filter(isUnrevoked);
  }

  async function revoke({ digest, clientId, id }: AppToken, origin: Origin): Promise<boolean> {
    const revoked = await tokens.update(digest, (token) =>
      token.revokedAt === undefined ? { ...token, revokedAt: now() } : undefined,
    );
    if (revoked) await audit.record({ ...origin, type: 'token_revoked', clientId, detail: { app_token: id } });
    return revoked !== undefined;
  }

  return {
    async create(input, origin = {}) {
      const wanted = parseInput(NewAppToken, input);
      if (!(await clients.get(wanted.clientId))) throw noSuch('app', wanted.clientId);
      const identityProvider = await identityProviders.get(wanted.identityProviderId);
      if (!identityProvider)
        throw invalid(
          'identity_provider',
          `there is no identity provider ${JSON.stringify(wanted.identityProviderId)}`,
        );
      checkAudience(identityProvider, wanted.providerClientIds);

      const token = createSecretToken(CREDENTIAL_KINDS.app_token.prefix);
      const record: AppToken = {
        ...wanted,
        identityProviderId: identityProvider.id,
        id: randomUUID(),
        digest: digestOf(token),
        hint: `${token.slice(0, 11)}…${token.slice(-4)}`,
        createdAt: now(),
      };
      const { clientId } = record;
      const all = await Array.fromAsync(tokens.all(groupOf(clientId)));
      const there = { count: all.filter(isUnrevoked).length, ids: new Set(all.map(({ id }) => id)) };
      const place = await takePlace({ name: groupOf(clientId), id: record.id, most: MOST_TOKENS, there });
      if (!place) throw new AppError('conflict', 'there are too many app tokens; revoke some first');
      await place.fill(async () => {
        // Before the token rather than after it: a token without its event must not exist.
        await audit.record({ ...origin, type: 'token_created', clientId, detail: { app_token: record.id } });
        await tokens.insert(record.digest, record, { groups: [groupOf(clientId)] });
      });
      return { token, record };
    },

    async list(clientId) {
      const listed = (await unrevoked(clientId)).map(async (token) => {
        const lastUsedAt = await uses.get(token.digest);
        return lastUsedAt === undefined ? token : { ...token, lastUsedAt };
      });
      return (await Promise.all(listed)).sort((a, b) => b.createdAt - a.createdAt);
    },

    async revoke(clientId, id, origin = {}) {
      const found = (await Array.fromAsync(tokens.all(groupOf(clientId)))).find((token) => token.id === id);
      if (!found) throw noSuch('app token', id);
      await revoke(found, origin);
    },

    async revokeLeaked(token, origin = {}) {
      const record = kindOf(token) === 'app_token' ? await tokens.get(digestOf(token)) : undefined;
      return record !== undefined && (await revoke(record, origin));
    },

    async authenticate(token) {
      // A wrong checksum ends here, before anything is looked up.
      if (token === undefined || kindOf(token) !== 'app_token') return undefined;
      const record = await tokens.get(digestOf(token));
      if (!record) return undefined;
      const [client, identityProvider] = await Promise.all([
        clients.findActive(record.clientId),
        identityProviders.findActive(record.identityProviderId),
      ]);
      if (record.revokedAt !== undefined || !client || !identityProvider) return 'revoked';
      return { record, client, identityProvider };
    },

    async audienceOf(clientId, identityProvider) {
      const bound = (await unrevoked(clientId)).filter((token) => token.identityProviderId === identityProvider.id);
      if (bound.length === 0) return undefined;
      return [...new Set(bound.flatMap(({ providerClientIds }) => audienceOf(identityProvider, providerClientIds)))];
    },

    async noteUse({ digest }) {
      if (elapsed() - (noted.get(digest) ?? Number.NEGATIVE_INFINITY) < USE_INTERVAL) return;
      noted.set(digest, elapsed());
      // A store that cannot be written to is no reason to refuse what can be read.
      await uses.put(digest, now()).catch(() => undefined);
    },
  };
}

/** A token that no audience could ever fit would be refused for a reason that nobody would find. */
function checkAudience(identityProvider: IdentityProvider, providerClientIds: readonly string[]): void {
  const audience = audienceOf(identityProvider, providerClientIds);
  if (audience.length === 0)
    throw invalid('provider_client_id', 'name the id that the app has at the identity provider');
  const { kind, clientId } = identityProvider;
  const { title, provesForOtherApps } = KINDS[kind];
  if (!provesForOtherApps && audience.some((id) => id !== clientId))
    throw invalid('provider_client_id', `${title} proves tokens only for the app whose secret we have: ${clientId}`);
}

function invalid(field: string, problem: string): AppError {
  return new AppError('invalid_request', `${field}: ${problem}`, { field });
}
