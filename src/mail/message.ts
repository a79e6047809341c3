/** A mail as it is sent: composed once, when its reason happened, in the recipient's language. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Mailbox } from '../config.ts';
import { Email } from '../email.ts';
import { parseInput } from '../input.ts';
import { Notice, PAGE_OF } from './notice.ts';

/** Lines no longer than this reach a mail program, and the log, as they are. */
const LINE = 76;

export const Message = z.object({
  /** The same at every attempt, so that a mail that arrives twice is shown once (RFC 5322 §3.6.4). */
  id: z.uuid(),
  /** One mailbox, ASCII only: no name, no list, nothing that could end a header. */
  to: Email,
  /** When it was composed. */
  at: z.int().nonnegative(),
  subject: z.string(),
  text: z.string(),
  html: z.string(),
});
export type Message = z.infer<typeof Message>;

const Addressed = Message.pick({ to: true });

export interface ToCompose {
  to: string;
  /** Whose mailbox it is, for the audit trail. */
  accountId?: string | undefined;
  /** Language tag (BCP 47) of the recipient. */
  locale?: string | undefined;
  /** Their time zone (IANA database); UTC when absent. */
  zoneinfo?: string | undefined;
  notice: Notice;
}

export interface ComposerOptions {
  /** Renders a view outside any request: the title it gave itself, and its content. */
  view(
    name: string,
    reader: Pick<ToCompose, 'locale' | 'zoneinfo'>,
    data: Record<string, unknown>,
  ): { title: string; content: string };
  issuer: string;
  now: () => number;
}

/** @throws {AppError} `invalid_request` when `to` is not one plain address. */
export type Compose = (request: ToCompose) => Message;

export function createComposer({ view, issuer, now }: ComposerOptions): Compose {
  return ({ to: recipient, locale, zoneinfo, notice }) => {
    const reader = { locale, zoneinfo };
    const { to } = parseInput(Addressed, { to: recipient });
    const { kind, count, ...said } = { count: undefined, ...Notice.parse(notice) };
    const data = { to, host: new URL(issuer).host, href: issuer + PAGE_OF[kind], kind, count, facts: factsOf(said) };
    const { title, content } = view('mail/text', reader, data);
    return {
      id: randomUUID(),
      to,
      at: now(),
      subject: title,
      text: wrap(content),
      html: view('mail/html', reader, data).content,
    };
  };
}

/** Name and value in the order in which a notice lists them; what is not known is left out. */
function factsOf(said: Record<string, unknown>): Array<[string, unknown]> {
  return Object.entries(said)
    .map(([name, value]): [string, unknown] => [name, Array.isArray(value) ? value.join(', ') : value])
    .filter(([, value]) => value !== undefined && value !== '');
}

function wrap(text: string): string {
  const words = new RegExp(`(.{1,${LINE}})(?: +|$)`, 'g');
  return text
    .split('\n')
    .map((line) => line.replace(words, '$1\n').trimEnd())
    .join('\n');
}

export interface Sender {
  from: Mailbox;
  /** Right-hand side of message ids. */
  domain: string;
}

/** The bytes of a mail (RFC 5322): text first, then HTML; not to be answered by machines (RFC 3834 §5). */
export async function toBytes(message: Message, { from, domain }: Sender): Promise<Buffer> {
  // 50 ms and 4 MB that a server spends on its first mail, and most commands of the shell never.
  const { default: MailComposer } = await import('nodemailer/lib/mail-composer');
  const composer = new MailComposer({
    messageId: `<${message.id}@${domain}>`,
    date: new Date(message.at * 1000),
    from: { name: from.name ?? 'Latchkey', address: from.address },
    to: { name: '', address: message.to },
    subject: message.subject,
    headers: { 'Auto-Submitted': 'auto-generated' },
    text: message.text,
    html: message.html,
    newline: 'win',
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return composer.compile().build();
}
