/**
 * GitLab, at gitlab.com and at hosts of one's own, old ones too. It says of every OAuth token whose it is and which application it was
 * issued to (GET /oauth/token/info), to whoever has the token. Signing in is plain OAuth 2 and a question to its API: not every host has
 * OpenID Connect set up, and none can be made to ask again.
 */
import { z } from 'zod';
import type { ProviderAnswer, ProviderClient } from '../circuit-breaker.ts';
import { ProviderUnavailable, type TokenCheck, type TokenVerifier } from '../token-verifier.ts';
import { profileIn, type UpstreamProfile } from '../upstream-profile.ts';
import { type Finding, type Kind, NO_TOKEN, type ProviderSettings, type VerifierOptions } from './kind.ts';

const GITLAB_COM = 'https://gitlab.com';

/** Personal, project and group access tokens were issued to no application, so that nothing says which app may use them. */
const PERSONAL = /^glpat-/;

export const gitlab: Kind = {
  title: 'GitLab',
  brand: 'GitLab',
  mark: '<path d="M3 9.6 5.4 3l2.2 5h4.8l2.2-5L17 9.6a3 3 0 0 1-1.1 3.3L10 17.2l-5.9-4.3A3 3 0 0 1 3 9.6z"/>',
  settings: {
    issuer: { use: 'unused', because: 'GitLab is found by its address' },
    baseUrl: { use: 'optional', example: 'https://gitlab.example.com' },
    clientId: { use: 'optional' },
    clientSecret: { use: 'optional' },
  },
  subject: 'the number, not the username',
  provesForOtherApps: true,
  canAskAgain: false,
  address: addressOf,
  createVerifier: createGitLabVerifier,

  async createCodeFlow(options) {
    const { createOAuthSignIn } = await import('../oauth-sign-in.ts');
    const { identityProvider, ask } = options;
    const address = addressOf(identityProvider);
    return createOAuthSignIn(options, {
      issuer: address,
      authorizationEndpoint: `${address}/oauth/authorize`,
      tokenEndpoint: `${address}/oauth/token`,
      scope: 'read_user',
      chooseAccount: {},
      async askWho(token) {
        const person = await askGitLab(ask, { address, token });
        if (!person) throw new Error('GitLab does not let this person in');
        return person;
      },
    });
  },

  async *testConnection({ identityProvider, secret: secretOf, ask }): AsyncGenerator<Finding> {
    const address = addressOf(identityProvider);
    if (!isRefusal(await ask(`${address}/oauth/token/info`, withToken(NO_TOKEN))))
      return yield { tried: 'address', result: 'wrong' };
    yield { tried: 'address', result: 'good' };
    const { clientId } = identityProvider;
    const secret = await secretOf();
    if (clientId === undefined || secret === undefined) return yield { tried: 'credentials', result: 'untried' };
    const credentials = { client_id: clientId, client_secret: secret };
    const code = { grant_type: 'authorization_code', code: NO_TOKEN, redirect_uri: 'https://latchkey.invalid/' };
    const answer = await ask(`${address}/oauth/token`, {
      method: 'POST',
      body: new URLSearchParams({ ...credentials, ...code }),
    });
    // An application that has proved itself hears that there is no such code.
    const isKnown = Refusal.safeParse(answer.body).data?.error === 'invalid_grant';
    yield { tried: 'credentials', result: isKnown ? 'good' : answer.status < 500 ? 'wrong' : 'unreachable' };
  },
};

/** Without what people copy with it: the path of the API. */
function addressOf({ baseUrl = GITLAB_COM }: ProviderSettings): string {
  return baseUrl.replace(/(\/api\/v4)?\/*$/, '');
}

const Refusal = z.object({ error: z.string() });

/** Old hosts call a token that they do not know a bad request. */
function isRefusal({ status, body }: ProviderAnswer): boolean {
  return (status === 401 || status === 400) && Refusal.safeParse(body).success;
}

/** Old hosts have `expires_in_seconds`. A token without a person, or without an application, has null in their place. */
const TokenInfo = z.object({
  resource_owner_id: z.int().positive().nullable(),
  application: z.object({ uid: z.string().nullable() }).nullish(),
  expires_in: z.number().nullish(),
  expires_in_seconds: z.number().nullish(),
});

function createGitLabVerifier({ identityProvider, ask, now }: VerifierOptions): TokenVerifier {
  const address = addressOf(identityProvider);

  return async function verifyGitLabToken({ token, audience }): Promise<TokenCheck> {
    if (PERSONAL.test(token)) return { outcome: 'invalid' };
    const info = tokenInfoIn(await ask(`${address}/oauth/token/info`, withToken(token)));
    if (info?.subject === undefined) return { outcome: 'invalid' };
    if (info.issuedTo === undefined || !audience.includes(info.issuedTo)) return { outcome: 'audience_mismatch' };
    if (info.expiresIn !== undefined && info.expiresIn <= 0) return { outcome: 'expired' };
    // Not before it is known to be this app's. GitLab lets no person in here whom it has blocked.
    const person = await askGitLab(ask, { address, token });
    if (!person) return { outcome: 'invalid' };
    if (person.subject !== info.subject)
      throw new ProviderUnavailable('GitLab says of one token that it is of two people');
    const expiresAt = info.expiresIn === undefined ? undefined : now() + Math.floor(info.expiresIn);
    return { outcome: 'proven', ...person, expiresAt };
  };
}

interface Info {
  subject: string | undefined;
  issuedTo: string | undefined;
  /** Seconds; undefined for a token that does not expire. */
  expiresIn: number | undefined;
}

/** What GitLab says of a token; undefined for one that is unknown, withdrawn or expired, between which it makes no difference. */
function tokenInfoIn({ status, body }: ProviderAnswer): Info | undefined {
  if (isRefusal({ status, body })) return undefined;
  const info = TokenInfo.safeParse(body);
  if (status !== 200 || !info.success) throw new ProviderUnavailable(`GitLab answered ${status}`);
  const { resource_owner_id: owner, application, expires_in: expiresIn, expires_in_seconds: earlier } = info.data;
  return {
    subject: owner === null ? undefined : String(owner),
    issuedTo: application?.uid ?? undefined,
    expiresIn: expiresIn ?? earlier ?? undefined,
  };
}

const User = z.object({
  id: z.int().positive(),
  username: z.string(),
  name: z.string().nullish(),
  email: z.string().nullish(),
  /** When the e-mail was shown to be theirs, or was taken to be by a host that does not ask. */
  confirmed_at: z.string().nullish(),
});

/** Who has a token, by the API; undefined when it does not let them in. @throws {ProviderUnavailable} */
async function askGitLab(
  ask: ProviderClient,
  { address, token }: { address: string; token: string },
): Promise<{ subject: string; profile: UpstreamProfile } | undefined> {
  const { status, body } = await ask(`${address}/api/v4/user`, withToken(token));
  if (status === 401 || status === 403) return undefined;
  const user = User.safeParse(body);
  if (status !== 200 || !user.success) throw new ProviderUnavailable(`GitLab answered ${status}`);
  const { id, username, name, email, confirmed_at: confirmedAt } = user.data;
  const email_verified = typeof confirmedAt === 'string' && confirmedAt !== '';
  return { subject: String(id), profile: profileIn({ email, email_verified, name, nickname: username }) };
}

function withToken(token: string) {
  return { headers: { authorization: `Bearer ${token}`, accept: 'application/json' } };
}
