/**
 * Identity providers and what is done with them. Owns their records and the secrets that we have there, which are sealed.
 * Knows neither tokens nor the people who come from there.
 */
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import type { Audit, Origin } from '../audit.ts';
import { AppError, noSuch } from '../errors.ts';
import { parseInput } from '../input.ts';
import type { Sealing } from '../secrets/sealing.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { IdentityProvider, NewPeople } from './identity-provider.ts';
import type { SettingName } from './kinds/kind.ts';
import { KINDS } from './kinds/kinds.ts';

const Secret = z.string().min(1, 'must not be empty').max(2000, 'is too long');

const NewIdentityProvider = IdentityProvider.pick({
  id: true,
  kind: true,
  name: true,
  signIn: true,
  issuer: true,
  baseUrl: true,
  clientId: true,
}).extend({ clientSecret: Secret.optional(), newPeople: NewPeople.default({ policy: 'refuse' }) });
export type NewIdentityProvider = z.input<typeof NewIdentityProvider>;

/** What is present but undefined is removed; whatever is absent stays. Kind, issuer and base URL say who people are, and never change. */
const IdentityProviderChanges = IdentityProvider.pick({ name: true, clientId: true }).extend({
  clientSecret: Secret.optional(),
  signIn: z.boolean().optional(),
  newPeople: NewPeople.optional(),
});
export type IdentityProviderChanges = z.input<typeof IdentityProviderChanges>;

export interface IdentityProviders {
  /** @throws {AppError} `conflict` when the id is taken, in whatever case; `invalid_request` naming the field. */
  create(input: NewIdentityProvider, origin?: Origin): Promise<IdentityProvider>;
  /** The provider, also when disabled. Its id may be spelled in any case. */
  get(id: string): Promise<IdentityProvider | undefined>;
  /** The provider when its word counts now. */
  findActive(id: string): Promise<IdentityProvider | undefined>;
  /** In the order of their ids. */
  list(): Promise<IdentityProvider[]>;
  /** @throws {AppError} `not_found`, or `invalid_request` naming the field. */
  update(id: string, changes: IdentityProviderChanges, origin?: Origin): Promise<IdentityProvider>;
  /** @throws {AppError} `not_found` */
  disable(id: string, origin?: Origin): Promise<void>;
  /** @throws {AppError} `not_found` */
  enable(id: string, origin?: Origin): Promise<void>;
  /** Forgets the provider and who people are there. @throws {AppError} `not_found` */
  remove(id: string, origin?: Origin): Promise<void>;
  /** The secret that we have there. @throws {AppError} `server_error` when it cannot be read. */
  secretOf(identityProvider: IdentityProvider): Promise<string | undefined>;
  /** Seals every secret anew, so that an old secret key can go. Safe to repeat. */
  reseal(): Promise<void>;
}

export interface IdentityProvidersOptions {
  storage: Storage;
  now: () => number;
  audit: Audit;
  sealing: Sealing;
  /** Undefined when there is no such organization. */
  organizationName(id: string): Promise<string | undefined>;
  /** Forgets who people are at a provider; called again after a crash. */
  forgetLinks(identityProviderId: string): Promise<void>;
}

const ALL = 'identity-providers';

export function createIdentityProviders(options: IdentityProvidersOptions): IdentityProviders {
  const { storage, now, audit, sealing } = options;
  const providers = collection(storage, { kind: 'identity-provider', version: 1, schema: IdentityProvider });
  /** By what is sealed: opening it takes longer than all the rest. */
  const opened = new LRUCache<string, string>({ max: 100 });

  const get = (id: string) => providers.get(id.toLowerCase());

  async function checkOrganization(newPeople: NewPeople | undefined): Promise<void> {
    if (newPeople === undefined || newPeople.policy === 'refuse' || newPeople.organizationId === undefined) return;
    const { organizationId: id } = newPeople;
    if ((await options.organizationName(id)) === undefined)
      throw new AppError('invalid_request', `there is no organization ${JSON.stringify(id)}`, {
        field: 'organization',
      });
  }

  async function change(id: string, next: (provider: IdentityProvider) => IdentityProvider): Promise<IdentityProvider> {
    const changed = await providers.update(id.toLowerCase(), (provider) => ({ ...next(provider), updatedAt: now() }));
    if (!changed) throw noSuch('identity provider', id);
    return changed;
  }

  const record = (identityProvider: string, what: string, origin: Origin) =>
    audit.record({ ...origin, type: 'administration', detail: { identity_provider: identityProvider, change: what } });

  return {
    get,

    async findActive(id) {
      const provider = await get(id);
      return provider?.disabledAt === undefined ? provider : undefined;
    },

    list: () => Array.fromAsync(providers.all(ALL)),

    async create(input, origin = {}) {
      const { clientSecret, ...wanted } = parseInput(NewIdentityProvider, input);
      checkSettings(wanted, clientSecret);
      await checkOrganization(wanted.newPeople);
      const provider: IdentityProvider = {
        ...wanted,
        ...(clientSecret === undefined ? {} : { sealedSecret: await sealing.seal(clientSecret) }),
        epoch: 0,
        createdAt: now(),
        updatedAt: now(),
      };
      const { id, kind } = provider;
      if (!(await providers.insert(id.toLowerCase(), provider, { groups: [ALL] })))
        throw new AppError('conflict', 'there is an identity provider with this id already', { field: 'id' });
      await audit.record({ ...origin, type: 'identity_provider_created', detail: { id, kind } });
      return provider;
    },

    async update(id, input, origin = {}) {
      const { clientSecret, signIn, newPeople, ...changes } = parseInput(IdentityProviderChanges, input);
      await checkOrganization(newPeople);
      const sealedSecret = clientSecret === undefined ? undefined : await sealing.seal(clientSecret);
      const changed = await change(id, (provider) => {
        const next = {
          ...provider,
          ...changes,
          signIn: signIn ?? provider.signIn,
          newPeople: newPeople ?? provider.newPeople,
          sealedSecret: 'clientSecret' in input ? sealedSecret : provider.sealedSecret,
        };
        checkSettings(next, next.sealedSecret);
        return next;
      });
      await record(changed.id, Object.keys(input).join(' '), origin);
      return changed;
    },

    async disable(id, origin = {}) {
      await change(id, (provider) => ({
        ...provider,
        disabledAt: provider.disabledAt ?? now(),
        epoch: provider.epoch + 1,
      }));
      await record(id, 'disabled', origin);
    },

    async enable(id, origin = {}) {
      await change(id, ({ disabledAt: _, ...provider }) => provider);
      await record(id, 'enabled', origin);
    },

    async remove(id, origin = {}) {
      const provider = await change(id, (current) => ({ ...current, disabledAt: current.disabledAt ?? now() }));
      await options.forgetLinks(provider.id);
      await record(provider.id, 'deleted', origin);
      await providers.delete(id.toLowerCase());
    },

    async reseal() {
      for await (const { id, sealedSecret } of providers.all(ALL)) {
        if (sealedSecret === undefined) continue;
        const anew = await sealing.seal(await sealing.open(sealedSecret));
        await providers.update(id.toLowerCase(), (provider) =>
          provider.sealedSecret === sealedSecret ? { ...provider, sealedSecret: anew } : undefined,
        );
      }
    },

    async secretOf({ sealedSecret }) {
      if (sealedSecret === undefined) return undefined;
      const known = opened.get(sealedSecret);
      if (known !== undefined) return known;
      const secret = await sealing.open(sealedSecret);
      opened.set(sealedSecret, secret);
      return secret;
    },
  };
}

/** How a setting is called where it is made. */
const FIELDS = {
  issuer: 'issuer',
  baseUrl: 'base_url',
  clientId: 'client_id',
  clientSecret: 'client_secret',
} as const satisfies Record<SettingName, string>;

/** What a kind cannot do without, and what would have no effect. */
function checkSettings(
  { kind, issuer, baseUrl, clientId }: Pick<IdentityProvider, 'kind' | 'issuer' | 'baseUrl' | 'clientId'>,
  clientSecret: string | undefined,
): void {
  const values = { issuer, baseUrl, clientId, clientSecret };
  for (const name of Object.keys(FIELDS) as SettingName[]) {
    const setting = KINDS[kind].settings[name];
    const isSet = values[name] !== undefined;
    if (setting.use !== 'optional' && (setting.use === 'required') !== isSet)
      throw invalid(FIELDS[name], setting.because);
  }
  if (clientSecret !== undefined && clientId === undefined)
    throw invalid('client_id', 'a secret needs the id that it goes with');
}

function invalid(field: string, problem: string): AppError {
  return new AppError('invalid_request', `${field}: ${problem}`, { field });
}
