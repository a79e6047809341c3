/**
 * `npm run demo`: the server with sample data, and sample apps to click through. Everything is made anew at each start, in a
 * folder that goes when the demo stops. A sample app is a folder beside this file, and what `start` does with it.
 */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { styleText } from 'node:util';
import type Koa from 'koa';
import { pino } from 'pino';
import { createApp } from '../src/app.ts';
import { readConfig } from '../src/config.ts';
import { openCore } from '../src/core.ts';
import { KIND_NAMES } from '../src/identity-providers/kinds/kinds.ts';
import { createOrdersApi } from './api/server.ts';
import { createExchangeApp } from './exchange-app/server.ts';
import { createPartner } from './partner/server.ts';
import { createSampleData, type SampleData } from './sample-data.ts';
import { SAMPLE_NAMES, type SampleProviders, startSampleProviders } from './sample-providers.ts';
import { createSinglePageApp } from './single-page-app/server.ts';
import { createWebApp } from './web-app/server.ts';

/** Each takes a port: Latchkey the one in PORT, the others those after it. */
const PARTS = ['latchkey', 'webApp', 'singlePageApp', 'api', 'exchangeApp', 'partner', ...KIND_NAMES] as const;
type Part = (typeof PARTS)[number];

/** `localhost` is both, and a browser asks the second one first. */
const LOOPBACK = ['127.0.0.1', '::1'];

async function start(): Promise<void> {
  const ports = portsFrom(process.env.PORT ?? '3000');
  await refuseTakenPorts(ports);
  const urls = mapParts((part) => `http://localhost:${ports[part]}`);
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-demo-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

  const config = readConfig({
    ISSUER: urls.latchkey,
    PORT: String(ports.latchkey),
    STORE_URL: `file:${folder}`,
    LOG_LEVEL: process.env.LOG_LEVEL ?? 'warn',
    // Where the fake identity providers are.
    OUTBOUND_ALLOW: '127.0.0.0/8,::1/128',
  });
  const directory = await openCore(config);
  const { app, background } = await createApp(directory, { config, log: pino({ level: config.logLevel }) });
  stopOnSignal(async () => {
    await background.stop();
    await directory.storage.close();
  });
  const data = await createSampleData(directory, urls);
  const exchange = await startSampleProviders(directory, ports);

  const issuer = config.issuer;
  await serve(ports.latchkey, app);
  background.start();
  await serve(ports.webApp, await createWebApp({ issuer, baseUrl: urls.webApp, ...data.webApp }));
  await serve(ports.singlePageApp, createSinglePageApp({ issuer, ...data.singlePageApp }));
  await listening(createOrdersApi({ issuer, ...data.api.client }), ports.api);
  const { appTokens } = exchange;
  await listening(createExchangeApp({ latchkey: issuer, appTokens, api: `${urls.api}/orders` }), ports.exchangeApp);
  const partner = { issuer, baseUrl: urls.partner, api: `${urls.api}/orders`, ...data.partner };
  await serve(ports.partner, await createPartner(partner));
  console.log(overview({ urls, data, exchange, storeUrl: config.storeUrl }));
}

function oneOf(names: readonly string[]): string {
  return new Intl.ListFormat('en-GB', { type: 'disjunction' }).format(names);
}

function mapParts<T>(toValue: (part: Part, index: number) => T): Record<Part, T> {
  return Object.fromEntries(PARTS.map((part, index) => [part, toValue(part, index)])) as Record<Part, T>;
}

function portsFrom(text: string): Record<Part, number> {
  const first = Number(text);
  const last = first + PARTS.length - 1;
  if (!Number.isInteger(first) || first < 1 || last > 65_535) throw new Error(`PORT is no port number: ${text}`);
  return mapParts((_, index) => first + index);
}

async function refuseTakenPorts(ports: Record<Part, number>): Promise<void> {
  const taken: number[] = [];
  for (const port of Object.values(ports)) {
    if (!(await isFree(port))) taken.push(port);
  }
  if (taken.length === 0) return;
  const which = taken.length === 1 ? `port ${taken[0]} is taken` : `ports ${taken.join(' and ')} are taken`;
  throw new Error(
    `${which}. Stop what uses it, or move the demo: PORT=4000 npm run demo takes 4000 to ${4000 + PARTS.length - 1}.`,
  );
}

async function isFree(port: number): Promise<boolean> {
  for (const host of LOOPBACK) {
    const server = createServer().listen(port, host);
    try {
      await once(server, 'listening');
    } catch (error) {
      // A machine without IPv6 has no second address.
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    } finally {
      server.close();
    }
  }
  return true;
}

async function serve(port: number, app: Koa): Promise<void> {
  await listening(createServer(app.callback()), port);
}

async function listening(server: Server, port: number): Promise<void> {
  await once(server.listen(port, '127.0.0.1'), 'listening');
}

function stopOnSignal(stop: () => Promise<void>): void {
  // A Ctrl-C may arrive more than once: from the terminal, and from whatever started this.
  let stopped: Promise<void> | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, async () => {
      stopped ??= stop();
      await stopped;
      process.exit(0);
    });
  }
}

function overview({
  urls,
  data,
  exchange,
  storeUrl,
}: {
  urls: Record<Part, string>;
  data: SampleData;
  exchange: SampleProviders;
  storeUrl: string;
}): string {
  const title = (text: string) => `\n${styleText('bold', text)}`;
  const row = (name: string, text: string) => `  ${name.padEnd(38)}${text}`;
  return [
    title('Latchkey demo'),
    title('Click through'),
    row(urls.webApp, 'Harbor Orders: a server app, code flow with PKCE; asks what it may know'),
    row(urls.singlePageApp, 'Harbor Stock: a single-page app, implicit flow; you are signed in at once'),
    row(urls.partner, 'Tidewater: a partner that signs its own users in, Mia and Leo; no password is typed'),
    row(`${urls.latchkey}/account`, 'your account at Latchkey'),
    title('Sign in as'),
    ...data.people.map(({ email, password, role }) => row(email, `${password.padEnd(24)}${role}`)),
    title(`Or continue with ${oneOf(SAMPLE_NAMES)}, all of them fakes: no password, choose who to be`),
    ...exchange.signIns.map(({ who, outcome }) => row(who, outcome)),
    title('Call the API as a script of Ben’s'),
    `  curl -H 'Authorization: Token ${data.api.personalToken}' ${urls.api}/orders`,
    row(`${urls.latchkey}/account/tokens`, 'make, rotate and revoke such tokens'),
    row(`${urls.latchkey}/docs/api`, 'the API of Latchkey itself'),
    title('Call it through Harbor Desk, a server app that exchanges the tokens Ben has elsewhere'),
    ...exchange.people.map(
      ({ provider, token }) => `  curl -d provider=${provider} -d providerToken=${token} ${urls.exchangeApp}/orders`,
    ),
    title('Exchange one yourself'),
    `  curl -H 'Authorization: token ${exchange.appTokens.github}' -d providerToken=${exchange.people[0]?.token} ${urls.latchkey}/rest/token`,
    title('What the apps were given'),
    row('Harbor Orders  client_id', data.webApp.clientId),
    row('               client_secret', data.webApp.clientSecret),
    row('Harbor Stock   client_id', data.singlePageApp.clientId),
    row('Tidewater      client_id', data.partner.clientId),
    row('               client_secret', data.partner.clientSecret),
    row('               organization_id', data.partner.organizationId),
    title('Administer it from another shell, for instance put Ben out and reload Harbor Orders'),
    `  STORE_URL=${storeUrl} npm run latchkey -- account disable ben@harbor.example`,
    '\nCtrl-C stops the demo; nothing of it is kept.\n',
  ].join('\n');
}

start().catch((error: Error) => {
  console.error(`The demo cannot start: ${error.message}`);
  process.exit(1);
});
