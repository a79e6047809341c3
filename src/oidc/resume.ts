/**
 * What is looked at when a person has answered, before the engine goes on with the authorization request. The engine takes the
 * answer as it is; here it is held against what the request demanded, and whoever was signed in before makes room.
 */
import type Koa from 'koa';
import type Provider from 'oidc-provider';
import type { InteractionResults, Session } from 'oidc-provider';
import type { Audit } from '../audit.ts';
import { ignoreNotFound } from '../errors.ts';
import { type DemandParams, essentialAcrs, subjectsDemanded } from './demands.ts';
import type { Sessions } from './sessions.ts';

type Interaction = InstanceType<Provider['Interaction']>;

export interface ResumeOptions {
  audit: Audit;
  endSession: Sessions['end'];
  /** `amr` of a sign-in by the word of an app, in which the person has not answered anything yet. */
  wordOfPartner: string;
}

export function createResume({ audit, endSession, wordOfPartner }: ResumeOptions) {
  /**
   * Ends the session of who was signed in to the browser before. The engine would do it by a page that sends itself to the sign-out,
   * which browsers do not let go on to the app.
   */
  async function makeRoom(ctx: Koa.Context, interaction: Interaction, { accountId = '', uid }: Session): Promise<void> {
    // First, so that the answer outlives what it was begun in, and is still worth something when this stops half-way.
    if (interaction.session) Reflect.deleteProperty(interaction.session, 'uid');
    Reflect.deleteProperty(interaction, 'grantId');
    await interaction.persist();
    await endSession(accountId, uid).catch(ignoreNotFound);
    await audit.record({
      type: 'sign_out',
      accountId,
      address: ctx.ip,
      userAgent: ctx.get('User-Agent') || undefined,
    });
  }

  return async function beforeResume(ctx: Koa.Context, provider: Provider): Promise<void> {
    const uid = ctx.cookies.get(provider.cookieName('resume'), { signed: true });
    const interaction = uid === undefined ? undefined : await provider.Interaction.find(uid);
    if (!interaction?.result || interaction.result.error !== undefined) return;
    const session = await provider.Session.get(ctx as never);
    // Begun in a session that is over: the engine refuses it.
    if (interaction.session?.uid !== undefined && interaction.session.uid !== session.uid) return;

    const refusal = refusalOf(interaction, session.accountId, wordOfPartner);
    if (refusal) {
      interaction.result = refusal;
      await interaction.persist();
      return;
    }
    const { login } = interaction.result;
    if (login && session.accountId !== undefined && session.accountId !== login.accountId)
      await makeRoom(ctx, interaction, session);
  };
}

/** What the app is told when the answer is not what it demanded (OIDC Core §3.1.2.1 `id_token_hint`, §5.5.1). */
function refusalOf(
  { result, params }: Interaction,
  signedIn: string | undefined,
  wordOfPartner: string,
): InteractionResults | undefined {
  const login = result?.login;
  const subject = login?.accountId ?? signedIn;
  const demands = params as DemandParams;
  if (subject !== undefined && !subjectsDemanded(demands).every((allowed) => allowed.includes(subject)))
    return { error: 'login_required', error_description: 'somebody else than the requested person has signed in' };
  const acrs = essentialAcrs(demands);
  if (!login || acrs === undefined || login.amr?.includes(wordOfPartner)) return undefined;
  if (login.acr !== undefined && acrs.includes(login.acr)) return undefined;
  return {
    error: 'unmet_authentication_requirements',
    error_description: `the person has signed in, but not by ${acrs.join(' or ')}`,
  };
}
