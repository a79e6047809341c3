import { z } from 'zod';
import { line } from '../accounts/text.ts';
import { redirectUriProblem } from './redirect-uri.ts';
import { SsoPolicy } from './sso-policy.ts';

const Instant = z.number().int().nonnegative();
const WebUri = z.url({ protocol: /^https?$/ }).max(2000);

/**
 * Where an app is told of logouts. Plain http is registered as well: what may be reached over it is decided when it is
 * called, as the name may mean another address by then.
 */
const BackchannelLogoutUri = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .max(2000, 'is too long')
  .regex(/^[^\s#]*$/, 'must not have a fragment')
  .refine((uri) => !URL.parse(uri)?.username && !URL.parse(uri)?.password, 'must not have a user name or password');

const RedirectUri = z.string().check((context) => {
  const problem = redirectUriProblem(context.value);
  if (problem) context.issues.push({ code: 'custom', message: problem, input: context.value });
});
const RedirectUris = z.array(RedirectUri).max(100, 'holds too many URIs');

/** One way of proving to be the app. The secret itself was shown once and is kept as a SHA-256 digest. */
const ClientSecret = z.object({
  digest: z.string(),
  /** Its last characters, by which people know it again. */
  hint: z.string().optional(),
  createdAt: Instant,
});
export type ClientSecret = z.infer<typeof ClientSecret>;

/** An app: what may ask for people's sign-in and for tokens (RFC 6749 §2). `id` is its `client_id`. */
export const Client = z.object({
  id: z.string().min(1),
  /** People see it on pages where they decide, so nothing in it may hide or turn what is around it. */
  name: line(120),
  /** For its administrators; nobody else sees it. */
  description: z
    .string()
    .trim()
    .max(500, 'is too long')
    .regex(/^(?:[^\p{Cc}\p{Cs}]|\r?\n)*$/u, 'must not have control characters')
    .optional(),
  organizationId: z.string().optional(),
  redirectUris: RedirectUris,
  postLogoutRedirectUris: RedirectUris,
  backchannelLogoutUri: BackchannelLogoutUri.optional(),
  /** No secret: proves itself by PKCE alone (RFC 6749 §2.1). */
  public: z.boolean(),
  /** May use `id_token` and `id_token token`. */
  implicit: z.boolean(),
  clientCredentials: z.boolean(),
  /** An API: may introspect every token, not only its own (RFC 7662 §4). */
  introspection: z.boolean(),
  /** First-party: people are not asked for consent. */
  trusted: z.boolean(),
  /** The most it may ask for, beside the scopes of OpenID Connect. */
  permissions: z.array(z.string()),
  /** Seconds that a token lives which the app gets for a token of an identity provider. Absent: an hour. */
  exchangedTokenLifetime: z
    .int()
    .min(60, 'must be 60 seconds or more')
    .max(4 * 60 * 60, 'must be at most 4 hours')
    .optional(),
  /** Absent: it may sign nobody in by its own word. */
  sso: SsoPolicy.optional(),
  /**
   * Raised by the same write as whatever ends what the app was given: grants, tokens of its own, and sign-ins by its word count under
   * the epoch in which they were given.
   */
  epoch: z.int().nonnegative().default(0),
  secrets: z.array(ClientSecret).max(2),
  /** Whether a refresh token is good for one use, which it is unless this is false. Those of a public app always are (RFC 9700 §2.2.2). */
  refreshTokenRotation: z.boolean().optional(),
  /** Public keys for `private_key_jwt` (OIDC Core §9), used instead of secrets when present. */
  jwks: z.object({ keys: z.array(z.record(z.string(), z.unknown())).min(1).max(20) }).optional(),
  idTokenSigningAlg: z.enum(['RS256', 'ES256', 'EdDSA']),
  /** Shown on our pages, which load images over https only. */
  logoUri: z
    .url({ protocol: /^https$/ })
    .max(2000)
    .optional(),
  clientUri: WebUri.optional(),
  policyUri: WebUri.optional(),
  tosUri: WebUri.optional(),
  disabledAt: Instant.optional(),
  createdAt: Instant,
  updatedAt: Instant,
});
export type Client = z.infer<typeof Client>;

/** What a secret is called where it may not be shown. */
export function secretIdOf({ digest }: ClientSecret): string {
  return digest.slice(0, 12);
}

/** Whether each use of a refresh token of this app brings another in its place. */
export function rotatesRefreshTokens({ public: isPublic, refreshTokenRotation }: Client): boolean {
  return isPublic || refreshTokenRotation !== false;
}
