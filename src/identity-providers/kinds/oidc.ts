/**
 * Any OpenID provider, found by discovery (OIDC Discovery §4). ID tokens are proven by their signature, opaque access tokens by asking the
 * provider with our credentials there (RFC 7662).
 */
import type { JSONWebKeySet } from 'jose';
import { z } from 'zod';
import { type CachedDocument, cachedDocument } from '../cached-document.ts';
import type { ProviderAnswer, ProviderClient } from '../circuit-breaker.ts';
import { basicAuthorization } from '../client-authentication.ts';
import { keySetIn, verifyIdToken } from '../id-token.ts';
import { testOpenIdConnection } from '../openid-connection-test.ts';
import { ProviderUnavailable, type TokenCheck, type TokenCheckRequest, type TokenVerifier } from '../token-verifier.ts';
import { isWhole, profileIn, withMore } from '../upstream-profile.ts';
import type { Kind, ProviderSettings, VerifierOptions } from './kind.ts';

const FOUND_BY_ISSUER = 'an OpenID provider is found by its issuer';

export const oidc: Kind = {
  title: 'OpenID Connect',
  brand: undefined,
  mark: '<rect x="2.5" y="4" width="15" height="12" rx="2"/><circle cx="7.2" cy="8.9" r="1.7"/><path d="M4.8 13.2c.4-1.4 4.4-1.4 4.8 0M12.2 8.5h3M12.2 11.8h3"/>',
  settings: {
    issuer: { use: 'required', because: FOUND_BY_ISSUER },
    baseUrl: { use: 'unused', because: FOUND_BY_ISSUER },
    clientId: { use: 'optional' },
    clientSecret: { use: 'optional' },
  },
  subject: 'the sub of an ID token',
  provesForOtherApps: true,
  canAskAgain: true,
  address: issuerOf,
  createVerifier: createOidcVerifier,

  async createCodeFlow(options) {
    const { createOpenIdSignIn } = await import('../openid-sign-in.ts');
    const issuer = issuerOf(options.identityProvider);
    // Not all of them know how to let people choose.
    return createOpenIdSignIn(options, { address: issuer, issuers: [issuer], chooseAccount: {} });
  },

  testConnection(options) {
    const issuer = issuerOf(options.identityProvider);
    return testOpenIdConnection(options, { address: issuer, issuer });
  },
};

/** There is none without: it is checked when the provider is set up. */
function issuerOf({ issuer = '' }: ProviderSettings): string {
  return issuer;
}

/** Three parts in base64url: a JWT (RFC 7519 §3), never asked about in the hope that it is something else. */
const JWT = /^[\w-]+\.[\w-]*\.[\w-]*$/;

const Metadata = z.object({
  issuer: z.string(),
  jwks_uri: z.url(),
  introspection_endpoint: z.url().optional(),
  userinfo_endpoint: z.url().optional(),
});
type Metadata = z.infer<typeof Metadata>;

const Introspected = z.looseObject({
  active: z.boolean(),
  sub: z.string().min(1).max(255).optional(),
  client_id: z.string().optional(),
  iss: z.string().optional(),
  exp: z.number().optional(),
});

const UserInfo = z.looseObject({ sub: z.string() });

function createOidcVerifier({ identityProvider, secret, ask, now }: VerifierOptions): TokenVerifier {
  const { clientId } = identityProvider;
  const issuer = issuerOf(identityProvider);
  const metadata = createMetadata({ issuer, ask });
  const keys = cachedDocument<JSONWebKeySet>(async () => keySetIn(await ask((await metadata.get()).jwks_uri)));

  async function verifyOpaque({ token, audience }: TokenCheckRequest): Promise<TokenCheck> {
    const clientSecret = await secret();
    if (clientId === undefined || clientSecret === undefined) return { outcome: 'invalid' };
    const { introspection_endpoint: endpoint } = await metadata.get();
    if (endpoint === undefined) return { outcome: 'invalid' };
    const answer = await ask(endpoint, {
      method: 'POST',
      headers: { authorization: basicAuthorization(clientId, clientSecret), accept: 'application/json' },
      body: new URLSearchParams({ token, token_type_hint: 'access_token' }),
    });
    return checkOf(answer, { issuer, audience, now: now(), userInfo });
  }

  /** Not every provider says at introspection what it says at userinfo (OIDC Core §5.3), and only what is about this person counts. */
  async function userInfo(token: string, subject: string): Promise<Record<string, unknown>> {
    const { userinfo_endpoint: endpoint } = await metadata.get();
    if (endpoint === undefined) return {};
    const { status, body } = await ask(endpoint, { headers: { authorization: `Bearer ${token}` } });
    const told = UserInfo.safeParse(body);
    return status === 200 && told.success && told.data.sub === subject ? told.data : {};
  }

  return async function verifyOidcToken(request) {
    if (!JWT.test(request.token)) return verifyOpaque(request);
    return verifyIdToken({ ...request, issuers: [issuer], keys, now: now() });
  };
}

/** Where the provider has what; only its own word about itself counts (OIDC Discovery §4.3). */
function createMetadata({ issuer, ask }: { issuer: string; ask: ProviderClient }): CachedDocument<Metadata> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  return cachedDocument(async () => {
    const { status, body } = await ask(url);
    const metadata = Metadata.safeParse(body);
    if (status !== 200 || !metadata.success) throw new ProviderUnavailable('the provider has no usable metadata');
    if (metadata.data.issuer !== issuer) throw new ProviderUnavailable('the metadata are those of another issuer');
    return metadata.data;
  });
}

interface CheckRules {
  issuer: string;
  audience: readonly string[];
  now: number;
  userInfo: (token: string, subject: string) => Promise<Record<string, unknown>>;
}

function checkOf({ status, body }: ProviderAnswer, { issuer, audience, now, userInfo }: CheckRules): TokenCheck {
  const parsed = Introspected.safeParse(body);
  if (status !== 200 || !parsed.success) throw new ProviderUnavailable(`introspection answered ${status}`);
  const { active, sub, client_id: issuedTo, iss = issuer, exp } = parsed.data;
  if (!active || iss !== issuer || sub === undefined) return { outcome: 'invalid' };
  // An access token is made for an API; whom it was given to is what matters here, and must be said.
  if (issuedTo === undefined || !audience.includes(issuedTo)) return { outcome: 'audience_mismatch' };
  if (exp !== undefined && exp <= now) return { outcome: 'expired' };
  const expiresAt = exp === undefined ? undefined : Math.floor(exp);
  const profile = profileIn(parsed.data);
  return {
    outcome: 'proven',
    subject: sub,
    expiresAt,
    profile,
    tellMore: async (token) => withMore(profile, profileIn(parsed.data, await told(token))),
  };

  /** That no more can be learnt is no reason to refuse somebody of whom all is known. */
  async function told(token: string): Promise<Record<string, unknown>> {
    return userInfo(token, String(sub)).catch((error) => {
      if (!isWhole(profile)) throw error;
      return {};
    });
  }
}
