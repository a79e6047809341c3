/**
 * Google or any OpenID provider, as far as an exchange needs it: metadata, keys, ID tokens, and opaque access tokens that it answers for
 * at its introspection endpoint.
 */
import { randomBytes } from 'node:crypto';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';
import { basicOf, type FakePerson, type Listening, listen } from './fake-provider.ts';

export interface FakeOpenId extends Listening {
  /** An ID token that a person gave to an app. */
  idToken(person: FakePerson, clientId: string, claims?: JWTPayload, header?: Record<string, string>): Promise<string>;
  /** An opaque access token that a person gave to an app. */
  accessToken(person: FakePerson, clientId: string, claims?: Record<string, unknown>): string;
  revoke(token: string): void;
  /** Signs with a new key from now on, and shows it alone. */
  rotate(): Promise<void>;
}

interface Key {
  kid: string;
  privateKey: CryptoKey;
  jwk: JWK;
}

export interface FakeOpenIdOptions {
  /** The apps that may introspect: their secrets by client id. */
  apps?: Record<string, string>;
  /** What its tokens say; by default its own URL. */
  issuer?: string;
  port?: number;
}

export async function startFakeOpenId({ apps = {}, issuer, port = 0 }: FakeOpenIdOptions = {}): Promise<FakeOpenId> {
  const opaque = new Map<string, Record<string, unknown>>();
  let key = await newKey();

  const server = await listen((request, body) => {
    if (request.url === '/.well-known/openid-configuration') return { body: metadata() };
    if (request.url === '/keys') return { body: { keys: [key.jwk] } };
    if (request.url !== '/introspect') return { status: 404, body: { error: 'not_found' } };
    const { id, secret } = basicOf(request);
    if (apps[id] === undefined || apps[id] !== secret) return { status: 401, body: { error: 'invalid_client' } };
    return { body: opaque.get(String(new URLSearchParams(body).get('token'))) ?? { active: false } };
  }, port);
  const own = issuer ?? server.url;

  function metadata() {
    const { url } = server;
    return { issuer: own, jwks_uri: `${url}/keys`, introspection_endpoint: `${url}/introspect` };
  }

  return Object.assign(server, {
    async idToken(person: FakePerson, clientId: string, claims: JWTPayload = {}, header: Record<string, string> = {}) {
      const now = Math.floor(Date.now() / 1000);
      const payload = { iss: own, sub: person.subject, aud: clientId, iat: now, exp: now + 3600, ...profileOf(person) };
      return new SignJWT({ ...payload, ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: key.kid, ...header })
        .sign(key.privateKey);
    },
    accessToken(person: FakePerson, clientId: string, claims: Record<string, unknown> = {}) {
      const token = randomBytes(24).toString('base64url');
      const exp = Math.floor(Date.now() / 1000) + 3600;
      opaque.set(token, {
        active: true,
        sub: person.subject,
        client_id: clientId,
        exp,
        ...profileOf(person),
        ...claims,
      });
      return token;
    },
    revoke(token: string) {
      opaque.delete(token);
    },
    async rotate() {
      key = await newKey();
    },
  });
}

function profileOf({ email, givenName, familyName }: FakePerson) {
  return { email, email_verified: email !== undefined, given_name: givenName, family_name: familyName };
}

async function newKey(): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  const kid = randomBytes(6).toString('hex');
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' } };
}
