/** Whether an identity provider can be used as it is set up, and which setting is wrong when not: for the administrator who sets it up. */
import type { Outbound, OutboundError } from '../outbound/outbound.ts';
import type { ProviderClient } from './circuit-breaker.ts';
import type { IdentityProvider } from './identity-provider.ts';
import type { IdentityProviders } from './identity-providers.ts';
import type { Finding } from './kinds/kind.ts';
import { KINDS } from './kinds/kinds.ts';

export interface ConnectionTest {
  /** Takes as long as the slowest of a few answers, of which none takes long. */
  run(identityProvider: IdentityProvider): Promise<Finding[]>;
}

export interface ConnectionTestParts {
  request: Outbound;
  secretOf: IdentityProviders['secretOf'];
}

export function createConnectionTest({ request, secretOf }: ConnectionTestParts): ConnectionTest {
  /** Asked whatever went wrong before, and any answer is one. */
  const ask: ProviderClient = async (url, init) => {
    const response = await request(url, init);
    return { status: response.status, body: await response.json().catch(() => undefined) };
  };

  return {
    async run(identityProvider) {
      const secret = () => secretOf(identityProvider);
      const findings: Finding[] = [];
      try {
        const steps = KINDS[identityProvider.kind].testConnection({ identityProvider, ask, secret });
        for await (const finding of steps) findings.push(finding);
      } catch (error) {
        findings.push({ tried: nextAfter(findings), result: failureOf(error) });
      }
      return findings;
    },
  };
}

/** What was being tried when something failed. */
function nextAfter(findings: readonly Finding[]): Finding['tried'] {
  const last = findings.at(-1)?.tried;
  if (last === undefined) return 'address';
  return last === 'keys' ? 'credentials' : 'keys';
}

/** What came and could not be used is wrong; for what did not come, the way there says why. */
function failureOf(error: unknown): Finding['result'] {
  const { reason } = error as Partial<OutboundError>;
  if (reason === undefined) return 'wrong';
  return reason === 'forbidden' ? 'forbidden' : 'unreachable';
}
