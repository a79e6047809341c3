/** Who and what is in the demo, made through the same parts that the shell and the server use. */
import type { Core } from '../src/core.ts';

/** Everybody's. */
const PASSWORD = 'seven-green-lanterns';

const PERMISSIONS = [
  { name: 'orders.read', description: 'See your orders' },
  { name: 'orders.write', description: 'Place and change orders for you' },
  { name: 'stock.read', description: 'See what is in stock' },
];

const PEOPLE = [
  {
    role: 'may do all that the apps ask for',
    account: { givenName: 'Ben', familyName: 'Okafor', permissions: PERMISSIONS.map(({ name }) => name) },
  },
  { role: 'holds no permission', account: { givenName: 'Cleo', familyName: 'Marsh' } },
  { role: 'administrator', account: { givenName: 'Ada', familyName: 'Lindqvist', administrator: true } },
];

export interface SampleData {
  people: { email: string; password: string; role: string }[];
  webApp: { clientId: string; clientSecret: string };
  singlePageApp: { clientId: string };
  api: { client: { clientId: string; clientSecret: string }; personalToken: string };
  partner: { clientId: string; clientSecret: string; organizationId: string };
}

type Urls = Record<'webApp' | 'singlePageApp' | 'partner', string>;

export async function createSampleData(directory: Core, urls: Urls) {
  const { organizations, permissions } = directory;
  const organization = await organizations.create({ name: 'Harbor Books' });
  for (const permission of PERMISSIONS) await permissions.create(permission);
  const people = await createPeople(directory, organization.id);
  return {
    people,
    api: { client: await registerApi(directory), personalToken: await makePersonalToken(directory) },
    webApp: await registerWebApp(directory, urls.webApp),
    singlePageApp: await registerSinglePageApp(directory, urls.singlePageApp),
    partner: await registerPartner(directory, urls.partner),
  } satisfies SampleData;
}

async function createPeople({ accounts }: Core, organizationId: string): Promise<SampleData['people']> {
  return Promise.all(
    PEOPLE.map(async ({ account, role }) => {
      const email = `${account.givenName.toLowerCase()}@harbor.example`;
      await accounts.create({ ...account, email, emailVerified: true, password: PASSWORD, organizationId });
      return { email, password: PASSWORD, role };
    }),
  );
}

/** An API: it may ask about the tokens of all. */
async function registerApi({ clients }: Core): Promise<SampleData['api']['client']> {
  const { client, secret = '' } = await clients.create({ name: 'Harbor API', introspection: true });
  return { clientId: client.id, clientSecret: secret };
}

/** For a script of Ben's that reads orders and nothing else. */
async function makePersonalToken({ accounts, personalTokens }: Core): Promise<string> {
  const ben = await accounts.getOrFail('ben@harbor.example');
  const { token } = await personalTokens.create(ben, { description: 'Nightly report', scope: 'orders.read' });
  return token;
}

/** Somebody else's app: people are asked before it learns anything of them. */
async function registerWebApp({ clients }: Core, url: string): Promise<SampleData['webApp']> {
  const { client, secret = '' } = await clients.create({
    name: 'Harbor Orders',
    redirectUris: [`${url}/callback`],
    postLogoutRedirectUris: [`${url}/`],
    permissions: ['orders.read', 'orders.write'],
  });
  return { clientId: client.id, clientSecret: secret };
}

/** One of the house's own: nobody is asked. */
async function registerSinglePageApp({ clients }: Core, url: string): Promise<SampleData['singlePageApp']> {
  const { client } = await clients.create({
    name: 'Harbor Stock',
    redirectUris: [`${url}/callback.html`, `${url}/silent-renew.html`],
    postLogoutRedirectUris: [`${url}/`],
    permissions: ['stock.read'],
    public: true,
    implicit: true,
    trusted: true,
  });
  return { clientId: client.id };
}

/** Somebody else's app with people of its own; it makes their accounts when they first come. */
async function registerPartner({ clients, organizations }: Core, url: string): Promise<SampleData['partner']> {
  const { id: organizationId } = await organizations.create({ name: 'Tidewater' });
  const permissions = ['orders.read'];
  const redirectUris = [`${url}/callback`];
  const { client, secret = '' } = await clients.create({ name: 'Tidewater', redirectUris, permissions });
  const emailDomains = ['tidewater.example'];
  await clients.update(client.id, { sso: { organizationIds: [organizationId], emailDomains, permissions } });
  return { clientId: client.id, clientSecret: secret, organizationId };
}
