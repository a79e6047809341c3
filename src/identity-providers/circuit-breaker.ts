/**
 * Questions to one identity provider. Owns when it is taken to be down: then no request waits for it. What its answers mean
 * is for others to say.
 */

import { elapsed } from '../clock.ts';
import type { Outbound, OutboundError, OutboundInit } from '../outbound/outbound.ts';

import { ProviderUnavailable } from './token-verifier.ts';

/**
 * So many failures in a row, and the provider is left alone for so many seconds. A code, a token or whatever else a caller sent
 * may be what makes it fail: then it is asked for nothing in particular first, and only if that fails as well it is down.
 */
const FAILURES = 5;
const REST = 10;

/** An answer of the provider: not a failure of its own, nor one of the way there. */
export interface ProviderAnswer {
  status: number;
  /** Of an answer in JSON; undefined for any other. */
  body: unknown;
  /** Where related things are, such as the next page (RFC 8288). */
  link?: string | undefined;
}

/** @throws {ProviderUnavailable} at once while the provider is taken to be down. */
export type ProviderClient = (url: string, init?: OutboundInit) => Promise<ProviderAnswer>;

export function createProviderClient({ request }: { request: Outbound }): ProviderClient {
  let failures = 0;
  let restsUntil = Number.NEGATIVE_INFINITY;

  async function ask(url: string, init?: OutboundInit): Promise<ProviderAnswer> {
    const response = await request(url, init);
    const body: unknown = await response.json().catch(() => undefined);
    const { status } = response;
    const isAnswer = response.ok ? body !== undefined : status >= 400 && status < 500 && status !== 429;
    if (!isAnswer) throw new Error(`${URL.parse(url)?.host} answered ${status}${response.ok ? ', but no JSON' : ''}`);
    return { status, body, link: response.headers.get('link') ?? undefined };
  }

  function isUp(): void {
    failures = 0;
    restsUntil = Number.NEGATIVE_INFINITY;
  }

  const isAlive = (url: string) =>
    request(new URL('/', url)).then(
      ({ status }) => status < 500,
      () => false,
    );

  async function noteFailure(url: string, mayBeByInput: boolean): Promise<void> {
    failures += 1;
    if (failures < FAILURES) return;
    if (mayBeByInput && (await isAlive(url))) isUp();
    else restsUntil = elapsed() + REST;
  }

  return async function askProvider(url, init) {
    if (elapsed() < restsUntil)
      throw new ProviderUnavailable('taken to be down', { retryAfter: restsUntil - elapsed() });
    // The first one afterwards tries; the others go on as before until it knows.
    if (failures >= FAILURES) restsUntil = elapsed() + REST;
    try {
      const answer = await ask(url, init);
      isUp();
      return answer;
    } catch (cause) {
      // Our own questions, for documents, say nothing but where they are. No input keeps a connection from being made.
      const mayBeByInput = init !== undefined && !isUnreachable(cause);
      void noteFailure(url, mayBeByInput);
      throw new ProviderUnavailable((cause as Error).message, { cause, mayBeByInput });
    }
  };
}

function isUnreachable(error: unknown): boolean {
  return (error as Partial<OutboundError>).reason === 'unreachable';
}
