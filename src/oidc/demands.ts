/** What an authorization request insists on, by its parameters. They were checked when it was made. */
import { decodeJwt } from 'jose';

export interface DemandParams {
  id_token_hint?: unknown;
  claims?: unknown;
}

/** For each demand the subjects that would meet it (OIDC Core §3.1.2.1 `id_token_hint`, §5.5.1 `sub`). */
export function subjectsDemanded({ id_token_hint: hint, claims }: DemandParams): unknown[][] {
  const { id_token: inIdToken, userinfo } = requested(claims);
  const demands = [inIdToken?.sub, userinfo?.sub].map(valuesOf).filter((values) => values !== undefined);
  return typeof hint === 'string' ? [...demands, [decodeJwt(hint).sub]] : demands;
}

/** The authentication contexts of which one must be reached (OIDC Core §5.5.1.1); undefined when any will do. */
export function essentialAcrs({ claims }: DemandParams): unknown[] | undefined {
  const acr = requested(claims).id_token?.acr;
  return acr?.essential ? valuesOf(acr) : undefined;
}

interface RequestedClaim {
  essential?: unknown;
  value?: unknown;
  values?: unknown;
}
type Requested = Partial<Record<'id_token' | 'userinfo', Record<string, RequestedClaim | null>>>;

function requested(claims: unknown): Requested {
  return typeof claims === 'string' ? (JSON.parse(claims) as Requested) : {};
}

function valuesOf(claim: RequestedClaim | null | undefined): unknown[] | undefined {
  if (Array.isArray(claim?.values)) return claim.values;
  return claim?.value === undefined ? undefined : [claim.value];
}
