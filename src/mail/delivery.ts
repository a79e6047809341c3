/** How a mail leaves: one attempt, and what became of it. */
import { isIP } from 'node:net';
import type { Message } from './message.ts';

export type Outcome =
  | { kind: 'delivered' }
  /** For good: this mail will not be taken. */
  | { kind: 'refused'; reason: string }
  /** This mail, for now: greylisting, a full mailbox. */
  | { kind: 'deferred'; reason: string }
  /** Nothing about this mail: the server is away or does not want us. */
  | { kind: 'unreachable'; reason: string };

export type Deliver = (message: Message) => Promise<Outcome>;

/** What stands behind the @ of our own addresses and message ids. */
export function domainOf(issuer: string): string {
  const { hostname } = new URL(issuer);
  return isIP(hostname) || hostname.startsWith('[') ? 'localhost' : hostname;
}
