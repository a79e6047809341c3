/**
 * Google or any OpenID provider, as far as a sign-in and an exchange need it: metadata, keys, the code flow, ID tokens, and opaque
 * access tokens that it answers for at its introspection endpoint.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import {
  type CryptoKey,
  exportJWK,
  generateKeyPair,
  type JWK,
  type JWTHeaderParameters,
  type JWTPayload,
  SignJWT,
} from 'jose';
import { type Authorization, createAuthorization } from './authorization.ts';
import { type Answer, basicOf, bearerOf, type FakePerson, type Listening, listen } from './fake-provider.ts';

export interface FakeOpenId extends Listening {
  /** Those who can sign in. */
  people: FakePerson[];
  authorization: Authorization;
  /** What the ID tokens of a sign-in say otherwise; undefined is left out. */
  otherwise: JWTPayload;
  /** What userinfo says otherwise. */
  toldOtherwise: Record<string, unknown>;
  /** Keys that it shows before its own. */
  otherKeys: JWK[];
  /** An ID token that a person gave to an app. What is undefined in the header is left out. */
  idToken(
    person: FakePerson,
    clientId: string,
    claims?: JWTPayload,
    header?: Record<string, string | undefined>,
  ): Promise<string>;
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
  /** What its page says it is. */
  name?: string;
  /** What its tokens say; by default its own URL. */
  issuer?: string;
  port?: number;
}

export async function startFakeOpenId(options: FakeOpenIdOptions = {}): Promise<FakeOpenId> {
  const { apps = {}, name = 'Fake OpenID provider', issuer, port = 0 } = options;
  const opaque = new Map<string, Record<string, unknown>>();
  const people: FakePerson[] = [];
  const authorization = createAuthorization({ name, people, issuer: () => own });
  let key = await newKey();

  async function idToken(
    person: FakePerson,
    clientId: string,
    claims: JWTPayload = {},
    header: Record<string, string | undefined> = {},
  ): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const payload = { iss: own, sub: person.subject, aud: clientId, iat: now, exp: now + 3600, ...profileOf(person) };
    const token = await new SignJWT({ ...payload, ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: key.kid, ...header } as JWTHeaderParameters)
      .sign(key.privateKey);
    server.given.push(token);
    return token;
  }

  function accessToken(person: FakePerson, clientId: string, claims: Record<string, unknown> = {}): string {
    const token = randomBytes(24).toString('base64url');
    const exp = Math.floor(Date.now() / 1000) + 3600;
    server.given.push(token);
    opaque.set(token, { active: true, sub: person.subject, client_id: clientId, exp, ...profileOf(person), ...claims });
    return token;
  }

  /** Whoever is not asked again signed in an hour ago. */
  async function redeem(id: string, form: URLSearchParams): Promise<Answer> {
    const grant = authorization.redeem(form);
    if (grant?.clientId !== id) return { status: 400, body: { error: 'invalid_grant' } };
    const { person, nonce, askedAgain } = grant;
    const auth_time = Math.floor(Date.now() / 1000) - (askedAgain ? 0 : 3600);
    const id_token = await idToken(person, id, { nonce, auth_time, ...server.otherwise });
    return { body: { access_token: accessToken(person, id), token_type: 'Bearer', expires_in: 3600, id_token } };
  }

  function userInfo(token: string): Answer {
    const known = opaque.get(token);
    return known ? { body: { ...known, ...server.toldOtherwise } } : { status: 401, body: { error: 'invalid_token' } };
  }

  function answerApp(request: IncomingMessage, form: URLSearchParams): Promise<Answer> | Answer {
    const { id, secret } = basicOf(request);
    if (apps[id] === undefined || apps[id] !== secret) return { status: 401, body: { error: 'invalid_client' } };
    return request.url === '/token'
      ? redeem(id, form)
      : { body: opaque.get(String(form.get('token'))) ?? { active: false } };
  }

  const listening = await listen((request, body) => {
    const url = new URL(request.url ?? '/', server.url);
    if (url.pathname === '/.well-known/openid-configuration') return { body: metadata() };
    if (url.pathname === '/keys') return { body: { keys: [...server.otherKeys, key.jwk] } };
    if (url.pathname === '/authorize') return authorization.page(url);
    if (url.pathname === '/userinfo') return userInfo(bearerOf(request));
    if (['/token', '/introspect'].includes(url.pathname)) return answerApp(request, new URLSearchParams(body));
    return { status: 404, body: { error: 'not_found' } };
  }, port);
  const server = Object.assign(listening, {
    people,
    authorization,
    otherwise: {} as JWTPayload,
    otherKeys: [] as JWK[],
    toldOtherwise: {},
  });
  const own = issuer ?? server.url;

  function metadata() {
    const { url } = server;
    return {
      issuer: own,
      authorization_endpoint: `${url}/authorize`,
      token_endpoint: `${url}/token`,
      userinfo_endpoint: `${url}/userinfo`,
      jwks_uri: `${url}/keys`,
      introspection_endpoint: `${url}/introspect`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
      authorization_response_iss_parameter_supported: true,
    };
  }

  return Object.assign(server, {
    idToken,
    accessToken,
    revoke(token: string) {
      opaque.delete(token);
    },
    async rotate() {
      key = await newKey();
    },
  });
}

function profileOf({ email, unverified = false, givenName, familyName, name }: FakePerson) {
  return {
    name,
    email,
    email_verified: email !== undefined && !unverified,
    given_name: givenName,
    family_name: familyName,
  };
}

async function newKey(): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  const kid = randomBytes(6).toString('hex');
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' } };
}
