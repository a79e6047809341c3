/**
 * Browsers, and what is on the way, may hide where a form comes from. Every form of the consoles therefore carries what only a page
 * of the same browser session can have: another site's page cannot read ours. Nothing of it is stored.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';

/** The field that carries it. */
export const FORM_TOKEN = 'form_token';

const Proof = z.object({ [FORM_TOKEN]: z.string() });

export interface FormTokens {
  /** The page as HTML, whose forms prove that the session has seen it. */
  intoForms(page: string, session: string): string;
  /** Whether who sent this has seen a page of the session. */
  prove(body: unknown, session: string): boolean;
}

/** @param options.keys The first proves, all are accepted. */
export function createFormTokens({ keys }: { keys: readonly Uint8Array[] }): FormTokens {
  const tokensOf = (session: string) =>
    keys.map((key) => createHmac('sha256', key).update(session).digest('base64url'));

  return {
    intoForms(page, session) {
      const [token] = tokensOf(session);
      // What people have written is escaped, so these are our own; and no form of ours leads to another site.
      return page.replace(
        /<form\b[^>]*\bmethod="post"[^>]*>/g,
        `$&<input type="hidden" name="${FORM_TOKEN}" value="${token}">`,
      );
    },

    prove(body, session) {
      const sent = Proof.safeParse(body).data?.[FORM_TOKEN];
      return sent !== undefined && tokensOf(session).some((token) => isEqual(sent, token));
    },
  };
}

function isEqual(sent: string, token: string): boolean {
  const [a, b] = [Buffer.from(sent), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}
