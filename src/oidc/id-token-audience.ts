import { decodeJwt } from 'jose';
import type Provider from 'oidc-provider';
import type { Client, KoaContextWithOIDC } from 'oidc-provider';

/**
 * Our ID tokens carry `aud` as an array with exactly the client id (OIDC Core §2 allows both forms; existing clients read the
 * array), and logout tokens, whose audience apps check as they check that of an ID token (Back-Channel Logout §2.6), do as
 * well. The engine writes a string, so the client it signs for is shown to it with the array as its id; and an array
 * is understood where the engine reads one of its own ID tokens back.
 */
export function issueAudienceAsArray(provider: Provider): void {
  const EngineIdToken = provider.IdToken;
  // The engine looks settings up by this class name.
  class IdToken extends EngineIdToken {
    override async issue(options: Parameters<InstanceType<typeof EngineIdToken>['issue']>[0]): Promise<string> {
      if (options.use !== 'idtoken' && options.use !== 'logout') return super.issue(options);
      const { client } = this;
      const shown = Object.create(client, { clientId: { value: [client.clientId] } }) as Client;
      return super.issue.call(Object.create(this, { client: { value: shown } }), options);
    }
  }
  Object.defineProperty(provider, 'IdToken', { value: IdToken });

  const find = provider.Client.find.bind(provider.Client);
  provider.Client.find = async (id, ...rest) => find(onlyElement(id) ?? id, ...rest);
}

/**
 * Lets `client_id` and `id_token_hint` stand side by side at the logout endpoint (RP-Initiated Logout §2): the engine compares
 * them as strings, so an equal pair is reduced to the hint, which it verifies.
 */
export function acceptHintWithClientId(ctx: KoaContextWithOIDC): void {
  const { id_token_hint: hint, client_id: clientId } = ctx.query;
  if (typeof hint !== 'string' || typeof clientId !== 'string') return;
  if (hintedClientId(hint) !== clientId) return;
  const { client_id: _, ...query } = ctx.query;
  ctx.query = query;
}

/** The app that a hint says it was issued to. Nothing is verified here. */
export function hintedClientId(hint: string): string | undefined {
  try {
    return onlyElement(decodeJwt(hint).aud);
  } catch {
    return undefined;
  }
}

function onlyElement(value: unknown): string | undefined {
  return Array.isArray(value) && value.length === 1 && typeof value[0] === 'string' ? value[0] : undefined;
}
