/** The slice of identity providers at run time, composed: signing in there, whose account that is, and checking tokens of theirs. */
import type { Accounts } from '../accounts/accounts.ts';
import type { Audit } from '../audit.ts';
import type { Mail } from '../mail/mail.ts';
import { createOutbound, type OutboundOptions } from '../outbound/outbound.ts';
import type { Sealing } from '../secrets/sealing.ts';
import type { Storage } from '../storage/storage.ts';
import type { Throttle } from '../throttle.ts';
import type { IdentityProviders } from './identity-providers.ts';
import type { Links } from './links.ts';
import { createProviderTokens, type ProviderTokens, type ProviderTokensOptions } from './provider-tokens.ts';
import { createProvisioning } from './provisioning.ts';
import { createResolveAccount, type ResolveAccount } from './resolve-account.ts';
import { createSignInMethods, type SignInMethods, type SignInMethodsOptions } from './sign-in-methods.ts';
import { createUpstreamSignIn, type UpstreamSignIn } from './upstream-sign-in.ts';

interface Foundation {
  storage: Storage;
  throttle: Throttle;
  sealing: Sealing;
  audit: Audit;
  accounts: Accounts;
  links: Links;
  identityProviders: IdentityProviders;
}

export interface FederationOptions {
  issuer: string;
  /** How providers are asked. */
  outbound: OutboundOptions;
  send: Mail['send'];
  deviceInWords: SignInMethodsOptions['deviceInWords'];
  /** Hears why tokens of a provider cannot be checked. */
  warn: ProviderTokensOptions['warn'];
}

export interface Federation {
  upstream: UpstreamSignIn;
  resolveAccount: ResolveAccount;
  methods: SignInMethods;
  providerTokens: ProviderTokens;
}

/** Seconds in which a provider has to answer while an API call waits. */
const WHILE_A_CALL_WAITS = 2.5;

export function createFederation(core: Foundation, options: FederationOptions): Federation {
  const { storage, audit, accounts, links, identityProviders } = core;
  const { issuer, outbound, send, deviceInWords, warn } = options;
  const { now } = storage;
  return {
    upstream: createUpstreamSignIn({ ...core, issuer, now, request: createOutbound(outbound) }),
    resolveAccount: createResolveAccount({
      links,
      accounts,
      provision: createProvisioning({ storage, accounts, links, audit }),
    }),
    methods: createSignInMethods({
      storage,
      now,
      links,
      identityProviders,
      findAccount: accounts.findActive,
      endProven: accounts.endProven,
      send,
      deviceInWords,
    }),
    providerTokens: createProviderTokens({
      now,
      request: createOutbound({ ...outbound, timeout: WHILE_A_CALL_WAITS }),
      secretOf: identityProviders.secretOf,
      warn,
    }),
  };
}
