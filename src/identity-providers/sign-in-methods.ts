/**
 * The identity providers that a person signs in with: linking one, which is told by mail, and unlinking, which never leaves a person
 * without a way in. Knows nothing of how people prove who they are there.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { type Account, counts } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Origin } from '../audit.ts';
import { AppError, noSuch } from '../errors.ts';
import type { Mail } from '../mail/mail.ts';
import type { Notice } from '../mail/notice.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { isForSignIn, nameOf } from './identity-provider.ts';
import type { IdentityProviders } from './identity-providers.ts';
import { KINDS } from './kinds/kinds.ts';
import { type Link, labelOf } from './link.ts';
import { type Links, personKey } from './links.ts';
import type { ExternalIdentity } from './provisioning.ts';

/** Seconds that unlinking may take. */
const LEASE = 5;

/** A linked identity, as its person sees it. */
export interface SignInMethod {
  key: string;
  /** Undefined when the provider is gone. */
  provider: { id: string; name: string; mark: string } | undefined;
  /** What the person is called there. */
  label: string | undefined;
  since: number;
  /** Whether it lets the person in now. */
  usable: boolean;
}

export interface SignInMethods {
  /** Oldest first. */
  list(accountId: string): Promise<SignInMethod[]>;
  /**
   * Repeating it is fine.
   * @param account As it was when its person proved who they are.
   * @throws {AppError} `conflict` when that person has another account here; `login_required` when that proof has ended meanwhile.
   */
  link(account: Account, identity: ExternalIdentity, origin: Origin): Promise<void>;
  /**
   * Also ends the other sessions, since another person may have come in with it.
   * @throws {AppError} `not_found` when it is not this account's; `conflict` when it is the only way in, or another is being unlinked.
   */
  unlink(account: Account, key: string, options: { keepSession: string; origin: Origin }): Promise<void>;
}

export interface SignInMethodsOptions {
  storage: Storage;
  now: () => number;
  links: Pick<Links, 'add' | 'find' | 'list' | 'remove' | 'settle' | 'unsettle'>;
  identityProviders: Pick<IdentityProviders, 'get'>;
  findAccount: Accounts['findActive'];
  endProven: Accounts['endProven'];
  send: Mail['send'];
  /** What a User-Agent says, in words. */
  deviceInWords: (userAgent: string | undefined) => string | undefined;
}

export function createSignInMethods(options: SignInMethodsOptions): SignInMethods {
  const { storage, now, links, identityProviders, findAccount, endProven, send, deviceInWords } = options;
  const leases = collection(storage, { kind: 'unlinking', version: 1, schema: z.literal(true) });

  async function methodOf(link: Link): Promise<SignInMethod> {
    const provider = await identityProviders.get(link.identityProviderId);
    return {
      key: personKey(link),
      provider: provider && { id: provider.id, name: nameOf(provider), mark: KINDS[provider.kind].mark },
      label: link.label,
      since: link.createdAt,
      usable: provider !== undefined && isForSignIn(provider),
    };
  }

  async function list(accountId: string): Promise<SignInMethod[]> {
    return Promise.all((await links.list(accountId)).map(methodOf));
  }

  async function tell(account: Account, kind: 'identity_linked' | 'identity_unlinked', what: What): Promise<void> {
    if (account.email === '') return;
    const { provider, label, origin } = what;
    const { address = '', userAgent } = origin;
    const device = deviceInWords(userAgent);
    const notice: Notice = {
      kind,
      provider,
      ...(label === undefined ? {} : { label }),
      at: now(),
      ...(isIP(address) ? { address } : {}),
      ...(device ? { device } : {}),
    };
    const { id: accountId, email: to, locale, zoneinfo } = account;
    await send({ to, accountId, locale, zoneinfo, notice });
  }

  /** @throws {AppError} as `unlink` does. */
  async function removable(account: Account, key: string): Promise<{ method: SignInMethod; link: Link }> {
    const methods = await list(account.id);
    const method = methods.find((one) => one.key === key);
    const link = (await links.list(account.id)).find((one) => personKey(one) === key);
    if (!method || !link) throw noSuch('link', key);
    const others = methods.some((one) => one.key !== key && one.usable);
    if (account.passwordHash === undefined && !others)
      throw new AppError('conflict', 'this is the only way to sign in to the account', { field: 'only_way_in' });
    return { method, link };
  }

  return {
    list,

    async link(account, { identityProvider, subject, profile }, origin) {
      const person = { identityProviderId: identityProvider.id, subject };
      const label = labelOf(profile);
      const known = await links.find(person);
      const added = { ...person, accountId: account.id, ...(label === undefined ? {} : { label }) };
      await links.add({ ...added, unsettled: true }, origin);
      if (known?.accountId === account.id) return;
      const current = await findAccount(account.id);
      if (!current || !counts(current, 'sign-in', account.epoch)) {
        await links.remove(account.id, person, origin);
        throw new AppError('login_required', 'this sign-in has ended meanwhile: sign in again');
      }
      await links.settle(person);
      await tell(account, 'identity_linked', { provider: nameOf(identityProvider), label, origin });
    },

    async unlink(account, key, { keepSession, origin }) {
      // Two at once would each see the other one left.
      if (!(await leases.insert(account.id, true, { ttl: LEASE })))
        throw new AppError('conflict', 'another sign-in method is being removed', { retryAfter: LEASE });
      try {
        const { method, link } = await removable(account, key);
        const { provider, label } = method;
        // Nobody comes in with it from here on, and whoever has is out; removed last, so that it can be asked for until all is done.
        await links.unsettle(account.id, link);
        await endProven(account.id, 'grants', { keepSession, provenUnder: account.epoch });
        await links.remove(account.id, link, origin);
        await tell(account, 'identity_unlinked', { provider: provider?.name ?? '', label, origin });
      } finally {
        await leases.delete(account.id);
      }
    },
  };
}

interface What {
  provider: string;
  label: string | undefined;
  origin: Origin;
}
