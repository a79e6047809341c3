/**
 * How much the engine keeps. For somebody who has proven nothing: so much at a time, for one network and in total; people who are
 * signed in have a bound of their own, so that they go on while strangers have reached theirs. Of what is issued to whoever has been let
 * in: so much in a day, far beyond what any app needs. Owns the bounds, which are used up before anything is written.
 */
import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import Provider, { type AdapterPayload, type KoaContextWithOIDC } from 'oidc-provider';
import type { Logger } from 'pino';
import { AppError } from '../errors.ts';
import type { Counted, Rule, TallyRule, Throttle } from '../throttle.ts';
import { LIFETIME } from './protocol.ts';

/** Counted by so many records, so that no write of everybody's waits for one. */
const COUNTERS = 64;

interface Bounds {
  ofNetwork: Rule;
  /** Of each of the counters. */
  inTotal: Rule;
  /** Of a person who is signed in, or an app that has proven who it is. */
  ofOwner: Rule;
}

/** A record has some 5 kB: 5 MB for one network, 100 MB in total, twice that where one window follows another. */
const boundsOf = (name: string, window: number): Bounds => ({
  ofNetwork: { name: `${name}-network`, limit: 1_000, window },
  inTotal: { name: `${name}-total`, limit: 20_000 / COUNTERS, window },
  ofOwner: { name: `${name}-owner`, limit: 5_000, window },
});

const BOUNDS: Readonly<Record<string, Bounds>> = {
  Interaction: boundsOf('interactions', LIFETIME.anonymous),
  Session: boundsOf('anonymous-sessions', LIFETIME.anonymous),
  PushedAuthorizationRequest: boundsOf('pushed-requests', LIFETIME.pushedRequest),
};

const DAY = 24 * 60 * 60;
const HOUR = 60 * 60;

/** For one person in one app, or for one app that acts for itself. A refresh token comes with an access token, and is counted as that. */
export const ISSUED = {
  AuthorizationCode: { name: 'authorization-codes', limit: 200_000, window: DAY, step: 100 },
  AccessToken: { name: 'access-tokens', limit: 200_000, window: DAY, step: 100 },
  Grant: { name: 'grants', limit: 20_000, window: DAY, step: 100 },
  ClientCredentials: { name: 'client-credentials-tokens', limit: 2_000_000, window: DAY, step: 100 },
  ReplayDetection: { name: 'client-assertions', limit: 1_000_000, window: HOUR, step: 100 },
} as const satisfies Record<string, TallyRule>;

export interface Admission {
  /**
   * Uses up room for a record that is about to be written, if it is a new one.
   * @throws {AppError} `too_many_requests` beyond the bound of a network, person or app, `temporarily_unavailable` beyond the total.
   */
  admit(model: string, id: string, payload: AdapterPayload): Promise<void>;
  /**
   * Uses up room for what a code or refresh token is about to be swapped for: whoever is refused has not lost it.
   * @throws {AppError} `too_many_requests`
   */
  admitSwap(payload: AdapterPayload): Promise<void>;
  /** Gives the room of a record back that is deleted. */
  release(model: string, id: string): Promise<void>;
}

export function createAdmission({ throttle, log }: { throttle: Throttle; log: Logger }): Admission {
  const noted = new LRUCache<string, true>({ max: 1_000, ttl: HOUR * 1000 });

  async function tally(rule: TallyRule, { accountId, clientId, iss }: AdapterPayload): Promise<void> {
    const client = clientId ?? iss;
    const key = JSON.stringify([accountId, client]);
    await throttle.tally(rule, key).catch((error) => {
      if (!isTooMany(error)) throw error;
      const problem = `more than ${rule.limit} ${rule.name.replaceAll('-', ' ')} in ${rule.window / HOUR} h`;
      if (!noted.has(rule.name + key)) log.warn({ account: accountId, client }, problem);
      noted.set(rule.name + key, true);
      throw new AppError('too_many_requests', `${problem}; use those that there are`, {
        retryAfter: error.retryAfter,
        cause: error,
      });
    });
  }

  async function admitStranger({ ofNetwork, inTotal }: Bounds, counted: Counted, shared: Counted): Promise<void> {
    // Read first: whoever goes on at the limit makes nothing written.
    await throttle.check(ofNetwork, counted);
    const room = await throttle.consume(inTotal, shared).catch((error) => {
      throw isTooMany(error) ? full(error) : error;
    });
    await throttle.consume(ofNetwork, counted).catch(async (error) => {
      await room.refund();
      throw error;
    });
  }

  return {
    async admit(model, id, payload) {
      if (isIssued(model)) return isCounted(model, payload) ? undefined : tally(ISSUED[model], payload);
      const bounds = BOUNDS[model];
      // Outside the engine's own requests nothing begins: what is there is written again.
      const { ctx } = Provider;
      if (!bounds || !ctx || !isNew(model, id, { payload, ctx })) return;
      const owner = personIn(payload) ?? provenClient(ctx);
      if (owner === undefined) await admitStranger(bounds, { source: ctx.ip }, sharedBy(id));
      // The session of somebody who has signed in is no longer a stranger's to make.
      else if (model !== 'Session') await throttle.consume(bounds.ofOwner, { key: owner });
    },

    async admitSwap(payload) {
      if (Provider.ctx?.oidc.route === 'token') await tally(ISSUED.AccessToken, payload);
    },

    async release(model, id) {
      const bounds = BOUNDS[model];
      const { ctx } = Provider;
      if (!bounds || !ctx || model !== 'Interaction') return;
      const owner = ctx.oidc.entities.Interaction?.session?.accountId;
      if (owner !== undefined) return throttle.giveBack(bounds.ofOwner, { key: owner });
      await throttle.giveBack(bounds.ofNetwork, { source: ctx.ip });
      await throttle.giveBack(bounds.inTotal, sharedBy(id));
    },
  };
}

function isIssued(model: string): model is keyof typeof ISSUED {
  return model in ISSUED;
}

/** What is there already, or was admitted before what it is swapped for was used up. */
function isCounted(model: string, { loaded }: AdapterPayload): boolean {
  const { AuthorizationCode: code, RefreshToken: refreshed } = Provider.ctx?.oidc.entities ?? {};
  return loaded !== undefined || (model === 'AccessToken' && (code ?? refreshed) !== undefined);
}

function personIn({ accountId, session }: AdapterPayload): string | undefined {
  return accountId ?? (session as { accountId?: string } | undefined)?.accountId;
}

function isNew(model: string, id: string, { payload, ctx }: { payload: AdapterPayload; ctx: KoaContextWithOIDC }) {
  if (model === 'Session') return payload.loaded === undefined;
  return model !== 'Interaction' || ctx.oidc.entities.Interaction?.jti !== id;
}

/** The app that pushes a request, if it has shown a secret or key of its own. */
function provenClient({ oidc }: KoaContextWithOIDC): string | undefined {
  if (oidc.route !== 'pushed_authorization_request' || oidc.client?.clientAuthMethod === 'none') return undefined;
  return oidc.client?.clientId;
}

function sharedBy(id: string): Counted {
  return { key: String(hash('sha256', id, 'buffer').readUInt8() % COUNTERS) };
}

function isTooMany(error: unknown): boolean {
  return error instanceof AppError && error.code === 'too_many_requests';
}

function full(cause: AppError): AppError {
  return new AppError('temporarily_unavailable', 'more people are signing in than can be served; try again later', {
    retryAfter: cause.retryAfter ?? 60,
    cause,
  });
}
