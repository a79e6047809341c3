import { z } from 'zod';
import { isLoopback } from '../config.ts';
import { MailDomain } from '../email.ts';

/** Where a browser may go after a partner's sign-in: scheme, host and port (RFC 6454 §4). Kept in its one spelling. */
const Origin = z.string().transform((text, context) => {
  const url = URL.parse(text);
  // A pattern would match nothing.
  const isBare =
    url && !text.includes('*') && `${url.origin}/` === url.href && (text === url.href || `${text}/` === url.href);
  if (isBare && (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))))
    return url.origin;
  context.addIssue(
    text.includes('*')
      ? 'must be written out in full: there are no wildcards'
      : 'must be an https origin such as https://app.example.com',
  );
  return z.NEVER;
});

/** What an app may do when it signs people in without credentials of theirs; an administrator decides it. */
export const SsoPolicy = z.object({
  /** Whose people. */
  organizationIds: z.array(z.string()).min(1, 'must name an organization').max(100),
  /** What their e-mails must end in. Absent: anything. */
  emailDomains: z.array(MailDomain).min(1).max(100).optional(),
  /** The most it may give a person, within what the app itself may ask for. */
  permissions: z.array(z.string()).max(200).default([]),
  /** Whether it may make accounts for people who have none. */
  createsPeople: z.boolean().default(true),
  /** Whether the e-mails that it says are known to be those people's. */
  vouchesForEmail: z.literal(true).optional(),
  /** Where a sign-in may lead to, beside the origins of its redirect URIs. */
  nextOrigins: z.array(Origin).max(100).default([]),
  /** How many sign-ins it may ask for in a minute. */
  ratePerMinute: z.int().min(1).max(100_000).default(600),
});
export type SsoPolicy = z.infer<typeof SsoPolicy>;

/** An app's word for a person. It counts while the app may sign that person in. */
export interface Word {
  clientId: string;
  /** The app's, when it gave the word. */
  epoch: number;
  /** How often the person had taken the right away from the app; never when absent. */
  refusals?: number | undefined;
}
