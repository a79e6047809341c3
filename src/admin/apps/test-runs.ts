/**
 * Trying an app: an administrator makes the app's own authorization request, which is answered at a page of ours. Owns what is
 * kept between the request and its answer, which is neither a code nor a token. Knows nothing of pages.
 */
import { hash, randomBytes, randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Client } from '../../clients/client.ts';
import { TEST_RUN_CALLBACK } from '../../oidc/protocol.ts';
import { collection } from '../../storage/collection.ts';
import type { Storage } from '../../storage/storage.ts';

/** Seconds; as long as a sign-in page may stay open. */
const OPEN = 60 * 60;

export const TestRunFlow = z.enum(['code', 'implicit']);
export type TestRunFlow = z.infer<typeof TestRunFlow>;

const KeptTestRun = z.object({
  clientId: z.string(),
  /** Who began it, and may see its answer. */
  accountId: z.string(),
  flow: TestRunFlow,
  scope: z.array(z.string()),
  /** The person is asked even for what they have allowed before. */
  asksAgain: z.boolean(),
  nonce: z.string(),
  verifier: z.string(),
});
type KeptTestRun = z.infer<typeof KeptTestRun>;

export interface TestRun extends KeptTestRun {
  /** The `state` of the request. Kept as a digest: whoever has it can go on. */
  id: string;
}

/** Parameters by name, in the order in which they are explained. */
export type Parameters = Record<string, string>;

export interface TestRuns {
  begin(wanted: Pick<TestRun, 'clientId' | 'accountId' | 'flow' | 'scope' | 'asksAgain'>): Promise<TestRun>;
  /** One that is open and was begun by this account. */
  get(accountId: string, id: string): Promise<TestRun | undefined>;
  /** Whether this is the request of a test run that this account has open: an answer to it may come to our own page. */
  isOpen(
    accountId: string,
    request: { id: string; clientId: string; codeChallenge: string | undefined },
  ): Promise<boolean>;
  /** Ends it: the first who takes it may redeem its answer. */
  take(accountId: string, id: string): Promise<TestRun | undefined>;
}

export function createTestRuns({ storage }: { storage: Storage }): TestRuns {
  const testRuns = collection(storage, { kind: 'app-trial', version: 1, schema: KeptTestRun });
  const keyOf = (accountId: string, id: string) => `${accountId}:${hash('sha256', id, 'base64url')}`;
  const named = (id: string, kept: KeptTestRun | undefined) => kept && { ...kept, id };

  return {
    get: async (accountId, id) => named(id, await testRuns.get(keyOf(accountId, id))),
    take: async (accountId, id) => named(id, await testRuns.take(keyOf(accountId, id))),

    async isOpen(accountId, { id, clientId, codeChallenge }) {
      const testRun = await testRuns.get(keyOf(accountId, id));
      return testRun?.clientId === clientId && (testRun.flow !== 'code' || challengeOf(testRun) === codeChallenge);
    },

    async begin(wanted) {
      const id = randomUUID();
      const testRun = { ...wanted, nonce: random(), verifier: random() };
      await testRuns.insert(keyOf(testRun.accountId, id), testRun, { ttl: OPEN });
      return { ...testRun, id };
    },
  };
}

/** What an app that signs people in can be tried with; nothing for any other, or one that may not act. */
export function flowsOf({ redirectUris, implicit, disabledAt }: Client): TestRunFlow[] {
  if (redirectUris.length === 0 || disabledAt !== undefined) return [];
  return implicit ? ['code', 'implicit'] : ['code'];
}

/** OIDC Core §3.1.2.1, §3.2.2.1; RFC 7636 §4.3 */
export function authorizationRequest(testRun: TestRun, issuer: string): Parameters {
  const isCode = testRun.flow === 'code';
  return {
    client_id: testRun.clientId,
    response_type: isCode ? 'code' : 'id_token token',
    redirect_uri: `${issuer}${TEST_RUN_CALLBACK}`,
    scope: testRun.scope.join(' '),
    state: testRun.id,
    nonce: testRun.nonce,
    ...(isCode ? { code_challenge: challengeOf(testRun), code_challenge_method: 'S256' } : {}),
    ...(testRun.asksAgain ? { prompt: 'consent' } : {}),
  };
}

function challengeOf({ verifier }: KeptTestRun): string {
  return hash('sha256', verifier, 'base64url');
}

/** RFC 6749 §4.1.3. An app with a secret proves itself in a header, one without names itself here. */
export function tokenRequest(
  testRun: TestRun,
  client: Client,
  { code, issuer }: { code: string; issuer: string },
): Parameters {
  return {
    grant_type: 'authorization_code',
    code,
    redirect_uri: `${issuer}${TEST_RUN_CALLBACK}`,
    code_verifier: testRun.verifier,
    ...(client.public ? { client_id: client.id } : {}),
  };
}

/** The same for the shell, with a placeholder for what is not kept here. */
export function tokenCommand(client: Client, request: Parameters, url: string): string {
  const proof = client.jwks ? { ...SIGNED_PROOF, client_assertion: '<a JWT signed with a key of the app>' } : {};
  const fields = Object.entries({ ...request, ...proof }).map(([name, value]) => `-d '${name}=${value}'`);
  const secret = client.public || client.jwks ? [] : [`-u '${client.id}:<client secret>'`];
  return `curl ${[...secret, ...fields, url].join(' \\\n  ')}`;
}

/** RFC 7523 §2.2 */
const SIGNED_PROOF = { client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' };

function random(): string {
  return randomBytes(32).toString('base64url');
}
