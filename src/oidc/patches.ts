/**
 * Where the engine is made to do what its settings do not offer: one list, with the reason of each. They rest on what the engine does
 * inside, so all are to be read again when `READ_IN` is no longer the version that is installed.
 */
import Provider, { type Client } from 'oidc-provider';
import type { JudgeSecret } from '../clients/secret-judge.ts';
import { sendBackchannelLogouts } from './backchannel-logout.ts';
import { carryEpoch } from './epoch.ts';
import { issueAudienceAsArray } from './id-token-audience.ts';
import { mergeWrites } from './merging.ts';
import { CONSOLE_CLIENT_ID, TEST_RUN_CALLBACK } from './protocol.ts';
import type { ProviderOptions } from './provider.ts';
import { shareSuccessors } from './refresh-tokens.ts';
import { registerTokenExchange } from './token-exchange.ts';

/** The version of oidc-provider in which they were read. */
export const READ_IN = '9.13';

interface Patch {
  /** What the engine does by itself, and why that is not enough. */
  reason: string;
  apply(provider: Provider, options: ProviderOptions): void;
}

export const PATCHES: readonly Patch[] = [
  {
    reason:
      'A session and a grant are written whole, as one request saw them: what other requests changed would be lost.',
    apply: mergeWrites,
  },
  {
    reason: 'A refresh token sent twice at once ends everything; here both answers carry one successor.',
    apply: (provider, { useRefreshToken }) => shareSuccessors(provider, useRefreshToken),
  },
  {
    reason:
      'Nothing says what has ended since something began: sessions and interactions carry the epoch they began under.',
    apply: carryEpoch,
  },
  {
    reason: 'Token exchange (RFC 8693) is no grant type that the engine has.',
    apply: (provider, { exchange }) => registerTokenExchange(provider, exchange),
  },
  {
    reason: 'Secrets are compared in clear; the store has their digests alone, and guesses are counted.',
    apply: (provider, { judgeSecret }) => compareSecretsAsDigests(provider, judgeSecret),
  },
  {
    reason: 'A rule for redirect URIs that differs from ours would refuse every request of an app that was taken.',
    apply: leaveRedirectUrisToRegistration,
  },
  {
    reason: 'Our page where apps are tried is a redirect URI of none of them.',
    apply: answerTestRuns,
  },
  {
    reason: '`aud` of an ID token is a string; existing clients read an array.',
    apply: issueAudienceAsArray,
  },
  {
    reason: '`iss` is left out beside an ID token, although our metadata promise it for every answer (RFC 9207 §2).',
    apply: nameIssuerInEveryAnswer,
  },
  {
    reason: 'Back-channel logout is tried once, while the person waits; a notice that is kept is tried again.',
    apply: (provider, { sendLogout }) => sendBackchannelLogouts(provider, sendLogout),
  },
  {
    reason: 'A foreign JWT is an error at introspection, though not the fault of the API that asks (RFC 7662 §2.2).',
    apply: callForeignTokensInactive,
  },
];

/** The adapter hands the engine the digests of an app's secrets in place of a secret. */
function compareSecretsAsDigests(provider: Provider, judgeSecret: JudgeSecret): void {
  const { prototype } = provider.Client as unknown as {
    prototype: { compareClientSecret(presented: string): Promise<boolean> };
  };
  prototype.compareClientSecret = async function (this: { clientId: string; clientSecret?: string }, presented) {
    const { ip = '', state } = Provider.ctx ?? {};
    if (state?.wrongSecret) return false;
    const digests = this.clientSecret?.split(' ') ?? [];
    return judgeSecret({ clientId: this.clientId, digests, presented, source: ip });
  };
}

/**
 * What may be registered is decided when it is registered, by one rule (`clients/redirect-uri.ts`). The engine's own, which differs,
 * would refuse every request of an app that was taken.
 */
function leaveRedirectUrisToRegistration(provider: Provider): void {
  const { prototype } = (provider.Client as unknown as { Schema: { prototype: { redirectUris(): void } } }).Schema;
  if (!('redirectUris' in prototype)) throw new Error('the engine has no check of redirect URIs');
  prototype.redirectUris = () => {};
}

/**
 * An app that signs people in can be tried: its request may name our page, to the letter, beside its own. Whoever makes one is looked
 * at in `assertOwnTestRun`, also where an app has the page registered as its own.
 */
function answerTestRuns(provider: Provider): void {
  const callback = `${provider.issuer}${TEST_RUN_CALLBACK}`;
  const { prototype } = provider.Client as unknown as { prototype: Client };
  const { redirectUriAllowed } = prototype;
  prototype.redirectUriAllowed = function (this: Client, uri) {
    if (uri === callback) return this.clientId !== CONSOLE_CLIENT_ID && (this.redirectUris ?? []).length > 0;
    return redirectUriAllowed.call(this, uri);
  };
}

function nameIssuerInEveryAnswer(provider: Provider): void {
  provider.on('authorization.success', (_ctx, answer) => {
    if (answer) answer.iss = provider.issuer;
  });
}

function callForeignTokensInactive(provider: Provider): void {
  provider.on('introspection.error', (ctx, { error }) => {
    if (error !== 'unsupported_token_type') return;
    ctx.status = 200;
    ctx.body = { active: false };
  });
}
