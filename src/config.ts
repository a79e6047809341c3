/**
 * Settings: read once from the environment, frozen, handed down as values. Nobody else reads `process.env`.
 * Every mistake is reported together, by name, and combinations that would be unsafe refuse to start.
 */
import { readFileSync } from 'node:fs';
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { Email } from './email.ts';

export interface Config {
  /** Issuer identifier and base of every URL we make (OIDC Discovery §3); never ends in a slash. */
  readonly issuer: string;
  readonly host: string;
  readonly port: number;
  readonly storeUrl: string;
  /** Whether a Redis that may forget what it has acknowledged will do. */
  readonly storeMayLoseWrites: boolean;
  /** 32 bytes each; the first seals and signs, all open and verify. Empty: generated beside the embedded store. */
  readonly secretKeys: readonly Buffer[];
  /** CIDRs of the reverse proxies whose `X-Forwarded-*` headers are believed. */
  readonly trustedProxies: readonly string[];
  readonly outboundAllow: readonly string[];
  /** Number of processes. */
  readonly workers: number;
  readonly smtpUrl?: string;
  readonly mailFrom?: Mailbox;
  readonly registration: 'open' | 'invite' | 'closed';
  readonly logLevel: string;
  /** Whether people may make personal tokens that never expire. */
  readonly personalTokensMayBeEternal: boolean;
}

/** Who mails are from. */
export interface Mailbox {
  name?: string;
  address: string;
}

/** Settings that hold secrets; `<NAME>_FILE` names a file to read them from. */
const SECRETS = ['SECRET_KEY', 'SMTP_URL', 'STORE_URL'] as const;
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
const STORE_SCHEME = /^(file:|rediss?(\+sentinel|\+cluster)?:\/\/)./;

const list = z
  .string()
  .default('')
  .transform((text) => text.split(',').map((part) => part.trim()))
  .transform((parts) => parts.filter((part) => part !== ''));

const cidrs = list
  .refine((parts) => parts.every(isCidr), 'must be CIDRs such as 10.0.0.0/8, separated by commas')
  .transform((parts) => parts.map(asCovered));

const Environment = z.object({
  ISSUER: z
    .string()
    .refine(isOrigin, 'must be an http or https origin without a path, such as https://id.example.com')
    .transform((url) => new URL(url).origin),
  HOST: z.string().min(1).optional(),
  PORT: z.coerce.number('must be a port number').int().min(0).max(65535).default(3000),
  STORE_URL: z
    .string()
    .default('file:data')
    .refine(
      (url) => STORE_SCHEME.test(url),
      'must start with file:, redis://, redis+sentinel:// or redis+cluster://, the last three with rediss for TLS',
    ),
  STORE_DURABILITY: z.enum(['required', 'any'], 'must be required or any').default('required'),
  SECRET_KEY: list
    .refine(
      (keys) => keys.every(isKey),
      'must be 32 random bytes in base64url (43 characters), several separated by commas',
    )
    .transform((keys) => keys.map((key) => Buffer.from(key, 'base64url'))),
  TRUSTED_PROXIES: cidrs.refine(
    (parts) => !parts.some(isTooWide) && !coverTooMany(parts),
    'must not trust every address: name the networks of your proxies',
  ),
  OUTBOUND_ALLOW: cidrs,
  WORKERS: z
    .string()
    .default('1')
    .refine((text) => text === 'auto' || /^[1-9]\d{0,2}$/.test(text), 'must be a number of processes or "auto"')
    .transform((text) => (text === 'auto' ? availableParallelism() : Number(text))),
  SMTP_URL: z
    .string()
    .regex(/^smtps?:\/\/./, 'must start with smtp:// or smtps://')
    .optional(),
  MAIL_FROM: z
    .string()
    .transform((text, context) => {
      const mailbox = mailboxIn(text);
      if (mailbox) return mailbox;
      context.addIssue('must be one address, alone or behind a name: Acme <no-reply@example.com>');
      return z.NEVER;
    })
    .optional(),
  REGISTRATION: z.enum(['open', 'invite', 'closed'], 'must be open, invite or closed').default('closed'),
  PERSONAL_TOKEN_EXPIRY: z.enum(['required', 'optional'], 'must be required or optional').default('required'),
  LOG_LEVEL: z.enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`).default('info'),
});

/** The settings could not be used; `message` has one line for each mistake. */
export class ConfigError extends Error {
  constructor(problems: readonly string[]) {
    super(`cannot start, the settings need attention:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

/** @throws {ConfigError} naming every setting at fault. */
export function readConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const problems: string[] = [];
  const given = withSecretFiles(environment, problems);
  const parsed = Environment.safeParse({ ...given, ISSUER: given.ISSUER ?? issuerAt(given.PORT, problems) });
  if (!parsed.success)
    problems.push(...parsed.error.issues.map(({ path, message }) => `${path[0]?.toString()} ${message}`));
  else problems.push(...unsafeCombinations(parsed.data));
  if (problems.length > 0 || !parsed.success) throw new ConfigError(problems);
  return toConfig(parsed.data);
}

function toConfig(settings: z.infer<typeof Environment>): Config {
  return Object.freeze({
    issuer: settings.ISSUER,
    host: settings.HOST ?? (isLoopback(new URL(settings.ISSUER).hostname) ? '127.0.0.1' : '::'),
    port: settings.PORT,
    storeUrl: settings.STORE_URL,
    storeMayLoseWrites: settings.STORE_DURABILITY === 'any',
    secretKeys: settings.SECRET_KEY,
    trustedProxies: settings.TRUSTED_PROXIES,
    outboundAllow: settings.OUTBOUND_ALLOW,
    workers: settings.WORKERS,
    ...(settings.SMTP_URL === undefined ? {} : { smtpUrl: settings.SMTP_URL }),
    ...(settings.MAIL_FROM === undefined ? {} : { mailFrom: settings.MAIL_FROM }),
    registration: settings.REGISTRATION,
    logLevel: settings.LOG_LEVEL,
    personalTokensMayBeEternal: settings.PERSONAL_TOKEN_EXPIRY === 'optional',
  });
}

function unsafeCombinations({
  ISSUER,
  STORE_URL,
  SECRET_KEY,
  SMTP_URL,
  MAIL_FROM,
}: z.infer<typeof Environment>): string[] {
  const problems: string[] = [];
  const { protocol, hostname } = new URL(ISSUER);
  if (protocol === 'http:' && !isLoopback(hostname)) {
    problems.push('ISSUER must be https: passwords and tokens may travel unencrypted on the loopback interface only');
  }
  if (!STORE_URL.startsWith('file:') && SECRET_KEY.length === 0) {
    problems.push(
      'SECRET_KEY is required with Redis, the same for every process; make one with: openssl rand -base64 32 | tr +/ -_ | tr -d =',
    );
  }
  if (MAIL_FROM !== undefined && URL.parse(SMTP_URL ?? '')?.searchParams.has('from'))
    problems.push('MAIL_FROM and "from" in SMTP_URL both say who mails are from; keep one');
  return problems;
}

/** Where we are when nothing says otherwise: on this machine, at the port that is listened on. */
function issuerAt(port = '3000', problems: string[]): string {
  if (Number(port) === 0)
    problems.push('ISSUER is needed with PORT=0: no URL can be made for a port that is not known yet');
  // A port that is none is a problem of its own.
  return URL.parse(`http://localhost:${port}`)?.origin ?? 'http://localhost:3000';
}

function mailboxIn(text: string): Mailbox | undefined {
  const trimmed = text.trim();
  const open = trimmed.endsWith('>') ? trimmed.indexOf('<') : -1;
  const { data } = Email.safeParse((open === -1 ? trimmed : trimmed.slice(open + 1, -1)).trim());
  const name = trimmed.slice(0, Math.max(open, 0)).trim().replace(/^"|"$/g, '');
  if (data === undefined || /["<>\p{Cc}]/u.test(name)) return undefined;
  return name === '' ? { address: data } : { name, address: data };
}

/** Empty variables count as absent, as docker compose passes them. */
function withSecretFiles(environment: NodeJS.ProcessEnv, problems: string[]): Record<string, string> {
  const present = Object.entries(environment).filter((entry): entry is [string, string] => Boolean(entry[1]));
  const settings = Object.fromEntries(present);
  for (const name of SECRETS) {
    const file = settings[`${name}_FILE`];
    if (file === undefined) continue;
    if (settings[name] !== undefined) problems.push(`${name} and ${name}_FILE are both set; keep one`);
    try {
      settings[name] = readFileSync(file, 'utf8').trim();
    } catch (error) {
      problems.push(`${name}_FILE cannot be read: ${(error as Error).message}`);
    }
  }
  return settings;
}

/** True for the host names, as `URL.hostname` has them, that never leave the machine (RFC 8252 §7.3, RFC 6761 §6.3). */
export function isLoopback(hostname: string): boolean {
  if (/^(.+\.)?localhost\.?$/.test(hostname)) return true;
  return hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'));
}

function isOrigin(text: string): boolean {
  const url = URL.parse(text);
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.password) return false;
  return text === url.origin || text === `${url.origin}/`;
}

function isKey(text: string): boolean {
  return /^[A-Za-z0-9_-]{43}$/.test(text) && Buffer.from(text, 'base64url').length === 32;
}

function isCidr(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  if (rest.length > 0 || isIP(address) === 0) return false;
  try {
    if (bits !== undefined)
      new BlockList().addSubnet(address, /^\d{1,3}$/.test(bits) ? Number(bits) : -1, isIPv4(address) ? 'ipv4' : 'ipv6');
    return true;
  } catch {
    return false;
  }
}

/** Addresses of IPv4 in the form that IPv6 sockets have for them (RFC 4291 §2.5.5.2) are those addresses. */
function asCovered(cidr: string): string {
  const [address = '', bits = '128'] = cidr.split('/');
  const [, high = '', low = ''] = (isIPv6(address) && MAPPED.exec(new URL(`http://[${address}]`).hostname)) || [];
  if (high === '' || Number(bits) < 96) return cidr;
  const bytes = [high, low].flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]);
  return `${bytes.join('.')}/${Number(bits) - 96}`;
}

const MAPPED = /^\[::ffff:([\da-f]+):([\da-f]+)\]$/;

/** True for more than any private network has: 10.0.0.0/8 and fc00::/7 are the largest (RFC 1918, RFC 4193). */
function isTooWide(cidr: string): boolean {
  const [address = '', bits] = cidr.split('/');
  return bits !== undefined && Number(bits) < (isIPv4(address) ? 8 : 7);
}

/** Whether ranges together cover a good part of the Internet, however they are cut: an address in 16 of those looked at. */
function coverTooMany(ranges: readonly string[]): boolean {
  const covered = new BlockList();
  for (const range of ranges.filter(isCidr)) {
    const [address = '', bits] = range.split('/');
    const family = isIPv4(address) ? 'ipv4' : 'ipv6';
    covered.addSubnet(address, Number(bits ?? (family === 'ipv4' ? 32 : 128)), family);
  }
  const isCovered = (address: string) => covered.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');
  const ipv4 = Array.from({ length: 256 }, (_, n) => `${n}.${n}.0.1`);
  const ways = [
    ipv4,
    ipv4.map((address) => `::ffff:${address}`),
    ipv4.map((address) => `64:ff9b::${address}`), // RFC 6052 §2.1
    Array.from({ length: 256 }, (_, n) => `2${n.toString(16).padStart(2, '0')}0::1`),
  ];
  return ways.some((addresses) => addresses.filter(isCovered).length > 16);
}
