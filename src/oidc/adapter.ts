/**
 * What the engine stores, on our storage port. Owns three promises the engine does not make by itself:
 * bearer values are never stored in clear, what may happen once happens once, and whatever belongs to an account or an app
 * that may no longer act is not found.
 */
import { hash } from 'node:crypto';
import type { Adapter, AdapterPayload } from 'oidc-provider';
import { errors } from 'oidc-provider';
import { prefixOf } from '../credentials/secret-token.ts';
import { AppError } from '../errors.ts';
import type { Entry, Json, Storage, WriteOptions } from '../storage/storage.ts';

/** The id of these is what a browser or an app presents; of the others it is only a name. */
const BEARER_MODELS = new Set([
  'AccessToken',
  'AuthorizationCode',
  'ClientCredentials',
  'Interaction',
  'PushedAuthorizationRequest',
  'RefreshToken',
  'Session',
]);

/** Longer than any request takes: a session that was ended meanwhile is not written back by one still under way. */
const TOMBSTONE_SECONDS = 120;
const TOMBSTONE = 'ended';

export interface AdapterOptions {
  storage: Storage;
  now: () => number;
  /** The metadata of an app that may act now, as the engine wants it. */
  findClient: (clientId: string) => Promise<AdapterPayload | undefined>;
  isAccountActive: (accountId: string) => Promise<boolean>;
  /** A personal token that may be used now, in the shape of an access token, for introspection. */
  findPersonalToken: (token: string) => Promise<AdapterPayload | undefined>;
  /** The scopes a token may be used with now: its own, within what its account holds and its app may ask for. */
  effectiveScope: (token: { scope: string; accountId?: string; clientId: string }) => Promise<string>;
}

export function createAdapter(options: AdapterOptions): (model: string) => Adapter {
  return (model) => (model === 'Client' ? clientAdapter(options) : modelAdapter(model, options));
}

/** Tokens for APIs are known this long after they have expired, so that whoever sends one is told to fetch another. */
const KNOWN_AFTER_EXPIRY = 24 * 60 * 60;
const API_TOKEN_MODELS = new Set(['AccessToken', 'ClientCredentials']);

/** The key of a record: bearer values are digested. */
export function recordKey(model: string, id: string): string {
  return `${model}:${BEARER_MODELS.has(model) ? hash('sha256', id, 'base64url') : id}`;
}

/** What is stored under the key of a session that may be gone. */
export function isTombstone(stored: Json): boolean {
  return stored === TOMBSTONE;
}

const GRANT = 'Grant:';
const SESSION_UID = 'Session-uid:';
/** The key of the record that holds the key of the session with this uid. */
export const sessionUidKey = (uid: string) => `${SESSION_UID}${uid}`;

/** Groups that a person's or an app's records are listed under, and what stands on a grant. */
export const accountGroup = (accountId: string) => `engine:account:${accountId}`;
export const clientGroup = (clientId: string) => `engine:client:${clientId}`;
export const grantGroup = (grantId: string) => `engine:grant:${grantId}`;

function modelAdapter(model: string, options: AdapterOptions): Adapter {
  const { storage, now, isAccountActive, findClient, effectiveScope } = options;
  const keyOf = (id: string) => recordKey(model, id);
  const isApiToken = API_TOKEN_MODELS.has(model);

  /** Nothing of a suspended account or app is found, whatever else the engine would do with it. */
  async function isLive({ accountId, clientId }: AdapterPayload): Promise<boolean> {
    const [account, client] = await Promise.all([
      accountId === undefined || isAccountActive(accountId),
      clientId === undefined || findClient(clientId).then((found) => found !== undefined),
    ]);
    return account && client;
  }

  async function read(key: string, id: string | undefined): Promise<AdapterPayload | undefined> {
    const stored = await storage.get(key);
    if (stored === undefined || isTombstone(stored)) return undefined;
    const payload = unpack(stored, id);
    if (isApiToken && Number(payload.exp) <= now()) return undefined;
    return (await isLive(payload)) ? payload : undefined;
  }

  async function write(id: string, payload: AdapterPayload, expiresIn: number | undefined): Promise<void> {
    const ttl = Math.max(1, Math.ceil(expiresIn ?? 0)) + (isApiToken ? KNOWN_AFTER_EXPIRY : 0);
    const key = keyOf(id);
    const packed = pack(payload, id);
    if (model === 'ReplayDetection') {
      if (!(await storage.insert(key, packed, { ttl })))
        throw new errors.InvalidClientAuth('assertion was already used');
      return;
    }
    if (model === 'ClientCredentials') await refuseBeyondCeiling(payload);
    const groups = groupsOf(payload);
    if (model === 'Session') {
      await storage.update(key, (current) => (current !== undefined && isTombstone(current) ? undefined : packed), {
        ttl,
        groups,
      });
      await pointAt(key, String(payload.uid), { ttl, groups });
      return;
    }
    await storage.put(key, packed, { ttl, groups });
  }

  /** What was ended while it was on its way to another key ends there. */
  async function pointAt(key: string, uid: string, options: WriteOptions): Promise<void> {
    const change = (current: Json | undefined) => (current !== undefined && isTombstone(current) ? undefined : key);
    if ((await storage.update(sessionUidKey(uid), change, options)) === undefined) await erase(storage, key);
  }

  /** An app may be told only of a scope that it can use. */
  async function refuseBeyondCeiling({ scope, clientId = '' }: AdapterPayload): Promise<void> {
    if (!scope || (await usable(scope, { clientId })) === scope) return;
    throw new errors.InvalidScope('requested scope is not allowed', scope);
  }

  async function consume(id: string): Promise<void> {
    const written = await storage.update(keyOf(id), (current) => {
      const payload = current as { consumed?: number } | undefined;
      if (payload === undefined || payload.consumed !== undefined) return undefined;
      return { ...(current as Record<string, Json>), consumed: now() };
    });
    if (written === undefined) throw new errors.InvalidGrant(`${model} was already used`);
  }

  return {
    upsert: (id, payload, expiresIn) => outage(write(id, payload, expiresIn)),
    consume: (id) => outage(consume(id)),
    find: (id) => outage(findNarrowed(id)),
    findByUid: (uid) => outage(findByUid(uid)),
    findByUserCode: async () => undefined,
    destroy: (id) => outage(erase(storage, keyOf(id))),
    revokeByGrantId: (grantId) =>
      outage(eraseGroup(storage, grantGroup(grantId), (key) => key.startsWith(`${model}:`))),
  };

  async function findNarrowed(id: string): Promise<AdapterPayload | undefined> {
    if (model === 'AccessToken' && prefixOf(id) === 'lk_pat_') return options.findPersonalToken(id);
    const payload = await read(keyOf(id), id);
    if (payload?.scope && isApiToken) return { ...payload, scope: await usable(payload.scope, payload) };
    // Whatever is issued from a grant then says the scope that it can be used with.
    const granted = payload?.openid as { scope?: string } | undefined;
    if (!payload || !granted?.scope) return payload;
    return { ...payload, openid: { ...granted, scope: await usable(granted.scope, payload) } };
  }

  async function usable(scope: string, { clientId = '', accountId }: AdapterPayload): Promise<string> {
    return effectiveScope({ scope, clientId, ...(accountId === undefined ? {} : { accountId }) });
  }

  /** The session id itself is not known here, and nobody who looks a session up by its uid needs it. */
  async function findByUid(uid: string): Promise<AdapterPayload | undefined> {
    const key = await storage.get(sessionUidKey(uid));
    return typeof key === 'string' ? read(key, undefined) : undefined;
  }
}

/** Apps are ours: read on every use, so that a change applies at once, and written only through `clients/`. */
function clientAdapter({ findClient }: AdapterOptions): Adapter {
  const readOnly = async () => {
    throw new AppError('server_error', 'apps are not written through the engine');
  };
  return {
    find: (id) => outage(findClient(id)),
    findByUid: async () => undefined,
    findByUserCode: async () => undefined,
    upsert: readOnly,
    destroy: readOnly,
    consume: readOnly,
    revokeByGrantId: readOnly,
  };
}

/** The records of a group, read page by page. */
export async function* entriesOf(storage: Storage, group: string): AsyncGenerator<Entry> {
  let after: string | undefined;
  do {
    const page = await storage.list(group, after === undefined ? {} : { after });
    yield* page.entries;
    after = page.next;
  } while (after !== undefined);
}

/** Deletes the records of a group, or those of them that are named. Safe to repeat. */
export async function eraseGroup(
  storage: Storage,
  group: string,
  isNamed: (key: string) => boolean = () => true,
): Promise<void> {
  let after: string | undefined;
  do {
    const page = await storage.list(group, after === undefined ? {} : { after });
    const keys = page.entries.map((entry) => entry.key).filter(isNamed);
    await Promise.all(keys.map((key) => erase(storage, key)));
    after = page.next;
  } while (after !== undefined);
}

/** Deletes an account's records, or those of them that are named, and what stands on its grants. Safe to repeat. */
export async function eraseOfAccount(
  storage: Storage,
  accountId: string,
  isNamed: (key: string) => boolean = () => true,
): Promise<void> {
  const grantIds: string[] = [];
  for await (const { key } of entriesOf(storage, accountGroup(accountId))) {
    if (key.startsWith(GRANT) && isNamed(key)) grantIds.push(key.slice(GRANT.length));
  }
  // All the grants first: whatever stands on them is dead from then on.
  await eraseGroup(storage, accountGroup(accountId), isNamed);
  for (const grantId of grantIds) await eraseGroup(storage, grantGroup(grantId));
}

async function erase(storage: Storage, key: string): Promise<void> {
  if (key.startsWith(SESSION_UID)) await eraseSession(storage, key.slice(SESSION_UID.length));
  else if (key.startsWith('Session:')) await storage.put(key, TOMBSTONE, { ttl: TOMBSTONE_SECONDS });
  else await storage.delete(key);
}

/** Ends the session with this uid, also when it is just being written under another key. Safe to repeat. */
export async function eraseSession(storage: Storage, uid: string): Promise<void> {
  let pointedAt: Json | undefined;
  const change = (current: Json | undefined) => {
    pointedAt = current;
    return current === undefined ? undefined : TOMBSTONE;
  };
  await storage.update(sessionUidKey(uid), change, { ttl: TOMBSTONE_SECONDS, groups: [] });
  if (typeof pointedAt === 'string' && !isTombstone(pointedAt)) await erase(storage, pointedAt);
}

/** What an app was given stands on these; without them its other records are worth nothing. */
const GIVEN_TO_CLIENT = new Set(['ClientCredentials', 'Grant']);
/** Worth nothing without their grant, they are listed under it alone: an account may have very many. */
const STANDING_ON_GRANT = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken']);

function groupsOf({ kind = '', accountId, clientId, grantId }: AdapterPayload): string[] {
  if (typeof grantId === 'string' && STANDING_ON_GRANT.has(kind)) return [grantGroup(grantId)];
  return [
    ...(typeof clientId === 'string' && GIVEN_TO_CLIENT.has(kind) ? [clientGroup(clientId)] : []),
    ...(typeof accountId === 'string' ? [accountGroup(accountId)] : []),
    ...(typeof grantId === 'string' ? [grantGroup(grantId)] : []),
  ];
}

/**
 * Takes every bearer value out of a payload: its own id, and of an interaction the session's id and the URL that repeats its own.
 */
function pack(payload: AdapterPayload, id: string): Json {
  const { jti: _, ...rest } = payload;
  if (payload.kind !== 'Interaction') return (payload.kind === 'Grant' ? payload : rest) as Json;
  const { cookie: __, ...session } = (payload.session ?? {}) as Record<string, unknown>;
  const returnTo = payload.returnTo?.replace(id, '');
  return { ...rest, returnTo, ...(payload.session ? { session } : {}) } as Json;
}

function unpack(stored: Json, id: string | undefined): AdapterPayload {
  const payload = { ...(stored as AdapterPayload) };
  if (id === undefined || payload.kind === 'Grant') return payload;
  if (payload.kind === 'Interaction') return { ...payload, jti: id, returnTo: `${payload.returnTo}${id}` };
  return { ...payload, jti: id };
}

/** The engine answers with its own errors only: a store out of reach has to look like one to it. */
export async function outage<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw Object.assign(new errors.CustomOIDCProviderError(error.code, error.message), {
      cause: error,
      status: error.status,
      statusCode: error.status,
      expose: error.code !== 'server_error',
    });
  }
}
