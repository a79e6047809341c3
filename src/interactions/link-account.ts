/**
 * Somebody has shown who they are elsewhere, and has no account linked to that: whoever proves an account by its password links it. An
 * e-mail, whoever has verified it, links nothing.
 */
import { hash } from 'node:crypto';
import { z } from 'zod';
import { isYielding } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Audit } from '../audit.ts';
import { AppError } from '../errors.ts';
import { type IdentityProvider, isForSignIn, nameOf } from '../identity-providers/identity-provider.ts';
import { labelOf } from '../identity-providers/link.ts';
import type { ExternalIdentity } from '../identity-providers/provisioning.ts';
import type { SignInMethods } from '../identity-providers/sign-in-methods.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { type createLogin, type LoginForm, type Problem, shownProblem } from './login.ts';
import { actionsOf, type Interaction, type Outcome } from './step.ts';

/** Seconds in which the password must be there. */
const LIFETIME = 15 * 60;

/** Who somebody is elsewhere, kept with the interaction in which they proved it. */
const Waiting = z.object({
  identityProviderId: z.string(),
  subject: z.string(),
  profile: z.object({
    email: z.string().optional(),
    givenName: z.string().optional(),
    familyName: z.string().optional(),
    nickname: z.string().optional(),
  }),
  /** Why there is no account for them. */
  reason: z.enum(['known_email', 'no_email', 'refused']),
});
type Waiting = z.infer<typeof Waiting>;

export interface LinkAccountOptions {
  storage: Storage;
  accounts: Pick<Accounts, 'findByEmail'>;
  findProvider: (id: string) => Promise<IdentityProvider | undefined>;
  methods: Pick<SignInMethods, 'link'>;
  login: ReturnType<typeof createLogin>;
  audit: Audit;
}

export function createLinkAccount({ storage, accounts, findProvider, methods, login, audit }: LinkAccountOptions) {
  const waiting = collection(storage, { kind: 'waiting-link', version: 1, schema: Waiting });
  /** Whoever knows an interaction's uid, and it is in no record, may go on with it. */
  const keyOf = ({ uid }: Interaction) => hash('sha256', uid, 'base64url');

  async function reasonFor({ identityProvider, profile }: ExternalIdentity): Promise<Waiting['reason']> {
    const { email } = profile;
    const holder = email === undefined ? undefined : await accounts.findByEmail(email);
    if (holder && !isYielding(holder)) return 'known_email';
    return identityProvider.newPeople.policy !== 'refuse' && email === undefined ? 'no_email' : 'refused';
  }

  /** @throws {AppError} `interaction_expired` */
  async function getOrFail(
    interaction: Interaction,
  ): Promise<{ identity: ExternalIdentity; reason: Waiting['reason'] }> {
    const kept = await waiting.get(keyOf(interaction));
    const identityProvider = kept && (await findProvider(kept.identityProviderId));
    if (!kept || !identityProvider || !isForSignIn(identityProvider))
      throw new AppError('interaction_expired', 'nobody has shown who they are elsewhere in this sign-in');
    const { subject, profile, reason } = kept;
    return { identity: { identityProvider, subject, profile }, reason };
  }

  return {
    /** Remembers who somebody is elsewhere, and asks them who they are here. */
    async ask(interaction: Interaction, identity: ExternalIdentity): Promise<Outcome> {
      const { identityProvider, subject, profile } = identity;
      const reason = await reasonFor(identity);
      const kept = { identityProviderId: identityProvider.id, subject, profile, reason };
      await waiting.put(keyOf(interaction), kept, { ttl: LIFETIME });
      await audit.record({
        ...interaction.source,
        type: 'sign_in_refused',
        clientId: interaction.client.id,
        detail: { identity_provider: identityProvider.id, problem: 'no account is linked' },
      });
      return { kind: 'leave', url: actionsOf(interaction).linkAction };
    },

    async show(interaction: Interaction): Promise<Outcome> {
      const { identity, reason } = await getOrFail(interaction);
      const email = reason === 'known_email' ? identity.profile.email : interaction.loginHint;
      return linkPage(interaction, { identity, reason, email });
    },

    async submit(interaction: Interaction, form: LoginForm): Promise<Outcome> {
      const { identity, reason } = await getOrFail(interaction);
      return login(interaction, form, {
        async proven(account) {
          await methods.link(account, identity, { ...interaction.source, clientId: interaction.client.id });
          await waiting.delete(keyOf(interaction));
        },
        again: (problem) => linkPage(interaction, { identity, reason, email: form.email, problem }),
      });
    },
  };
}

interface LinkPage {
  identity: ExternalIdentity;
  reason: Waiting['reason'];
  email: string | undefined;
  problem?: Problem;
}

function linkPage(interaction: Interaction, { identity, reason, email, problem }: LinkPage): Outcome {
  const { identityProvider, profile } = identity;
  const { page, data } = shownProblem(problem);
  const { client } = interaction;
  return {
    kind: 'page',
    view: 'interaction/link-account',
    ...page,
    data: {
      ...actionsOf(interaction),
      client,
      reason,
      email,
      label: labelOf(profile),
      ...data,
      provider: nameOf(identityProvider),
    },
  };
}
