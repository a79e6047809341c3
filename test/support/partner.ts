/** An app that signs people in by its word, what its server sends, and what its user's browser does. */

import type { NewClient } from '../../src/clients/clients.ts';
import type { SsoPolicy } from '../../src/clients/sso-policy.ts';
import type { Core } from '../../src/core.ts';
import { fixtures, type TestClient } from './app.ts';
import type { Browser, Landing } from './browser.ts';
import { formOf } from './flow.ts';

export interface Partner extends TestClient {
  organizationId: string;
}

export interface PartnerOptions extends Partial<NewClient> {
  /** What differs from an app that may do as much as possible with `permissions`. */
  sso?: Partial<SsoPolicy>;
  organizationId?: string;
}

/** The app, with an organization of its own unless it is given one. Its permissions must exist. */
export async function partnerApp(directory: Core, { sso, organizationId, ...client }: PartnerOptions = {}) {
  const organization = organizationId ?? (await directory.organizations.create({ name: 'Acme' })).id;
  const { permissions = [] } = client;
  const made = await fixtures(directory).client({ name: 'Acme Portal', ...client });
  const ceiling: SsoPolicy = {
    organizationIds: [organization],
    permissions,
    createsPeople: true,
    nextOrigins: [],
    ratePerMinute: 10_000,
    ...sso,
  };
  const { client: record } = await directory.clients.update(made.id, { sso: ceiling });
  return { ...made, record, organizationId: organization } satisfies Partner;
}

export interface PartnerAnswer {
  status: number;
  headers: Headers;
  text: string;
  body: Record<string, unknown>;
}

export type Fields = Record<string, string>;

/** What a server of giosg's partners puts in its form. */
export function formFields(partner: Pick<Partner, 'id' | 'secret' | 'organizationId'>, person: Fields): Fields {
  return {
    organization_id: partner.organizationId,
    client_id: partner.id,
    client_secret: partner.secret,
    ...person,
  };
}

/** Posts as giosg's clients do it: multipart. */
export function askAsPartner(origin: string, path: string, partner: Partner, person: Fields): Promise<PartnerAnswer> {
  const form = new FormData();
  for (const [name, value] of Object.entries(formFields(partner, person))) form.append(name, value);
  return ask(`${origin}/sso/${path}`, { body: form });
}

export async function ask(url: string, init: RequestInit): Promise<PartnerAnswer> {
  const response = await fetch(url, { method: 'POST', ...init });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.startsWith('application/json');
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : {} };
}

/** A one-time sign-in. @throws when it is refused. */
export async function ssoToken(origin: string, partner: Partner, person: Fields): Promise<string> {
  const { status, text, body } = await askAsPartner(origin, 'token', partner, person);
  if (status !== 200) throw new Error(`${status} ${text}`);
  return String(body.access_token);
}

/** The link that the partner's page leads its user to. */
export function loginPath(token: string, next?: string): string {
  return `/sso/login?${new URLSearchParams({ token, ...(next === undefined ? {} : { next }) })}`;
}

/** Opens the link and lets its page post itself. */
export async function arrive(browser: Browser, path: string, more: Fields = {}): Promise<Landing> {
  const { text } = await browser.open(path);
  const { action, fields } = formOf(text);
  return browser.submit(action, { ...fields, ...more });
}
