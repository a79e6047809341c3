/**
 * Everything that exists without a web server, composed once: the store, people, apps, providers and what they are given. Loads neither
 * Koa nor the engine of the protocol.
 */
import { createAccounts } from './accounts/accounts.ts';
import { createPasswords } from './accounts/password.ts';
import { createAudit } from './audit.ts';
import { createClients } from './clients/clients.ts';
import { createJudgeSecret } from './clients/secret-judge.ts';
import { wallClock } from './clock.ts';
import type { Config } from './config.ts';
import { createAppTokens } from './credentials/app-tokens.ts';
import { createPersonalTokens, personalTokenGroup } from './credentials/personal-tokens.ts';
import { ignoreNotFound } from './errors.ts';
import { createIdentityProviders } from './identity-providers/identity-providers.ts';
import { createLinks } from './identity-providers/links.ts';
import { consentGroup } from './oidc/consents.ts';
import { eraseGroup } from './oidc/erasing.ts';
import { createLogoutNotices } from './oidc/logout-notices.ts';
import { CONSOLE_CALLBACK, CONSOLE_CLIENT_ID, TEST_RUN_CALLBACK } from './oidc/protocol.ts';
import { createSessionRecords } from './oidc/session-records.ts';
import { createSessions } from './oidc/sessions.ts';
import { createSigningKeys } from './oidc/signing-keys.ts';
import { createOrganizations } from './organizations/organizations.ts';
import { createPermissions } from './permissions/permissions.ts';
import { createRevocations, isRevocation } from './resource-server/revocations.ts';
import { createSealing } from './secrets/sealing.ts';
import { ensureSecretKey } from './secrets/secret-key.ts';
import { createSetup } from './setup/setup.ts';
import { createSsoConnections } from './sso/sso-connections.ts';
import { every } from './storage/every.ts';
import { observed } from './storage/observed.ts';
import { directoryOf, openStorage } from './storage/open.ts';
import { createThrottle } from './throttle.ts';

/** What the shell works on, and the server. */
export type Core = Awaited<ReturnType<typeof openCore>>;

interface Listing {
  organizationId?: string | undefined;
  /** The id of the one before. */
  after?: string | undefined;
}

/** @throws when the store cannot be used, with the reason in one line. */
export async function openCore(
  config: Pick<Config, 'issuer' | 'storeUrl' | 'storeMayLoseWrites' | 'secretKeys' | 'personalTokensMayBeEternal'>,
  { warn = () => undefined }: { warn?: (message: string) => void } = {},
) {
  const { storeUrl, storeMayLoseWrites: mayLoseWrites, secretKeys: configured } = config;
  const store = await openStorage(storeUrl, { now: wallClock, warn, mayLoseWrites });
  const { now } = store;
  const revocations = createRevocations(store);
  const storage = observed(store, async (write) => {
    if (isRevocation(write)) await revocations.note();
  });
  const folder = directoryOf(storeUrl);
  const secretKeys = configured.length > 0 || !folder ? configured : [await ensureSecretKey(folder)];
  const sealing = createSealing(secretKeys);
  const throttle = createThrottle({ storage, now });
  const judgeSecret = createJudgeSecret(throttle);
  const audit = createAudit({ storage, now, throttle });
  const organizations = createOrganizations({ storage, now, audit, whatBelongsTo });
  const permissions = createPermissions({ storage, now, audit, takeFromAll });
  const passwords = createPasswords();
  const logoutNotices = createLogoutNotices({ storage, now });
  const sessionRecords = createSessionRecords({ storage, now });
  const sessions = createSessions({ storage, now, notices: logoutNotices, records: sessionRecords });
  const organizationName = async (id: string) => (await organizations.get(id))?.name;
  const accountExists = async (id: string) => (await accounts.get(id)) !== undefined;
  const links = createLinks({ storage, now, audit, accountExists });
  const ssoConnections = createSsoConnections({ storage, now });
  const accounts = createAccounts({
    storage,
    now,
    audit,
    passwords,
    endSessions: sessions.endAll,
    administratorMade: () => setup.close(),
    async forget(accountId) {
      await links.removeAll(accountId);
      await ssoConnections.forgetAll(accountId);
      for (const group of [consentGroup(accountId), personalTokenGroup(accountId)]) await eraseGroup(storage, group);
    },
    organizationName,
    permissionNames: permissions.names,
  });
  const clients = createClients({
    storage,
    now,
    audit,
    permissions,
    ownRedirectUris: [TEST_RUN_CALLBACK, CONSOLE_CALLBACK].map((path) => `${config.issuer}${path}`),
    organizationName,
    reservedIds: [CONSOLE_CLIENT_ID],
    endAccess: sessions.endAllOfClient,
  });
  const identityProviders = createIdentityProviders({
    storage,
    now,
    audit,
    sealing,
    organizationName,
    forgetLinks: links.removeProvider,
  });
  const appTokens = createAppTokens({ storage, now, audit, clients, identityProviders });
  const signingKeys = createSigningKeys({ storage, sealing, audit, now });

  const everyAccount = ({ organizationId, after }: Listing = {}) =>
    every(async (page) => {
      const { accounts: records, ...rest } = await accounts.list({
        ...page,
        ...(organizationId && { organizationId }),
      });
      return { records, ...rest };
    }, after);
  const everyClient = ({ after }: Pick<Listing, 'after'> = {}) =>
    every(async (page) => {
      const { clients: records, ...rest } = await clients.list(page);
      return { records, ...rest };
    }, after);

  async function whatBelongsTo(organization: string): Promise<string | undefined> {
    for await (const { id } of everyAccount({ organizationId: organization })) return `the account ${id}`;
    for await (const { id, organizationId, sso } of everyClient())
      if (organizationId === organization || sso?.organizationIds.includes(organization)) return `the app ${id}`;
    for (const { id, newPeople } of await identityProviders.list())
      if (newPeople.policy !== 'refuse' && newPeople.organizationId === organization)
        return `the identity provider ${id}`;
    return undefined;
  }

  async function takeFromAll(permission: string): Promise<void> {
    for await (const { id, permissions: held } of everyAccount())
      if (held.includes(permission))
        await accounts
          .update(id, (current) => ({ permissions: current.permissions.filter((name) => name !== permission) }))
          .catch(ignoreNotFound);
    for await (const { id, permissions: held, sso } of everyClient())
      if (held.includes(permission) || sso?.permissions.includes(permission))
        await clients.takePermission(id, permission).catch(ignoreNotFound);
  }

  const setup = createSetup({ storage, sealing, accounts, audit, now });
  const personalTokens = createPersonalTokens({
    storage,
    now,
    audit,
    findAccount: accounts.get,
    mayBeEternal: config.personalTokensMayBeEternal,
  });
  return {
    storage,
    throttle,
    revocations,
    sealing,
    audit,
    organizations,
    permissions,
    passwords,
    accounts,
    everyAccount,
    clients,
    judgeSecret,
    everyClient,
    signingKeys,
    logoutNotices,
    sessionRecords,
    sessions,
    setup,
    personalTokens,
    links,
    ssoConnections,
    identityProviders,
    appTokens,
  };
}
