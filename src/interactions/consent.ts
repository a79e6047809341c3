import { z } from 'zod';
import type { Audit } from '../audit.ts';
import { scopeOfClaim } from '../oidc/claims.ts';
import type { Requested } from '../oidc/prompts.ts';
import { showLogin } from './login.ts';
import { actionsOf, type Interaction, type Outcome } from './step.ts';

export const DecisionForm = z.object({ decision: z.enum(['allow', 'deny', 'switch'], 'must be allow or deny') });

/** A scope in words: of OpenID Connect from the catalogue, of a permission from its administrator. */
export interface DescribedScope {
  name: string;
  description?: string;
}

export interface ConsentParts {
  describe(names: readonly string[]): Promise<DescribedScope[]>;
  /** Remembers what was allowed; it is granted from that. */
  remember(allowed: { accountId: string; clientId: string; epoch: number } & Requested): Promise<void>;
  audit: Audit;
}

export function createConsent({ describe, remember, audit }: ConsentParts) {
  return {
    async show(interaction: Interaction, request: Requested): Promise<Outcome> {
      const scopes = await describe(withScopesOfClaims(request));
      const { client, account } = interaction;
      return {
        kind: 'page',
        view: 'interaction/consent',
        data: { ...actionsOf(interaction), client, account, scopes },
      };
    },

    /** Grants what was asked, whatever else the form may carry. */
    async decide(
      interaction: Interaction,
      request: Requested,
      { decision }: z.infer<typeof DecisionForm>,
    ): Promise<Outcome> {
      const { account, client, source } = interaction;
      if (decision === 'switch' || !account) return showLogin(interaction, { email: '' });
      const answer = { accountId: account.id, clientId: client.id };
      const { epoch } = account;
      const event = { ...answer, ...source, detail: { scope: request.scopes.join(' ') } };
      if (decision === 'deny') {
        await audit.record({ type: 'consent_denied', ...event });
        return { kind: 'finish', result: { error: 'access_denied', error_description: 'the person refused' } };
      }
      await audit.record({ type: 'consent_granted', ...event });
      await remember({ ...answer, epoch, ...request });
      return { kind: 'finish', result: { consent: {} } };
    },
  };
}

/** A claim asked for by itself is shown as the scope it belongs to. */
function withScopesOfClaims({ scopes, claims }: Requested): string[] {
  const implied = claims.map(scopeOfClaim).filter((scope) => scope !== undefined);
  return [...new Set([...scopes, ...implied])];
}
