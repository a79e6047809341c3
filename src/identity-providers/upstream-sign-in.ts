/**
 * Signing in at an identity provider: the way there and back. Owns the attempts, each of which belongs to one browser and comes back
 * once, and what an answer proves. Knows neither who the person is here nor what they wanted to sign in for.
 */
import { hash, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { AppError } from '../errors.ts';
import type { Outbound } from '../outbound/outbound.ts';
import type { Sealing } from '../secrets/sealing.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { type Rule, refundIfFailed, type Throttle } from '../throttle.ts';
import { createCodeFlows } from './code-flows.ts';
import { type IdentityProvider, isForSignIn, nameOf } from './identity-provider.ts';
import type { IdentityProviders } from './identity-providers.ts';
import { KINDS } from './kinds/kinds.ts';
import { Link } from './link.ts';
import type { ExternalIdentity } from './provisioning.ts';
import { unavailableIn } from './token-verifier.ts';

/** Seconds that a person may take to sign in at the provider. */
const LIFETIME = 15 * 60;
/** Seconds by which the provider's clock may be behind ours. */
const SKEW = 30;

/** Sign-ins begun at providers, within one sign-in or session here, from which nobody has come back. */
const UNANSWERED: Rule = { name: 'provider-sign-in-begun', limit: 10, window: LIFETIME };
/** Answers that proved no one: each makes us ask the provider. */
const FAILURES: Rule = { name: 'provider-sign-in', limit: 30, window: 15 * 60 };

const Attempt = z.object({
  identityProviderId: z.string(),
  /** A digest of what the browser that began it can show: an interaction or a session that is its own. */
  boundTo: z.string(),
  /** The path of ours that goes on with the answer, sealed: it may name an interaction. */
  returnTo: z.string(),
  nonce: z.string(),
  verifier: z.string(),
  askAgain: z.boolean(),
  startedAt: z.int(),
});
type Attempt = z.infer<typeof Attempt>;

export type CallbackResult =
  | { outcome: 'proven'; identity: ExternalIdentity }
  | {
      outcome: /** The person said no at the provider. */
        | 'cancelled'
        /** The provider's answer is not one to this request, or is an error. */
        | 'refused'
        /** The provider should have asked the person again who they are, and does not say that it has. */
        | 'not_asked_again'
        | 'unavailable';
      identityProvider: IdentityProvider;
      /** For the audit trail. */
      problem: string;
      /** Seconds after which trying again makes sense. */
      retryAfter?: number;
      /** The provider may have failed at what was brought. */
      mayBeByInput?: boolean;
    };

/** A provider to sign in with, as people choose it. */
export interface OfferedProvider {
  id: string;
  name: string;
  /** As in `Kind`. */
  mark: string;
  /** Where the browser is sent. */
  address: string;
  canAskAgain: boolean;
}

/** What a browser brought back, and what it can show. */
export interface Return {
  identityProviderId: string;
  boundTo: string;
  /** The query of the URL that it came back to. */
  query: string;
  /** Its network address. */
  address: string;
}

/** What is wanted of a sign-in. */
export interface Beginning {
  /** What only the browser that begins it can show. */
  boundTo: string;
  /** The path of ours that goes on with the answer. */
  returnTo: string;
  askAgain?: boolean;
  chooseAccount?: boolean;
}

export interface UpstreamSignIn {
  /** Those that people can sign in with now, in the order of their ids. */
  offered(): Promise<OfferedProvider[]>;
  /**
   * Where the person goes to sign in.
   * @throws {ProviderUnavailable}, or {AppError} `not_found` when the provider is not for signing in.
   */
  begin(identityProviderId: string, request: Beginning): Promise<string>;
  /** The path of ours that an answer belongs to. @throws {AppError} `interaction_expired` when it belongs to none. */
  pathFor(identityProviderId: string, state: unknown): Promise<string>;
  /**
   * Whom an answer proves. Works once, for the browser that began it.
   * @throws {AppError} `interaction_expired` when nothing was begun that this is the answer to; `too_many_requests`.
   */
  complete(answer: Return): Promise<CallbackResult>;
}

export interface UpstreamSignInOptions {
  issuer: string;
  storage: Storage;
  sealing: Sealing;
  now: () => number;
  request: Outbound;
  throttle: Throttle;
  identityProviders: Pick<IdentityProviders, 'findActive' | 'list' | 'secretOf'>;
}

export function createUpstreamSignIn(options: UpstreamSignInOptions): UpstreamSignIn {
  const { issuer, storage, sealing, now, request, throttle, identityProviders } = options;
  const attempts = collection(storage, { kind: 'sign-in-attempt', version: 1, schema: Attempt });
  const flows = createCodeFlows({ issuer, request, secretOf: identityProviders.secretOf });

  async function findForSignIn(id: string): Promise<IdentityProvider | undefined> {
    const provider = await identityProviders.findActive(id);
    return provider && isForSignIn(provider) ? provider : undefined;
  }

  /** @throws {AppError} `interaction_expired` */
  async function attemptAt(identityProviderId: string, state: unknown): Promise<{ key: string; attempt: Attempt }> {
    const key = typeof state === 'string' ? keyOf(state) : '';
    const attempt = await attempts.get(key);
    // A state that was made for one provider, brought by another one (RFC 9700 §4.4.2.2).
    if (attempt?.identityProviderId !== identityProviderId) throw unknownAnswer();
    return { key, attempt };
  }

  async function resultOf(
    identityProvider: IdentityProvider,
    { nonce, verifier, askAgain, startedAt }: Attempt,
    query: URLSearchParams,
  ): Promise<CallbackResult> {
    try {
      const expected = { state: query.get('state') ?? '', nonce, verifier };
      const person = await flows.redeem(identityProvider, query, expected);
      if (!Link.shape.subject.safeParse(person.subject).success)
        return { outcome: 'refused', identityProvider, problem: 'the subject is unusable' };
      if (askAgain && !((person.authenticatedAt ?? 0) >= startedAt - SKEW))
        return { outcome: 'not_asked_again', identityProvider, problem: 'did not ask the person again' };
      return { outcome: 'proven', identity: { identityProvider, ...person } };
    } catch (error) {
      if (error instanceof AppError) throw error;
      const unavailable = unavailableIn(error);
      if (!unavailable) return { outcome: 'refused', identityProvider, problem: problemIn(error as Error) };
      const { message: problem, retryAfter, mayBeByInput } = unavailable;
      return { outcome: 'unavailable', identityProvider, problem, retryAfter, mayBeByInput };
    }
  }

  return {
    async offered() {
      const all = (await identityProviders.list()).filter(isForSignIn);
      const names = all.map(nameOf);
      const isShared = (name: string) => names.filter((other) => other === name).length > 1;
      return all.map((provider) => offerOf(provider, isShared(nameOf(provider))));
    },

    async begin(identityProviderId, { boundTo, returnTo, askAgain = false, chooseAccount = false }) {
      const provider = await findForSignIn(identityProviderId);
      if (!provider) throw new AppError('not_found', 'there is no such identity provider to sign in with');
      const [state, nonce, verifier] = [secret(), secret(), secret()];
      const wanted = { state, nonce, verifier, askAgain, chooseAccount };
      const url = await flows.authorizationUrl(provider, wanted).catch((error) => {
        throw unavailableIn(error) ?? error;
      });
      const place = await throttle.consume(UNANSWERED, { key: boundTo });
      const begun = { identityProviderId: provider.id, nonce, verifier, askAgain, startedAt: now() };
      const attempt = { ...begun, boundTo: keyOf(boundTo), returnTo: await sealing.seal(returnTo) };
      await refundIfFailed(place, () => attempts.insert(keyOf(state), attempt, { ttl: LIFETIME, once: true }));
      return url.href;
    },

    async pathFor(identityProviderId, state) {
      const { returnTo } = (await attemptAt(identityProviderId, state)).attempt;
      // An earlier version did not seal it.
      return returnTo.startsWith('/') ? returnTo : sealing.open(returnTo);
    },

    async complete({ identityProviderId, boundTo, query: text, address }) {
      const query = new URLSearchParams(text);
      const { key, attempt } = await attemptAt(identityProviderId, query.get('state'));
      // Another browser's: a person would be signed in, or linked, as another one (RFC 9700 §4.7).
      if (attempt.boundTo !== keyOf(boundTo) || !(await attempts.take(key))) throw unknownAnswer();
      await throttle.giveBack(UNANSWERED, { key: boundTo });
      const identityProvider = await findForSignIn(identityProviderId);
      if (!identityProvider) throw unknownAnswer();
      if (query.get('error') === 'access_denied')
        return { outcome: 'cancelled', identityProvider, problem: 'cancelled there' };
      const failure = await throttle.consumeUntilJudged(FAILURES, { source: address });
      const result = await resultOf(identityProvider, attempt, query).catch(async (error) => {
        await failure.refund();
        throw error;
      });
      // A person who comes back while the provider is down is not to blame.
      const isToBlame = result.outcome !== 'proven' && (result.outcome !== 'unavailable' || result.mayBeByInput);
      await (isToBlame ? failure.keep() : failure.refund());
      return result;
    },
  };
}

/** Why an answer was refused, for the audit trail: nothing of it that another party may have written. */
function problemIn(error: Error & { error?: unknown }): string {
  const code = /^[\w.-]{1,64}$/.exec(String(error.error ?? ''))?.[0];
  const cause = error.cause instanceof Error ? error.cause.message : undefined;
  return [error.message, code, cause].filter((part) => part !== undefined).join(': ');
}

function offerOf(provider: IdentityProvider, isNameShared: boolean): OfferedProvider {
  const { id } = provider;
  const { mark, address, canAskAgain } = KINDS[provider.kind];
  const name = isNameShared ? `${nameOf(provider)} (${id})` : nameOf(provider);
  return { id, name, mark, address: address(provider), canAskAgain };
}

function secret(): string {
  return randomBytes(32).toString('base64url');
}

/** One who reads the store can neither answer in a provider's place nor be the browser that asked. */
function keyOf(value: string): string {
  return hash('sha256', value, 'base64url');
}

function unknownAnswer(): AppError {
  return new AppError(
    'interaction_expired',
    'this sign-in was finished, has expired, or was started in another browser or at another provider',
  );
}
