/** The form of an app: as a browser sends it, as it is shown again, and what is wrong with it, by field. */
import { z } from 'zod';
import { Client, rotatesRefreshTokens } from '../../clients/client.ts';
import type { ClientChanges } from '../../clients/clients.ts';
import { type RedirectUriFault, redirectUriFault } from '../../clients/redirect-uri.ts';
import { AppError } from '../../errors.ts';

const text = (length: number) => z.string().max(length).default('');
const checked = z.union([z.string(), z.array(z.string())]).transform((names) => [names].flat());

/** What an app does beside signing people in with a code. */
export const USES = ['client_credentials', 'introspection', 'trusted', 'lasting_refresh_tokens', 'implicit'] as const;

export const AppForm = z.object({
  form: text(64),
  name: text(1000),
  description: text(5000),
  organization: text(100),
  logo_uri: text(5000),
  client_uri: text(5000),
  policy_uri: text(5000),
  tos_uri: text(5000),
  /** Where it runs decides whether it can keep a secret. */
  runs: z.enum(['server', 'device']).default('server'),
  use: checked.default([]),
  redirect_uris: z.string().default(''),
  post_logout_redirect_uris: z.string().default(''),
  backchannel_logout_uri: text(5000),
  /** Not in forms of before there was a choice; then it stays as it is. */
  id_token_alg: text(20),
  permission: checked.default([]),
  /** Seconds. */
  exchanged_token_lifetime: text(20),
});
export type AppForm = z.infer<typeof AppForm>;

/** Seconds that are offered for a token that an app gets for one of an identity provider. */
export const EXCHANGED_LIFETIMES = [900, 3600, 7200, 14_400];
const USUAL_LIFETIME = 3600;

/** The first is what every library takes. */
export const ID_TOKEN_ALGORITHMS = Client.shape.idTokenSigningAlg.options;

/** One line of a field that is wrong, or the field itself. */
export interface Problem {
  code: RedirectUriFault | 'wrong' | 'needed' | 'too_many';
  line?: number;
  text?: string;
}
export type Problems = Record<string, Problem[]>;

/** Bad lines that are named; the rest shows when those are right. */
const MOST_LINES_NAMED = 5;

/** Fields by what the record calls them. */
const FIELD_OF = {
  name: 'name',
  description: 'description',
  logoUri: 'logo_uri',
  clientUri: 'client_uri',
  policyUri: 'policy_uri',
  tosUri: 'tos_uri',
  backchannelLogoutUri: 'backchannel_logout_uri',
  exchangedTokenLifetime: 'exchanged_token_lifetime',
} as const;

export function emptyAppForm(): AppForm {
  return AppForm.parse({ id_token_alg: ID_TOKEN_ALGORITHMS[0], exchanged_token_lifetime: String(USUAL_LIFETIME) });
}

/** The form as it would have to be sent to make the app what it is. */
export function fillFromClient(client: Client): AppForm {
  const uses = {
    client_credentials: client.clientCredentials,
    introspection: client.introspection,
    trusted: client.trusted,
    lasting_refresh_tokens: !rotatesRefreshTokens(client),
    implicit: client.implicit,
  };
  return AppForm.parse({
    name: client.name,
    description: client.description,
    organization: client.organizationId,
    logo_uri: client.logoUri,
    client_uri: client.clientUri,
    policy_uri: client.policyUri,
    tos_uri: client.tosUri,
    runs: client.public ? 'device' : 'server',
    use: USES.filter((use) => uses[use]),
    redirect_uris: client.redirectUris.join('\n'),
    post_logout_redirect_uris: client.postLogoutRedirectUris.join('\n'),
    backchannel_logout_uri: client.backchannelLogoutUri,
    id_token_alg: client.idTokenSigningAlg,
    permission: [...client.permissions],
    exchanged_token_lifetime: String(client.exchangedTokenLifetime ?? USUAL_LIFETIME),
  });
}

/** What the form asks for. */
export function clientOf(sent: AppForm): ClientChanges & { name: string } {
  const has = (use: (typeof USES)[number]) => sent.use.includes(use);
  const { data: idTokenSigningAlg } = Client.shape.idTokenSigningAlg.safeParse(sent.id_token_alg);
  return {
    name: sent.name,
    description: filled(sent.description),
    organizationId: filled(sent.organization),
    logoUri: filled(sent.logo_uri),
    clientUri: filled(sent.client_uri),
    policyUri: filled(sent.policy_uri),
    tosUri: filled(sent.tos_uri),
    backchannelLogoutUri: filled(sent.backchannel_logout_uri),
    redirectUris: linesOf(sent.redirect_uris),
    postLogoutRedirectUris: linesOf(sent.post_logout_redirect_uris),
    public: sent.runs === 'device',
    clientCredentials: has('client_credentials'),
    introspection: has('introspection'),
    trusted: has('trusted'),
    refreshTokenRotation: !has('lasting_refresh_tokens'),
    implicit: has('implicit'),
    ...(idTokenSigningAlg && { idTokenSigningAlg }),
    permissions: sent.permission,
    exchangedTokenLifetime: sent.exchanged_token_lifetime === '' ? undefined : Number(sent.exchanged_token_lifetime),
  };
}

/** Everything that is wrong with it, as far as the form itself tells. */
export function problemsOf(sent: AppForm): Problems {
  const wanted = clientOf(sent);
  const problems: Problems = {
    redirect_uris: uriProblems(sent.redirect_uris),
    post_logout_redirect_uris: uriProblems(sent.post_logout_redirect_uris),
    use: [],
    id_token_alg: sent.id_token_alg === '' || wanted.idTokenSigningAlg !== undefined ? [] : [{ code: 'wrong' }],
  };
  for (const [name, field] of Object.entries(FIELD_OF)) {
    const schema = Client.shape[name as keyof typeof FIELD_OF];
    problems[field] = schema.safeParse(wanted[name as keyof typeof FIELD_OF]).success ? [] : [{ code: 'wrong' }];
  }
  if (wanted.public && (wanted.clientCredentials || wanted.refreshTokenRotation === false))
    problems.use = [{ code: 'wrong' }];
  const signsIn = wanted.implicit || !(wanted.clientCredentials || wanted.introspection);
  if (signsIn && wanted.redirectUris?.length === 0) problems.redirect_uris = [{ code: 'needed' }];
  return Object.fromEntries(Object.entries(problems).filter(([, found]) => found.length > 0));
}

/** What only the parts below can tell. @throws whatever is no fault of the form. */
export function problemsIn(error: unknown): Problems {
  if (error instanceof AppError && error.code === 'invalid_request' && error.field !== undefined)
    return { [error.field]: [{ code: 'wrong' }] };
  throw error;
}

function uriProblems(field: string): Problem[] {
  if (linesOf(field).length > 100) return [{ code: 'too_many' }];
  return field
    .split('\n')
    .map((line, index) => ({ line: index + 1, text: line.trim() }))
    .flatMap((at) => {
      const code = at.text === '' ? undefined : redirectUriFault(at.text);
      return code === undefined ? [] : [{ ...at, code }];
    })
    .slice(0, MOST_LINES_NAMED);
}

function linesOf(field: string): string[] {
  const lines = field.split('\n').map((line) => line.trim());
  return [...new Set(lines.filter((line) => line !== ''))];
}

function filled(field: string): string | undefined {
  return field.trim() || undefined;
}
