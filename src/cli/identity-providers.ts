/** `latchkey identity-provider …` */
import type { Core } from '../core.ts';
import { noSuch } from '../errors.ts';
import type { IdentityProvider, NewPeople } from '../identity-providers/identity-provider.ts';
import type { IdentityProviderChanges, NewIdentityProvider } from '../identity-providers/identity-providers.ts';
import { KIND_NAMES, titlesOfKinds } from '../identity-providers/kinds/kinds.ts';
import { addListOptions, addSettings, chosen, type ListOptions, oneOf, type Setting, saidOf } from './settings.ts';
import type { Result, Shell } from './shell.ts';

const SETTINGS: readonly Setting[] = [
  { flag: 'kind <kind>', about: oneOf(KIND_NAMES), needed: true, fixed: true },
  {
    flag: 'issuer <url>',
    about: `of ${oneOf(titlesOfKinds('issuer', 'required'))}, exactly as it calls itself`,
    fixed: true,
  },
  {
    flag: 'base-url <url>',
    about: `another place of ${oneOf(titlesOfKinds('baseUrl', 'optional'))}: a host of your own, a test double`,
    fixed: true,
  },
  { flag: 'client-id <id>', about: 'that we have there' },
  { flag: 'client-secret <secret>' },
  { flag: 'name <name>', about: 'what people call it on the sign-in page' },
  {
    flag: 'sign-in',
    about: 'offered on the sign-in page; without it, it is for apps that exchange tokens only',
    on: true,
  },
];

interface NewPeopleOptions {
  newPeople?: NewPeople['policy'];
  organization?: string | false;
}

export function identityProviderCommands({ program, on }: Shell): void {
  const provider = program.command('identity-provider').description('systems elsewhere that say who people are');
  addSettings(provider.command('create <id>').description('make an identity provider'), SETTINGS, 'create')
    .option('--new-people <policy>', 'who have no account yet: refuse, pending or active')
    .option('--organization <id>', 'of new people')
    .action(
      on(async ({ identityProviders }, id: string, options: NewPeopleOptions & Record<string, unknown>) => {
        const said = saidOf<Omit<NewIdentityProvider, 'id'>>(options, SETTINGS);
        const made = await identityProviders.create({ ...said, id, ...newPeopleIn(options) });
        return { id: made.id };
      }),
    );
  addListOptions(provider.command('list').description('list identity providers')).action(
    on(async ({ identityProviders }, options: ListOptions) => {
      const { after } = options;
      const all = (await identityProviders.list()).filter(({ id }) => after === undefined || id > after);
      return (await chosen(all, options, ({ id, name, issuer, baseUrl }) => [id, name, issuer, baseUrl])).map(shown);
    }),
  );
  provider
    .command('show <id>')
    .description('show an identity provider')
    .action(on(async ({ identityProviders }, id: string) => shown(await getOrFail(identityProviders, id))));
  addSettings(provider.command('update <id>').description('change an identity provider'), SETTINGS, 'update')
    .option('--new-people <policy>', 'who have no account yet: refuse, pending or active')
    .option('--organization <id>', 'of new people')
    .option('--no-organization')
    .action(
      on(async ({ identityProviders }, id: string, options: NewPeopleOptions & Record<string, unknown>) => {
        const { newPeople } = await getOrFail(identityProviders, id);
        const said = saidOf<IdentityProviderChanges>(options, SETTINGS);
        return shown(await identityProviders.update(id, { ...said, ...newPeopleIn(options, newPeople) }));
      }),
    );
  for (const [verb, run, status] of [
    ['disable', 'disable', 'disabled'],
    ['enable', 'enable', 'active'],
    ['delete', 'remove', 'deleted'],
  ] as const) {
    provider
      .command(`${verb} <id>`)
      .description(`${verb} an identity provider`)
      .action(
        on(async ({ identityProviders }, id: string) => {
          const known = await getOrFail(identityProviders, id);
          await identityProviders[run](id);
          return { id: known.id, status };
        }),
      );
  }
}

/** Policy and organization are one setting; what is not said of it stays. */
function newPeopleIn({ newPeople: policy, organization }: NewPeopleOptions, known?: NewPeople) {
  if (policy === undefined && organization === undefined) return {};
  const earlier = known && known.policy !== 'refuse' ? known.organizationId : undefined;
  const organizationId = organization === undefined ? earlier : organization || undefined;
  const wanted = policy ?? known?.policy ?? 'refuse';
  return { newPeople: wanted === 'refuse' ? { policy: wanted } : { policy: wanted, organizationId } };
}

async function getOrFail(identityProviders: Core['identityProviders'], id: string): Promise<IdentityProvider> {
  const provider = await identityProviders.get(id);
  if (!provider) throw noSuch('identity provider', id);
  return provider;
}

/** Never the secret. */
function shown(provider: IdentityProvider): Result {
  const { newPeople } = provider;
  return {
    id: provider.id,
    kind: provider.kind,
    name: provider.name,
    status: provider.disabledAt === undefined ? 'active' : 'disabled',
    issuer: provider.issuer,
    base_url: provider.baseUrl,
    client_id: provider.clientId,
    has_client_secret: provider.sealedSecret !== undefined,
    sign_in: provider.signIn,
    new_people: newPeople.policy,
    organization: newPeople.policy === 'refuse' ? undefined : newPeople.organizationId,
    created_at: provider.createdAt,
    updated_at: provider.updatedAt,
  };
}
