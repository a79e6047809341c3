/**
 * The steps of a sign-in: functions from what a person sent to an outcome, tested without HTTP. Owns the words shared by all
 * steps; knows neither Koa nor how an outcome is performed.
 */
import type { InteractionResults } from 'oidc-provider';
import type { OfferedProvider } from '../identity-providers/upstream-sign-in.ts';

/** The app that waits for the person, as its pages show it. */
export interface WaitingClient {
  id: string;
  name: string;
  logoUri?: string | undefined;
  clientUri?: string | undefined;
  clientHost?: string | undefined;
  policyUri?: string | undefined;
  tosUri?: string | undefined;
  firstParty: boolean;
}

/** One interaction of the engine: what it asks for and who is there. */
export interface Interaction {
  uid: string;
  prompt: 'login' | 'select_account' | 'consent';
  client: WaitingClient;
  /** Who is signed in, if anybody, and under which epoch of theirs. */
  account?: { id: string; name: string; email: string; epoch: number } | undefined;
  /** The identity providers that may be signed in with for this request. */
  providers: readonly OfferedProvider[];
  /** The request wants the person to show who they are now, whoever is signed in where (OIDC Core §3.1.2.1 `prompt`, `max_age`). */
  mustBeFresh: boolean;
  /** `login_hint` of the request (OIDC Core §3.1.2.1). */
  loginHint?: string | undefined;
  /** Where the request comes from, for throttling and the audit trail. */
  source: { address: string; userAgent?: string };
  /** What the browser keeps of earlier sign-ins. */
  keptByBrowser?: string | undefined;
}

export type Outcome =
  | {
      kind: 'page';
      view: string;
      status?: number;
      data: Record<string, unknown>;
      retryAfter?: number;
      /** Where else the forms of the page may end. */
      formTargets?: readonly string[];
    }
  /** The person goes elsewhere, and comes back to this interaction. */
  | { kind: 'leave'; url: string }
  | { kind: 'finish'; result: InteractionResults };

/** Where the forms of an interaction's pages go. */
export const actionsOf = ({ uid }: Pick<Interaction, 'uid'>) => ({
  action: `/interaction/${uid}`,
  cancelAction: `/interaction/${uid}/cancel`,
  providerAction: `/interaction/${uid}/provider`,
  linkAction: `/interaction/${uid}/link`,
});
