/** Mail on a real store and a real SMTP server, with a settable clock, in this process and in others. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { createAudit } from '../../src/audit.ts';
import { createAssets } from '../../src/http/assets.ts';
import { createViews } from '../../src/http/views.ts';
import { createMail } from '../../src/mail/mail.ts';
import { createComposer, type ToCompose } from '../../src/mail/message.ts';
import type { Notice } from '../../src/mail/notice.ts';
import { createOutbox } from '../../src/mail/outbox.ts';
import { createMailQueue } from '../../src/mail/queue.ts';
import { createSmtpDelivery } from '../../src/mail/smtp.ts';
import { createNameResolver } from '../../src/outbound/name-resolver.ts';
import { createSealing } from '../../src/secrets/sealing.ts';
import { openStorage } from '../../src/storage/open.ts';
import { createThrottle } from '../../src/throttle.ts';
import type { Clock } from './people.ts';

export const ISSUER = 'https://id.example.com';
const VIEWS = fileURLToPath(new URL('../../views', import.meta.url));
const views = createViews({ directory: VIEWS, assets: createAssets(`${VIEWS}/assets`) });
/** Nothing aborts a round of the tests. */
const NEVER = new AbortController().signal;

export interface Where {
  storeUrl: string;
  /** Absent: the outbox. */
  smtpUrl?: string;
  outboxDirectory?: string;
  /** Of the queue. */
  limit?: number;
  /** 32 bytes in base64url. */
  secretKey?: string;
}

export type Post = Awaited<ReturnType<typeof openPost>>;

/** Mail as the product composes it. */
export async function openPost(where: Where, clock: Clock = { time: 1_800_000_000 }) {
  const { storeUrl, smtpUrl, outboxDirectory = '/nowhere', limit = 10_000, secretKey = 'k'.repeat(43) } = where;
  const now = () => clock.time;
  const storage = await openStorage(storeUrl, { now });
  const logged: Array<Record<string, unknown>> = [];
  const log = pino({ level: 'info' }, { write: (line) => void logged.push(JSON.parse(line)) });
  const { compose: view } = await views;
  const throttle = createThrottle({ storage, now });
  const audit = createAudit({ storage, now, throttle });
  const mail = createMail({
    queue: createMailQueue({ storage, sealing: createSealing([Buffer.from(secretKey, 'base64url')]), now, limit }),
    compose: createComposer({ view, issuer: ISSUER, now }),
    deliver:
      smtpUrl === undefined
        ? createOutbox({ directory: outboxDirectory, issuer: ISSUER, log })
        : createSmtpDelivery({ smtpUrl, issuer: ISSUER, findHost: createNameResolver() }),
    throttle,
    audit,
    now,
    log,
  });
  return {
    clock,
    storage,
    logged,
    audit,
    ...mail,
    round: () => mail.deliverDue(NEVER),
    /** Mails that wait, as they are stored. */
    async waiting() {
      return (await storage.list('mail', { limit: 1_000 })).entries;
    },
    async close() {
      await mail.stop();
      await storage.close();
    },
  };
}

/** A mail to somebody about a token. */
export function aMail(
  to: string,
  more: Partial<Omit<ToCompose, 'notice'>> & { notice?: Partial<Notice> } = {},
): ToCompose {
  const notice = { kind: 'token_reused', description: 'Nightly build', hint: 'lk_pat_ab…wxyz', at: 1_800_000_000 };
  return { ...more, to, notice: { ...notice, ...more.notice } as Notice };
}

export interface Received {
  to: string[];
  from: string;
  headers: string;
  /** The header of this name, unfolded; all of them when it is repeated. */
  header(name: string): string | undefined;
  text: string;
  html: string;
}

export interface MailServer {
  readonly url: string;
  readonly port: number;
  readonly received: Received[];
  /** What it says to a recipient or to a message instead of taking it: `451 try again`. */
  refusals: { sender?: string; recipient?: (address: string) => string | undefined; message?: string };
  /** Awaited before it answers to a message. */
  beforeAnswer: () => Promise<void>;
  /** Messages it has read to their end, answered or not. */
  read: number;
  stop(): Promise<void>;
}

export async function startMailServer(options: SMTPServerOptions & { port?: number } = {}): Promise<MailServer> {
  const { port = 0, ...rest } = options;
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    closeTimeout: 10,
    logger: false,
    onMailFrom: (_, __, done) => done(refusalOf(mailServer.refusals.sender)),
    onRcptTo: ({ address }, _, done) => done(refusalOf(mailServer.refusals.recipient?.(address))),
    async onData(stream, { envelope }, done) {
      const raw = await text(stream);
      mailServer.read += 1;
      await mailServer.beforeAnswer();
      const refusal = refusalOf(mailServer.refusals.message);
      if (refusal) return done(refusal);
      const from = envelope.mailFrom ? envelope.mailFrom.address : '';
      mailServer.received.push({ ...partsOf(raw), from, to: envelope.rcptTo.map(({ address }) => address) });
      done();
    },
    ...rest,
  });
  // A client that gives up in the middle is what some tests are about.
  server.on('error', () => undefined);
  const listening = server.listen(port, '127.0.0.1');
  await once(listening, 'listening');
  const address = listening.address();
  if (address === null || typeof address === 'string') throw new Error('the mail server has no port');
  const mailServer: MailServer = {
    url: `smtp://127.0.0.1:${address.port}`,
    port: address.port,
    received: [],
    refusals: {},
    read: 0,
    beforeAnswer: async () => undefined,
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
  return mailServer;
}

function refusalOf(line: string | undefined): Error | null {
  if (line === undefined) return null;
  const [code, ...words] = line.split(' ');
  return Object.assign(new Error(words.join(' ')), { responseCode: Number(code) });
}

/** A mail of two parts, text first, decoded. */
export function partsOf(raw: string): Omit<Received, 'from' | 'to'> {
  const [headers = '', ...rest] = raw.split('\r\n\r\n');
  const boundary = /boundary="([^"]+)"/.exec(headers)?.[1] ?? '';
  const [, plain = '', html = ''] = rest.join('\r\n\r\n').split(`--${boundary}`);
  const unfolded = headers.replace(/\r\n[ \t]+/g, ' ').split('\r\n');
  return {
    headers,
    header(name) {
      const start = `${name.toLowerCase()}: `;
      const found = unfolded.filter((line) => line.toLowerCase().startsWith(start));
      return found.length === 0 ? undefined : found.map((line) => line.slice(start.length)).join(' | ');
    },
    text: decoded(plain, 'text/plain'),
    html: decoded(html, 'text/html'),
  };
}

function decoded(part: string, type: string): string {
  const [headers = '', ...rest] = part.split('\r\n\r\n');
  if (!headers.includes(`Content-Type: ${type}; charset=utf-8`)) throw new Error(`not ${type}: ${headers}`);
  const body = rest.join('\r\n\r\n').replaceAll('\r\n', '\n').trim();
  if (headers.includes('7bit')) return body;
  if (headers.includes('base64')) return Buffer.from(body, 'base64').toString().trim();
  const bytes = body
    .replace(/=\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString();
}

export type Order = { order: 'send'; mails: ToCompose[] } | { order: 'round'; time: number };

export interface PostProcess {
  /** Resolves when all of them are queued. */
  send(mails: ToCompose[]): Promise<void>;
  /** One round at this time. */
  round(time: number): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
}

const PROGRAM = fileURLToPath(new URL('./mail-process-main.ts', import.meta.url));

/** Another process on the same store. */
export async function startPostProcess(where: Where, { time }: Clock): Promise<PostProcess> {
  const child = fork(PROGRAM, [JSON.stringify(where), String(time)]);
  await nextMessage(child);

  async function perform(order: Order): Promise<void> {
    child.send(order);
    await nextMessage(child);
  }

  return {
    send: (mails) => perform({ order: 'send', mails }),
    round: (time) => perform({ order: 'round', time }),
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function nextMessage(child: ChildProcess): Promise<void> {
  const abort = new AbortController();
  const { signal } = abort;
  const ended = once(child, 'exit', { signal }).then(() => Promise.reject(new Error('the other process ended')));
  try {
    await Promise.race([once(child, 'message', { signal }), ended]);
  } finally {
    ended.catch(() => undefined);
    abort.abort();
  }
}
