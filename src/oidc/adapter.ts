/**
 * What the engine stores, on our storage port. Owns three promises the engine does not make by itself:
 * bearer values are never stored in clear, what may happen once happens once, and whatever belongs to an account or an app
 * that may no longer act is not found.
 */
import type { Adapter, AdapterPayload } from 'oidc-provider';
import Provider, { errors } from 'oidc-provider';
import { wallClock } from '../clock.ts';
import { kindOf } from '../credentials/kinds.ts';
import { AppError } from '../errors.ts';
import type { Json, Storage } from '../storage/storage.ts';
import type { Admission } from './admission.ts';
import { clientEpochOf } from './epoch.ts';
import { eraseGrant } from './erasing.ts';
import { SessionEnded } from './merging.ts';
import { accountGroup, clientGroup, grantGroup, recordKey } from './records.ts';
import type { SessionPayload, SessionRecords } from './session-records.ts';
import type { Stands } from './standing.ts';
import { familyOfCode, familyOfRequest, type TokenFamilies } from './token-families.ts';

export interface AdapterOptions {
  storage: Storage;
  sessionRecords: SessionRecords;
  families: TokenFamilies;
  /** Ends a session and what came from it, and tells the apps. */
  endSession: (uid: string) => Promise<void>;
  /** Called when somebody has signed in. */
  makeRoom: (accountId: string, uid: string) => Promise<void>;
  /** Asked before anything is written, or used up for it. */
  admission: Admission;
  now: () => number;
  /** The metadata of an app that may act now, as the engine wants it. */
  findClient: (clientId: string) => Promise<AdapterPayload | undefined>;
  /** Nothing is found that does not, whatever else the engine would do with it. */
  stands: Stands;
  /** A credential of another kind that may be used now, in the shape of an access token, for introspection. */
  findOtherToken: (token: string) => Promise<AdapterPayload | undefined>;
  /** The scopes a token may be used with now: its own, within what its account holds and its app may ask for. */
  effectiveScope: (token: { scope: string; accountId?: string; clientId: string }) => Promise<string>;
}

export function createAdapter(options: AdapterOptions): (model: string) => Adapter {
  return (model) => {
    if (model === 'Client') return clientAdapter(options);
    return model === 'Session' ? sessionAdapter(options) : modelAdapter(model, options);
  };
}

/** Tokens for APIs are known this long after they have expired, so that whoever sends one is told to fetch another. */
const KNOWN_AFTER_EXPIRY = 24 * 60 * 60;
const API_TOKEN_MODELS = new Set(['AccessToken', 'ClientCredentials']);

/** Models of which a family is made. */
const FAMILY_MODELS = new Set(['AccessToken', 'RefreshToken']);

/** What may be used once was used again, and its family has ended. */
export class TokenReplayed extends errors.InvalidGrant {
  /** Whose it was, where that is known. */
  readonly accountId: string | undefined;

  constructor(detail: string, accountId?: string) {
    super(detail);
    this.accountId = accountId;
  }
}

function modelAdapter(model: string, options: AdapterOptions): Adapter {
  const { storage, now, admission, effectiveScope, families, stands, sessionRecords } = options;
  const keyOf = (id: string) => recordKey(model, id);
  const isApiToken = API_TOKEN_MODELS.has(model);

  async function read(key: string, id: string): Promise<AdapterPayload | undefined> {
    const stored = await storage.get(key, { once: model === 'AuthorizationCode' });
    if (stored === undefined) return undefined;
    const payload = unpack(stored, id);
    if (isApiToken && Number(payload.exp) <= now()) return undefined;
    const [live, ended] = await Promise.all([stands(payload), families.isEnded(payload.family as string | undefined)]);
    return live && !ended ? payload : undefined;
  }

  async function write(id: string, payload: AdapterPayload, expiresIn: number | undefined): Promise<void> {
    const ttl = Math.max(1, Math.ceil(expiresIn ?? 0)) + (isApiToken ? KNOWN_AFTER_EXPIRY : 0);
    const key = keyOf(id);
    const packed = pack(byTimeOfStore(withOrigin(model, payload)), id);
    if (model === 'ClientCredentials') await refuseBeyondCeiling(payload);
    await admission.admit(model, id, payload);
    if (model === 'ReplayDetection') {
      if (!(await storage.insert(key, packed, { ttl })))
        throw new errors.InvalidClientAuth('assertion was already used');
      return;
    }
    const groups = groupsOf(payload);
    // A successor is the same however often it is made, and may have been used already.
    if (model === 'RefreshToken') {
      await storage.insert(key, packed, { ttl, groups });
      return;
    }
    const once = model === 'AuthorizationCode';
    if (payload.loaded === undefined) return storage.put(key, packed, { ttl, groups, once });
    // What was ended while this request was under way is not written back.
    if ((await storage.update(key, (current) => current && widened(current, packed), { ttl })) === undefined)
      throw new errors.InvalidGrant('the grant was ended');
  }

  /** The engine goes by this machine's clock, which may have been set back. An API's token is judged by the store's, as all else is. */
  function byTimeOfStore(payload: AdapterPayload): AdapterPayload {
    const behind = Math.max(0, now() - wallClock());
    return isApiToken && behind > 0 ? { ...payload, exp: Number(payload.exp) + behind } : payload;
  }

  /** An app may be told only of a scope that it can use. */
  async function refuseBeyondCeiling({ scope, clientId = '' }: AdapterPayload): Promise<void> {
    if (!scope || (await usable(scope, { clientId })) === scope) return;
    throw new errors.InvalidScope('requested scope is not allowed', scope);
  }

  async function consume(id: string): Promise<void> {
    let found: AdapterPayload | undefined;
    const written = await storage.update(keyOf(id), (current) => {
      found = current as AdapterPayload | undefined;
      if (found === undefined || found.consumed !== undefined) return undefined;
      return { ...(current as Record<string, Json>), consumed: now() };
    });
    if (written !== undefined) return;
    if (model === 'AuthorizationCode') await families.end({ family: familyOfCode(id) });
    throw new TokenReplayed(`${model} was already used`, found?.accountId);
  }

  /** One access token ends alone; with a refresh token ends its family (RFC 7009 §2.1), with a grant all that stands on it. */
  async function destroy(id: string): Promise<void> {
    if (model === 'Grant') return eraseGrant(storage, id);
    if (model === 'RefreshToken') await families.end(((await storage.get(keyOf(id))) ?? {}) as AdapterPayload);
    await storage.delete(keyOf(id));
    await admission.release(model, id);
  }

  return {
    upsert: (id, payload, expiresIn) => outage(write(id, payload, expiresIn)),
    consume: (id) => outage(consume(id)),
    find: (id) => outage(findNarrowed(id)),
    findByUid: async () => undefined,
    findByUserCode: async () => undefined,
    destroy: (id) => outage(destroy(id)),
    // The engine would take all that stands on a grant together with one token.
    revokeByGrantId: async () => undefined,
  };

  async function findNarrowed(id: string): Promise<AdapterPayload | undefined> {
    if (model === 'AccessToken' && kindOf(id) !== 'access_token') return options.findOtherToken(id);
    const payload = await read(keyOf(id), id);
    if (!payload) return undefined;
    if (model === 'Grant') payload.loaded = true;
    if (model === 'AuthorizationCode' && !(await mayBegin(payload))) return undefined;
    if (model === 'AuthorizationCode' || model === 'RefreshToken') {
      await admission.admitSwap(payload);
      return asUnused(payload);
    }
    if (payload.scope && isApiToken) return { ...payload, scope: await usable(payload.scope, payload) };
    // Whatever is issued from a grant then says the scope that it can be used with.
    const granted = payload?.openid as { scope?: string } | undefined;
    if (!granted?.scope) return payload;
    return { ...payload, openid: { ...granted, scope: await usable(granted.scope, payload) } };
  }

  /** What is kept when its session ends has begun before that; one that was used already only ends what it began. */
  async function mayBegin({ consumed, sessionUid }: AdapterPayload): Promise<boolean> {
    if (consumed !== undefined || sessionUid === undefined) return true;
    const session = await sessionRecords.findByUid(sessionUid);
    return session !== undefined && stands(session);
  }

  async function usable(scope: string, { clientId = '', accountId }: AdapterPayload): Promise<string> {
    return effectiveScope({ scope, clientId, ...(accountId === undefined ? {} : { accountId }) });
  }
}

function sessionAdapter(options: AdapterOptions): Adapter {
  const { sessionRecords: records, endSession, admission, stands } = options;

  async function find(id: string): Promise<AdapterPayload | undefined> {
    const session = await records.find(id);
    if (!session || !(await stands(session))) return undefined;
    return { ...session, jti: id, loaded: structuredClone(session) };
  }

  async function findByUid(uid: string): Promise<AdapterPayload | undefined> {
    const session = await records.findByUid(uid);
    return session && (await stands(session)) ? session : undefined;
  }

  async function save(id: string, { jti: _, ...payload }: AdapterPayload, expiresIn: number): Promise<void> {
    const ttl = Math.max(1, Math.ceil(expiresIn));
    await admission.admit('Session', id, payload);
    if (!(await records.save(id, payload as SessionPayload, ttl))) throw new SessionEnded();
    const { accountId, loaded } = payload as SessionPayload;
    if (accountId !== undefined && loaded?.accountId === undefined)
      await options.makeRoom(accountId, String(payload.uid));
  }

  async function destroy(id: string): Promise<void> {
    const session = await records.find(id);
    if (session) await endSession(session.uid);
  }

  return {
    find: (id) => outage(find(id)),
    findByUid: (uid) => outage(findByUid(uid)),
    findByUserCode: async () => undefined,
    upsert: (id, payload, expiresIn) => outage(save(id, payload, Number(expiresIn))),
    destroy: (id) => outage(destroy(id)),
    consume: async () => undefined,
    revokeByGrantId: async () => undefined,
  };
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

/** What an app was given stands on these; without them its other records are worth nothing. */
const GIVEN_TO_CLIENT = new Set(['ClientCredentials', 'Grant']);
/** Worth nothing without their grant, they are listed under it alone: an account may have very many. */
const STANDING_ON_GRANT = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken']);

function groupsOf({ kind = '', accountId, clientId, grantId }: AdapterPayload): string[] {
  if (typeof grantId === 'string' && STANDING_ON_GRANT.has(kind)) return [grantGroup(grantId)];
  return [
    ...(typeof clientId === 'string' && GIVEN_TO_CLIENT.has(kind) ? [clientGroup(clientId)] : []),
    ...(typeof accountId === 'string' ? [accountGroup(accountId)] : []),
  ];
}

/**
 * Takes every bearer value out of a payload: its own id, and of an interaction the session's id and the URL that repeats its own.
 */
function pack(payload: AdapterPayload, id: string): Json {
  const { jti, loaded: _, ...rest } = payload;
  if (payload.kind !== 'Interaction') return (payload.kind === 'Grant' ? { ...rest, jti } : rest) as Json;
  const { cookie: __, ...session } = (payload.session ?? {}) as Record<string, unknown>;
  const returnTo = payload.returnTo?.replace(id, '');
  return { ...rest, returnTo, ...(payload.session ? { session } : {}) } as Json;
}

interface GrantedOpenid {
  scope?: string;
  claims?: string[];
}

/** What the request that writes a token knows of where it comes from, and the engine does not. */
function withOrigin(model: string, payload: AdapterPayload): AdapterPayload {
  const request = Provider.ctx;
  if (!request) return payload;
  // As the request found its app: it may have been stopped, and allowed again, since.
  if (model === 'ClientCredentials') return { ...payload, clientEpoch: clientEpochOf(request) };
  const family = FAMILY_MODELS.has(model) ? familyOfRequest(request) : undefined;
  return family === undefined ? payload : { ...payload, family };
}

/** The engine would end all that stands on the grant. Whoever uses it again is stopped where it is used. */
function asUnused({ consumed, ...payload }: AdapterPayload): AdapterPayload {
  return consumed === undefined ? payload : { ...payload, usedAt: consumed };
}

/** A grant with what this request adds to it: another may have added something else, and each knows its own scope only. */
function widened(standing: Json, wanted: Json): Json {
  const [current, added] = [standing, wanted].map(
    (grant) => (grant as AdapterPayload).openid as GrantedOpenid | undefined,
  );
  const scope = union(current?.scope?.split(' '), added?.scope?.split(' ')).join(' ');
  const claims = union(current?.claims, added?.claims);
  const openid = { ...(scope ? { scope } : {}), ...(claims.length > 0 ? { claims } : {}) };
  return { ...(standing as Record<string, Json>), openid };
}

function union(some: readonly string[] = [], others: readonly string[] = []): string[] {
  return [...new Set([...some, ...others])];
}

function unpack(stored: Json, id: string): AdapterPayload {
  const payload = { ...(stored as AdapterPayload) };
  if (payload.kind === 'Grant') return payload;
  if (payload.kind === 'Interaction') return { ...payload, jti: id, returnTo: `${payload.returnTo}${id}` };
  return { ...payload, jti: id };
}

/** The engine answers with its own errors only: a store out of reach has to look like one to it. */
export async function outage<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw asEngineError(error);
  }
}

/** The same for whatever of ours the engine calls: all functions of an object, and of the objects in it. */
export function withOutages<T extends object>(callbacks: T): T {
  const speaking = (value: unknown): unknown => {
    if (typeof value === 'function') return (...args: unknown[]) => answering(() => value(...args));
    return value && Object.getPrototypeOf(value) === Object.prototype ? withOutages(value) : value;
  };
  return Object.fromEntries(Object.entries(callbacks).map(([name, value]) => [name, speaking(value)])) as T;
}

function answering(call: () => unknown): unknown {
  try {
    const answer = call();
    return answer instanceof Promise ? outage(answer) : answer;
  } catch (error) {
    throw asEngineError(error);
  }
}

function asEngineError(error: unknown): unknown {
  if (!(error instanceof AppError)) return error;
  return Object.assign(new errors.CustomOIDCProviderError(error.code, error.message), {
    cause: error,
    status: error.status,
    statusCode: error.status,
    expose: error.code !== 'server_error',
    // No code that an app knows of (RFC 6749 §4.1.2.1): the person is told to wait.
    allow_redirect: error.code !== 'too_many_requests',
  });
}
