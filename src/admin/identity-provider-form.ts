/** The form of an identity provider: as a browser sends it, and what it asks for. */
import { z } from 'zod';
import type { IdentityProvider, NewPeople } from '../identity-providers/identity-provider.ts';
import type { IdentityProviderChanges, NewIdentityProvider } from '../identity-providers/identity-providers.ts';
import type { Kind, Setting } from '../identity-providers/kinds/kind.ts';
import { KIND_NAMES, KINDS, titlesOfKinds } from '../identity-providers/kinds/kinds.ts';

const text = (length: number) => z.string().max(length).default('');

export const IdentityProviderForm = z.object({
  form: text(64),
  id: text(200),
  kind: z.enum(KIND_NAMES).default(KIND_NAMES[0]),
  name: text(200),
  issuer: text(5000),
  base_url: text(5000),
  client_id: text(1000),
  client_secret: text(5000),
  /** A checkbox: there when it is ticked. */
  sign_in: z.literal('yes').optional(),
  people: z.enum(['refuse', 'pending', 'active']).default('refuse'),
  organization: text(100),
});
export type IdentityProviderForm = z.infer<typeof IdentityProviderForm>;

/** What the form says of the kinds. */
export const KINDS_IN_WORDS = {
  choices: KIND_NAMES.map((name) => ({ name, title: KINDS[name].title })),
  withIssuer: titlesOfKinds('issuer', 'required', 'optional'),
  withoutBaseUrl: titlesOfKinds('baseUrl', 'unused'),
  baseUrls: Object.values<Kind>(KINDS).flatMap(({ settings: { baseUrl } }) => exampleOf(baseUrl) ?? []),
};

function exampleOf(setting: Setting): string | undefined {
  return setting.use === 'optional' ? setting.example : undefined;
}

/** What people call providers that have no name of their own. */
export const BRANDS = Object.values<Kind>(KINDS).flatMap(({ brand }) => brand ?? []);

/** Without the secret, which is not shown again. */
export function fillFromProvider(provider: IdentityProvider): IdentityProviderForm {
  const { id, kind, name, issuer, baseUrl, clientId, signIn, newPeople } = provider;
  return IdentityProviderForm.parse({
    id,
    kind,
    name,
    issuer,
    base_url: baseUrl,
    client_id: clientId,
    sign_in: signIn ? 'yes' : undefined,
    people: newPeople.policy,
    organization: newPeople.policy === 'refuse' ? undefined : newPeople.organizationId,
  });
}

export function newProviderOf(sent: IdentityProviderForm): NewIdentityProvider {
  const { kind, issuer, base_url: baseUrl } = sent;
  return { id: sent.id.trim(), kind, issuer: filled(issuer), baseUrl: filled(baseUrl), ...changesOf(sent) };
}

/** An empty secret leaves the one that is there. */
export function changesOf(sent: IdentityProviderForm): IdentityProviderChanges {
  return {
    name: filled(sent.name),
    clientId: filled(sent.client_id),
    signIn: sent.sign_in === 'yes',
    newPeople: newPeopleOf(sent),
    ...(sent.client_secret === '' ? {} : { clientSecret: sent.client_secret }),
  };
}

function newPeopleOf({ people, organization }: IdentityProviderForm): NewPeople {
  return people === 'refuse' ? { policy: people } : { policy: people, organizationId: filled(organization) };
}

function filled(field: string): string | undefined {
  return field.trim() || undefined;
}
