/**
 * Tells apps that a session has ended, behind the person's back (OpenID Connect Back-Channel Logout 1.0). Nobody who signs out
 * waits for an app: what is to be told is written down, tried at once, and again at the next rounds when an app does not answer.
 * Knows nothing of what ends a session.
 */
import { randomUUID } from 'node:crypto';
import type { Client } from 'oidc-provider';
import Provider from 'oidc-provider';
import type { Logger } from 'pino';
import type { Outbound } from '../outbound/outbound.ts';
import { outage } from './adapter.ts';
import { isLastAttempt, type LogoutNotice, type LogoutNotices } from './logout-notices.ts';

/** What one process has under way at a time: apps in a round, and notices that have just been written, per app and in all. */
const PARALLEL = 32;
const AT_ONCE_PER_CLIENT = 4;
const AT_ONCE = 64;
/** Of each app in one round. */
const ROUND_PER_CLIENT = 20;

export type SignedOut = Pick<LogoutNotice, 'accountId' | 'clientId' | 'sid'>;

export interface BackchannelLogout {
  /** Durable when it resolves; the app is told afterwards. @throws {AppError} `temporarily_unavailable` */
  send(signedOut: SignedOut): Promise<void>;
  /** One round: tries all that is due. Ends early, without harm, when the signal is aborted. */
  deliverDue(signal: AbortSignal): Promise<void>;
  /** Begins no more attempts and waits for those under way. */
  stop(): Promise<void>;
}

export interface BackchannelLogoutOptions {
  notices: LogoutNotices;
  provider: () => Promise<Provider>;
  request: Outbound;
  log: Logger;
}

export function createBackchannelLogout({
  notices,
  provider,
  request,
  log,
}: BackchannelLogoutOptions): BackchannelLogout {
  const underWay = new Map<Promise<unknown>, string>();
  let stopped = false;

  /** False when the app could not be told. Never rejects: a notice that was not settled comes back. */
  async function attempt(sid: string): Promise<boolean> {
    let notice: LogoutNotice | undefined;
    try {
      notice = await notices.claim(sid);
      if (!notice) return true;
      await tell(notice);
      await notices.remove(sid);
      return true;
    } catch (error) {
      await postpone(sid, notice, error);
      return false;
    }
  }

  async function postpone(sid: string, notice: LogoutNotice | undefined, error: unknown): Promise<void> {
    const isGivenUp = notice !== undefined && isLastAttempt(notice);
    const said = { err: error, clientId: notice?.clientId, attempts: notice?.attempts };
    log.warn(said, isGivenUp ? 'an app was never told of a logout' : 'an app could not be told of a logout yet');
    if (isGivenUp) await notices.remove(sid).catch(() => undefined);
  }

  async function tell({ clientId, accountId, sid }: LogoutNotice): Promise<void> {
    const engine = await provider();
    const client = await engine.Client.find(clientId);
    if (!client?.backchannelLogoutUri) return;
    const token = await logoutToken(engine, { client, accountId, sid });
    const body = new URLSearchParams({ logout_token: token });
    const { ok, status } = await request(client.backchannelLogoutUri, { method: 'POST', body });
    if (!ok) throw new Error(`the app answered ${status}`);
  }

  function begin({ sid, clientId }: { sid: string; clientId: string }): Promise<boolean> {
    const attempted = attempt(sid).finally(() => underWay.delete(attempted));
    underWay.set(attempted, clientId);
    return attempted;
  }

  function isBusy(clientId: string): boolean {
    return [...underWay.values()].filter((id) => id === clientId).length >= AT_ONCE_PER_CLIENT;
  }

  /** An app that does not answer is left alone until the next round. */
  async function deliverInOrder(waiting: readonly LogoutNotice[], signal: AbortSignal): Promise<void> {
    for (const notice of waiting) {
      if (stopped || signal.aborted || isBusy(notice.clientId) || !(await begin(notice))) return;
    }
  }

  return {
    async send(signedOut) {
      await notices.add(signedOut);
      const hasRoom = !stopped && underWay.size < AT_ONCE && !isBusy(signedOut.clientId);
      if (hasRoom) void begin(signedOut);
    },

    async deliverDue(signal) {
      const byClient = await firstOfEachClient(notices.due());
      const queue = byClient.values();
      const workers = Array.from({ length: PARALLEL }, async () => {
        for (const waiting of queue) await deliverInOrder(waiting, signal);
      });
      await Promise.all(workers);
    },

    async stop() {
      stopped = true;
      await Promise.all(underWay.keys());
    },
  };
}

/**
 * The engine would call the apps while the person waits. Failing to write a notice down fails the logout. When the session ends,
 * whoever ends it tells the apps: by then there may be more of them than this request knows.
 */
export function sendBackchannelLogouts(provider: Provider, send: BackchannelLogout['send']): void {
  const { prototype } = provider.Client as unknown as {
    prototype: { backchannelLogout(this: Client, accountId: string, sid: string): Promise<void> };
  };
  prototype.backchannelLogout = async function (accountId, sid) {
    const isSessionEnding = Provider.ctx?.oidc.params?.logout !== undefined;
    if (!isSessionEnding) await outage(send({ accountId, clientId: this.clientId, sid }));
  };
  provider.on('backchannel.error', (_ctx, error) => {
    throw error;
  });
}

async function logoutToken(
  provider: Provider,
  { client, accountId, sid }: { client: Client; accountId: string; sid: string },
): Promise<string> {
  const token = new provider.IdToken({}, { client });
  token.set('sub', accountId);
  token.set('sid', sid);
  token.set('jti', randomUUID());
  token.set('events', { 'http://schemas.openid.net/event/backchannel-logout': {} });
  return token.issue({ use: 'logout' });
}

async function firstOfEachClient(due: AsyncIterable<LogoutNotice>): Promise<Map<string, LogoutNotice[]>> {
  const byClient = new Map<string, LogoutNotice[]>();
  for await (const notice of due) {
    const waiting = byClient.get(notice.clientId) ?? [];
    if (waiting.length < ROUND_PER_CLIENT) waiting.push(notice);
    byClient.set(notice.clientId, waiting);
  }
  return byClient;
}
