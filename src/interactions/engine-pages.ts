import type { KoaContextWithOIDC } from 'oidc-provider';
import { cleanLine } from '../accounts/text.ts';
import { redirectUriFault } from '../clients/redirect-uri.ts';
import type { ErrorAnswers } from '../http/errors.ts';
import type { Views } from '../http/views.ts';
import { ROUTES } from '../oidc/protocol.ts';
import type { EnginePages } from '../oidc/provider.ts';
import { siteOf } from './descriptions.ts';
import type { WaitingClient } from './step.ts';

export interface EnginePagesOptions {
  views: Views;
  errors: ErrorAnswers;
  findClient: (clientId: string) => Promise<WaitingClient | undefined>;
  findAccount: (accountId: string) => Promise<{ name: string; email: string; locale?: string | undefined } | undefined>;
}

/** Our pages in place of the engine's own. */
export function enginePages({ views, errors, findClient, findAccount }: EnginePagesOptions): EnginePages {
  const clientOf = ({ oidc }: KoaContextWithOIDC) => (oidc.client ? findClient(oidc.client.clientId) : undefined);

  /** A redirect URI that is not registered: which one, and at whose app. Shown as text, and never gone to. */
  async function mismatchIn(ctx: KoaContextWithOIDC, { name }: Error): Promise<string | undefined> {
    const sent = ctx.oidc.params?.redirect_uri;
    const client = name === 'InvalidRedirectUri' ? await clientOf(ctx) : undefined;
    if (typeof sent !== 'string' || !client) return undefined;
    // What no app could register may be there to be run: its scheme says enough.
    const isOfNoApp = redirectUriFault(sent) === 'scheme';
    const uri = isOfNoApp
      ? `of the scheme ${URL.parse(sent)?.protocol.slice(0, -1)}`
      : JSON.stringify(cleanLine(sent, 300));
    return `redirect_uri ${uri} is not registered for the app ${JSON.stringify(client.name)}; every character counts`;
  }

  return {
    async error(ctx, out, cause) {
      const code = CODE_OF_ERROR[cause.name] ?? out.error;
      await errors.renderPage(ctx, {
        code,
        status: ctx.status,
        detail: (await mismatchIn(ctx, cause)) ?? out.error_description,
        cause: ctx.status >= 500 ? cause : undefined,
        wayOn: ctx.oidc.route === 'end_session_confirm' ? { href: ROUTES.end_session } : siteOf(await clientOf(ctx)),
      });
    },

    async logout(ctx, { action, xsrf }) {
      const { session } = ctx.oidc;
      const account = session?.accountId === undefined ? undefined : await findAccount(session.accountId);
      ctx.state.profileLocale = account?.locale;
      await views.render(ctx, 'interaction/logout', {
        action,
        xsrf,
        client: await clientOf(ctx),
        account,
        isUnverified: ctx.state.isUnverified,
      });
    },

    async nobodySignedIn(ctx, { action, xsrf }) {
      await views.render(ctx, 'interaction/nobody-signed-in', {
        action,
        xsrf,
        client: await clientOf(ctx),
        goesBack: ctx.oidc.params?.post_logout_redirect_uri !== undefined,
      });
    },

    async loggedOut(ctx) {
      await views.render(ctx, 'interaction/logged-out', { client: await clientOf(ctx) });
    },
  };
}

/** Failures that the error page has words of its own for, by the engine's class name. */
const CODE_OF_ERROR: Record<string, string> = {
  InvalidRedirectUri: 'redirect_uri_mismatch',
  SessionNotFound: 'interaction_expired',
};
