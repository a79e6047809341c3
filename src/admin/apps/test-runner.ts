/**
 * What an app does with the answer to its authorization request: redeems the code, checks the ID token, asks who it is. Done
 * through the server's own endpoints, so that what is seen is what the app would see. The tokens are ended before anything is shown.
 */
import { compactVerify, createLocalJWKSet, decodeJwt, decodeProtectedHeader, type JSONWebKeySet } from 'jose';
import { z } from 'zod';
import type { Client } from '../../clients/client.ts';
import type { InProcess, InProcessRequest } from '../../http/in-process.ts';
import type { EndAccessToken } from '../../oidc/end-access-token.ts';
import { ROUTES } from '../../oidc/protocol.ts';
import { type Parameters, type TestRun, tokenRequest } from './test-runs.ts';

/** Errors are told in the words of RFC 6749 §4.1.2.1 and §5.2. */
export interface TestRunError {
  code: string;
  description?: string | undefined;
}

/** What a token request came to. */
export interface Redeemed {
  request: Parameters;
  status: number;
  answer: Parameters;
  error?: TestRunError;
}

/** What the app now knows. */
export interface Learned {
  scope: { name: string; granted: boolean }[];
  idToken?: { header: Parameters; claims: Parameters; checks: Check[] } | undefined;
  userinfo?: { status: number; claims: Parameters } | undefined;
  /** The access token worked, and does so no longer. */
  ended: boolean;
}

/** What an app must look at before it believes an ID token (OIDC Core §3.1.3.7, §3.2.2.11). */
interface Check {
  name: 'signature' | 'iss' | 'aud' | 'exp' | 'nonce';
  good: boolean;
}

/** Who tries. */
type Source = Pick<InProcessRequest, 'address' | 'userAgent'>;

export interface TestRunner {
  /** @param from.secret Used for this one request and kept nowhere. */
  redeem(testRun: TestRun, client: Client, from: { code: string; secret: string; source: Source }): Promise<Redeemed>;
  /** @param answer From the token endpoint, or from the fragment. */
  inspect(testRun: TestRun, answer: Parameters, source: Source): Promise<Learned>;
}

export interface TestRunnerOptions {
  issuer: string;
  now: () => number;
  request: InProcess;
  endAccessToken: EndAccessToken;
}

const Members = z.record(z.string(), z.unknown()).catch({});

export function createTestRunner({ issuer, now, request, endAccessToken }: TestRunnerOptions): TestRunner {
  async function isSigned(jwt: string, source: Source): Promise<boolean> {
    const { body } = await request({ path: ROUTES.jwks, ...source });
    return compactVerify(jwt, createLocalJWKSet(body as JSONWebKeySet)).then(
      () => true,
      () => false,
    );
  }

  async function read(testRun: TestRun, jwt: string, source: Source): Promise<Learned['idToken']> {
    const parts = decoded(jwt);
    if (!parts) return undefined;
    const { header, claims } = parts;
    return {
      header: texts(header),
      claims: texts(claims),
      checks: [
        { name: 'signature', good: await isSigned(jwt, source) },
        { name: 'iss', good: claims.iss === issuer },
        { name: 'aud', good: [claims.aud].flat().includes(testRun.clientId) },
        { name: 'exp', good: Number(claims.exp) > now() },
        { name: 'nonce', good: claims.nonce === testRun.nonce },
      ],
    };
  }

  async function askWho(token: string, source: Source): Promise<Learned['userinfo']> {
    const headers = { authorization: `Bearer ${token}` };
    const { status, body } = await request({ path: ROUTES.userinfo, headers, ...source });
    return { status, claims: texts(Members.parse(body)) };
  }

  return {
    async redeem(testRun, client, { code, secret, source }) {
      const form = tokenRequest(testRun, client, { code, issuer });
      const headers: Record<string, string> = client.public ? {} : { authorization: basic(client.id, secret) };
      const { status, body } = await request({ path: ROUTES.token, form, headers, ...source });
      const answer = texts(Members.parse(body));
      if (status === 200) return { request: form, status, answer };
      const error = { code: answer.error ?? 'server_error', description: answer.error_description };
      return { request: form, status, answer, error };
    },

    async inspect(testRun, { id_token: idToken, access_token: accessToken, scope = '' }, source) {
      const granted = scope.split(' ');
      return {
        scope: testRun.scope.map((name) => ({ name, granted: granted.includes(name) })),
        idToken: idToken === undefined ? undefined : await read(testRun, idToken, source),
        userinfo: accessToken === undefined ? undefined : await askWho(accessToken, source),
        ended: accessToken !== undefined && (await endAccessToken(accessToken, testRun)),
      };
    },
  };
}

/** Values that open something, as they may be shown. */
export function shortened(values: Parameters): Parameters {
  const isSecret = (name: string) => name === 'access_token' || name === 'id_token';
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, isSecret(name) ? `${value.slice(0, 8)}…` : value]),
  );
}

function decoded(jwt: string) {
  try {
    return { header: decodeProtectedHeader(jwt), claims: decodeJwt(jwt) };
  } catch {
    return undefined;
  }
}

function texts(members: object): Parameters {
  const text = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
  return Object.fromEntries(Object.entries(members).map(([name, value]) => [name, text(value)]));
}

/** RFC 6749 §2.3.1: encoded before they are joined. */
function basic(id: string, secret: string): string {
  return `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`;
}
