/** Delivery to an SMTP server (RFC 5321), each mail over a connection of its own that cannot last. */
import { Readable } from 'node:stream';
import { isLoopback, type Mailbox } from '../config.ts';
import { Email } from '../email.ts';
import { type Deliver, domainOf, type Outcome } from './delivery.ts';
import { toBytes } from './message.ts';

/** For all that comes before the message: finding the server, encryption, signing in, the recipient. */
const HANDSHAKE_MS = 10_000;
/** For the answer to the message: whoever hangs up while a server reads it thoroughly sends it twice (RFC 5321 §4.5.3.2.6). */
const ANSWER_MS = 60_000;

export interface SmtpOptions {
  smtpUrl: string;
  issuer: string;
  /** Absent: what the URL says, else an address of the issuer's host. */
  from?: Mailbox | undefined;
  /** Rejects when the server's name has no address. */
  findHost: (hostname: string) => Promise<unknown>;
}

/**
 * @param smtpUrl `smtp://` or `smtps://`, with user and password when the server wants them, and `?from=` for the sender.
 * A password, and all that goes to `smtps:`, travels only over TLS with a valid certificate; else TLS is used when it is offered.
 * @throws {Error} with one line for the operator when the URL cannot be used.
 */
export function createSmtpDelivery({ smtpUrl, issuer, from, findHost }: SmtpOptions): Deliver {
  const server = parseUrl(smtpUrl);
  const sender = { from: from ?? { address: senderOf(server, issuer) }, domain: domainOf(issuer) };
  const connection = { ...connectionOf(server), connectionTimeout: HANDSHAKE_MS, socketTimeout: ANSWER_MS };

  return async (message) => {
    const { createTransport } = await import('nodemailer');
    const bytes = await toBytes(message, sender);
    const overdue = new AbortController();
    const allow = (time: number) => setTimeout(() => overdue.abort(), time);
    let timer = allow(HANDSHAKE_MS);
    const raw = Readable.from([bytes]).once('end', () => {
      clearTimeout(timer);
      timer = allow(ANSWER_MS);
    });
    try {
      // Else nodemailer would try the system's own way, which holds a thread for as long as nobody answers.
      await findHost(connection.host);
      const envelope = { from: sender.from.address, to: [message.to] };
      await createTransport(connection).sendMail({ envelope, raw, signal: overdue.signal });
      return { kind: 'delivered' };
    } catch (error) {
      if (overdue.signal.aborted) return { kind: 'unreachable', reason: 'the mail server did not answer in time' };
      return outcomeOf(error as SmtpError);
    } finally {
      clearTimeout(timer);
    }
  };
}

interface Server {
  protocol: string;
  hostname: string;
  port: string;
  user: string;
  password: string;
  from: string | null;
}

function parseUrl(smtpUrl: string): Server {
  try {
    const { protocol, hostname, port, username, password, searchParams } = new URL(smtpUrl);
    const known = [...searchParams.keys()].every((name) => name === 'from');
    if (hostname === '' || !known) throw new Error('no host, or a parameter that is not known');
    const [user, secret] = [username, password].map(decodeURIComponent) as [string, string];
    return { protocol, hostname, port, user, password: secret, from: searchParams.get('from') };
  } catch (cause) {
    throw new Error('SMTP_URL must be such as smtps://user:password@mail.example.com?from=id@example.com', { cause });
  }
}

function connectionOf({ protocol, hostname, port, user, password }: Server) {
  const secure = protocol === 'smtps:';
  // Without a password to guard, a certificate proves nothing: a network that takes STARTTLS away would be obeyed as well.
  // A name below localhost is looked up, and may be anywhere.
  const isHere = isLoopback(hostname) && !hostname.includes('.localhost');
  const verified = secure || (user !== '' && !isHere);
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    ...(port === '' ? {} : { port: Number(port) }),
    secure,
    requireTLS: verified && !secure,
    tls: { rejectUnauthorized: verified },
    ...(user === '' ? {} : { auth: { user, pass: password } }),
  };
}

/** Most servers let a user send from its own address only, so a user that is an address is the sender. */
function senderOf({ from, user }: Server, issuer: string): string {
  const address = from ?? (user.includes('@') ? user : `no-reply@${domainOf(issuer)}`);
  const { data } = Email.safeParse(address);
  if (data === undefined) throw new Error('SMTP_URL: from must be one plain address');
  return data;
}

interface SmtpError extends Error {
  responseCode?: number;
  command?: string;
}

/** Only what is said of the recipient or the message is about this mail; a refused sender or sign-in is about us. */
function outcomeOf({ message: reason, responseCode, command = '' }: SmtpError): Outcome {
  if (responseCode === undefined || !['RCPT TO', 'DATA'].includes(command)) return { kind: 'unreachable', reason };
  return { kind: responseCode >= 500 ? 'refused' : 'deferred', reason };
}
