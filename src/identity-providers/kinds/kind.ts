import type { ProviderClient } from '../circuit-breaker.ts';
import type { CodeFlow } from '../oauth-client.ts';
import type { TokenVerifier } from '../token-verifier.ts';

/**
 * Everything in which one kind of identity provider differs from another. A new kind is one file beside this one, an entry in `kinds.ts`,
 * and a line for the form in each catalogue of words.
 */
export interface Kind {
  /** What the kind is called: a proper noun, the same in every language. */
  title: string;
  /** What people call a provider of this kind that has no name of its own; undefined where that is its id. */
  brand: string | undefined;
  /** The inside of an SVG of 20 by 20 in strokes, which have the colour of the text beside them. */
  mark: string;
  /** What is checked when a provider is set up. */
  settings: Readonly<Record<SettingName, Setting>>;
  /** What a person's subject is, for those who link an account by hand. */
  subject: string;
  /** Whether tokens that another app has there can be proven, or only those of the app whose secret we have. */
  provesForOtherApps: boolean;
  /** Whether it can be made to ask a person again who they are, and says that it has (OIDC Core §3.1.2.1 `prompt`, §2 `auth_time`). */
  canAskAgain: boolean;
  /** Where people sign in, and what the provider may call itself. */
  address(settings: ProviderSettings): string;
  createVerifier(options: VerifierOptions): TokenVerifier;
  /** Loads what signing in needs, which takes memory that many servers never need. */
  createCodeFlow(options: ProviderAccess): Promise<CodeFlow>;
  /** Asks what a person's token would make us ask, with a token that no one has. */
  testConnection(options: ProviderAccess): AsyncIterable<Finding>;
}

/** What of an identity provider its kind looks at. */
export interface ProviderSettings {
  issuer?: string | undefined;
  baseUrl?: string | undefined;
  clientId?: string | undefined;
}

export type SettingName = 'issuer' | 'baseUrl' | 'clientId' | 'clientSecret';

/** Whether a setting must be there, may be, or would have no effect, and why. */
export type Setting =
  | { use: 'required'; because: string }
  | { use: 'optional'; example?: string }
  | { use: 'unused'; because: string };

export interface VerifierOptions extends ProviderAccess {
  now: () => number;
}

/** One provider, as far as its kind may know it, and a way to ask it. */
export interface ProviderAccess {
  identityProvider: ProviderSettings;
  /** The secret that goes with the client id. */
  secret: () => Promise<string | undefined>;
  ask: ProviderClient;
}

/** One thing that was tried, in the order of trying; after what failed nothing more can be tried. */
export interface Finding {
  tried: 'address' | 'metadata' | 'issuer' | 'keys' | 'credentials';
  result: 'good' | 'forbidden' | 'unreachable' | 'wrong' | 'untried';
  /** What the provider says instead. */
  detail?: string;
}

/** A token that no one has, for a connection test. */
export const NO_TOKEN = 'latchkey-trial';
