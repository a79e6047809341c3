/** Where mails go when there is no SMTP server: the log, and a folder of files that mail programs open. */
import { mkdir, readdir, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Mailbox } from '../config.ts';
import { type Deliver, domainOf } from './delivery.ts';
import { type Message, toBytes } from './message.ts';

/** The newest files that are kept. */
const FILES = 1_000;

export interface OutboxOptions {
  /** Made when it is missing, for the owner only. */
  directory: string;
  issuer: string;
  from?: Mailbox | undefined;
  log: Logger;
}

export function createOutbox({ directory, issuer, log, from }: OutboxOptions): Deliver {
  const domain = domainOf(issuer);
  const sender = { from: from ?? { address: `no-reply@${domain}` }, domain };

  async function write(message: Message): Promise<string> {
    const time = new Date(message.at * 1000).toISOString().replace(/[-:]|\.000/g, '');
    const file = join(directory, `${time}-${message.id}.eml`);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await writeFile(`${file}.part`, await toBytes(message, sender), { mode: 0o600 });
    await rename(`${file}.part`, file);
    await forgetOldest(directory);
    return file;
  }

  return async (message) => {
    const file = await write(message).catch((error: Error) => `no file: ${error.message}`);
    const { to, subject, text } = message;
    log.info({ mail: { to, subject, text: text.split('\n'), file } }, 'a mail, kept here because there is no SMTP_URL');
    return { kind: 'delivered' };
  };
}

/** Their names sort by time. */
async function forgetOldest(directory: string): Promise<void> {
  const files = (await readdir(directory)).filter((name) => name.endsWith('.eml')).sort();
  const old = files.slice(0, Math.max(0, files.length - FILES));
  await Promise.all(old.map((name) => unlink(join(directory, name)).catch(() => undefined)));
}
