/** Links between people elsewhere and accounts here. Owns their records and the rule that a subject has one account. */
import { hash } from 'node:crypto';
import type { z } from 'zod';
import type { Audit, Origin } from '../audit.ts';
import { AppError } from '../errors.ts';
import { parseInput } from '../input.ts';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { Link } from './link.ts';

const NewLink = Link.omit({ createdAt: true });
export type NewLink = z.input<typeof NewLink>;

/** A person at an identity provider. */
export type Person = Pick<Link, 'identityProviderId' | 'subject'>;

export interface Links {
  /**
   * Repeating it is fine.
   * @throws {AppError} `conflict` when this person has another account; `invalid_request` naming the field.
   */
  add(link: NewLink, origin?: Origin): Promise<Link>;
  /** A person's link, which lets them in; its account may be gone. */
  find(person: Person): Promise<Link | undefined>;
  /** A link that was added `unsettled` lets its person in from now on. */
  settle(person: Person): Promise<void>;
  /** An account's link lets no one in any more, and can still be removed. */
  unsettle(accountId: string, person: Person): Promise<void>;
  /** Oldest first. */
  list(accountId: string): Promise<Link[]>;
  /** @throws {AppError} `not_found` when it is not this account's. */
  remove(accountId: string, person: Person, origin?: Origin): Promise<void>;
  /** Forgets who an account's person is elsewhere. Safe to repeat. */
  removeAll(accountId: string): Promise<void>;
  /** Forgets who people are at a provider. Safe to repeat. */
  removeProvider(identityProviderId: string): Promise<void>;
}

export interface LinksOptions {
  storage: Storage;
  now: () => number;
  audit: Audit;
  accountExists(accountId: string): Promise<boolean>;
}

export function createLinks({ storage, now, audit, accountExists }: LinksOptions): Links {
  const links = collection(storage, { kind: 'identity-link', version: 1, schema: Link });
  const accountGroup = (accountId: string) => `identity-links:account:${accountId}`;
  const providerGroup = (id: string) => `identity-links:provider:${id.toLowerCase()}`;
  const groupsOf = ({ accountId, identityProviderId }: Link) => [
    accountGroup(accountId),
    providerGroup(identityProviderId),
  ];

  /** What an account that is gone has left behind gives way. */
  async function replaceStale(link: Link): Promise<boolean> {
    const known = await links.get(personKey(link));
    if (!known || (await accountExists(known.accountId))) return false;
    const written = await links.update(
      personKey(link),
      (current) => (current.accountId === known.accountId ? link : undefined),
      { groups: groupsOf(link) },
    );
    return written !== undefined;
  }

  async function removeGroup(group: string): Promise<void> {
    for await (const link of links.all(group)) await links.delete(personKey(link));
  }

  return {
    async find(person) {
      const link = await links.get(personKey(person));
      return link?.unsettled ? undefined : link;
    },

    async settle(person) {
      await links.update(personKey(person), ({ unsettled: _, ...link }) => link);
    },

    async unsettle(accountId, person) {
      const ended = (link: Link) => (link.accountId === accountId ? { ...link, unsettled: true as const } : undefined);
      await links.update(personKey(person), ended);
    },

    async add(input, origin = {}) {
      const link: Link = { ...parseInput(NewLink, input), createdAt: now() };
      const isNew =
        (await links.insert(personKey(link), link, { groups: groupsOf(link) })) || (await replaceStale(link));
      const current = isNew ? link : await links.get(personKey(link));
      if (current?.accountId !== link.accountId)
        throw new AppError('conflict', 'this person is linked to another account', { field: 'subject' });
      const detail = { identity_provider: link.identityProviderId };
      if (isNew) await audit.record({ ...origin, type: 'account_linked', accountId: link.accountId, detail });
      return current;
    },

    async list(accountId) {
      const found = await Array.fromAsync(links.all(accountGroup(accountId)));
      return found.filter((link) => link.accountId === accountId).sort((a, b) => a.createdAt - b.createdAt);
    },

    async remove(accountId, person, origin = {}) {
      const link = await links.get(personKey(person));
      if (link?.accountId !== accountId) throw new AppError('not_found', 'there is no such link');
      await links.delete(personKey(person));
      const detail = { identity_provider: link.identityProviderId };
      await audit.record({ ...origin, type: 'account_unlinked', accountId, detail });
    },

    removeAll: (accountId) => removeGroup(accountGroup(accountId)),
    removeProvider: (identityProviderId) => removeGroup(providerGroup(identityProviderId)),
  };
}

/** A digest: a subject may be any text, and a key names it without saying it. */
export function personKey({ identityProviderId, subject }: Person): string {
  return hash('sha256', JSON.stringify([identityProviderId.toLowerCase(), subject]), 'base64url');
}
