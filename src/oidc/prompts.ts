import type { KoaContextWithOIDC } from 'oidc-provider';
import { interactionPolicy } from 'oidc-provider';
import { subjectsDemanded } from './demands.ts';

const { Check, Prompt, base } = interactionPolicy;

/** What of a request its grant has, or lacks: scopes, and claims asked for one by one (OIDC Core §5.5). */
export interface Requested {
  scopes: string[];
  claims: string[];
}

/** What the prompts ask about a request. */
export interface PromptPolicy extends ConsentPolicy {
  /** Refuses a request that nobody here may make. @throws an error of the engine. */
  assertOwn(ctx: KoaContextWithOIDC): Promise<void>;
}

export interface ConsentPolicy {
  /** Whether anybody's answer is needed: not for an app of our own, even if it asks for the page. */
  isNeeded(ctx: KoaContextWithOIDC): Promise<boolean>;
  /** What is asked for and may be had. */
  requested(ctx: KoaContextWithOIDC): Promise<Requested>;
  /** What of it nobody has allowed yet. */
  missing(ctx: KoaContextWithOIDC): Promise<Requested>;
}

/** Somebody signed in, and was suspended before the app got its answer. */
const accountGone = new Check('account_gone', 'the account may not sign in', 'login_required', ({ oidc }) => {
  return oidc.session?.accountId !== undefined && oidc.account === undefined;
});

/** The engine knows one value, in the ID token; any of several, and userinfo, may be named as well (OIDC Core §5.5.1). */
const otherSubject = new Check('subject', 'somebody else is signed in', 'login_required', ({ oidc }) => {
  const { session, params } = oidc;
  const subject = session?.accountId;
  return subject !== undefined && !subjectsDemanded(params ?? {}).every((allowed) => allowed.includes(subject));
});

/**
 * The engine's own prompts, with account choice before them and consent decided by us: a scope beyond what the account holds
 * or the app may ask for is not asked about, it is simply not granted.
 */
export function createPrompts(consent: PromptPolicy): interactionPolicy.DefaultPolicy {
  const policy = base();
  const native = policy.get('consent')?.checks.get('native_client_prompt');
  if (!native) throw new Error('the engine has no check for native apps');
  const missing = new Check('consent_missing', 'the person has not been asked yet', 'consent_required', async (ctx) => {
    const { scopes, claims } = await consent.missing(ctx);
    return scopes.length + claims.length > 0;
  });
  const wanted = new Check(
    'consent_prompt',
    'the app wants the person to be asked',
    'consent_required',
    async (ctx) => {
      const { oidc } = ctx;
      return oidc.prompts.has('consent') && oidc.promptPending('consent') && (await consent.isNeeded(ctx));
    },
  );
  const own = new Check('not_own', 'nobody here may ask this', 'access_denied', async (ctx) => {
    await consent.assertOwn(ctx);
    return false;
  });
  for (const check of [accountGone, otherSubject]) policy.get('login')?.checks.add(check);
  policy.add(new Prompt({ name: 'select_account', requestable: true }, own), 0);
  policy.remove('consent');
  const details = async (ctx: KoaContextWithOIDC) => ({ ...(await consent.requested(ctx)) });
  const prompt = new Prompt({ name: 'consent', requestable: true }, details, native, missing);
  prompt.checks.remove('consent_prompt');
  prompt.checks.add(wanted, 0);
  policy.add(prompt);
  return policy;
}
