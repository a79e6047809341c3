/** The slice of mail, composed: a queue in the store, words from the views, and SMTP or, without it, an outbox of files. */
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Audit } from '../audit.ts';
import type { Config } from '../config.ts';
import type { Views } from '../http/views.ts';
import type { ResolveName } from '../outbound/name-resolver.ts';
import type { Sealing } from '../secrets/sealing.ts';
import { directoryOf } from '../storage/open.ts';
import type { Storage } from '../storage/storage.ts';
import type { Throttle } from '../throttle.ts';
import { createMail, type Mail } from './mail.ts';
import { createComposer } from './message.ts';
import { createOutbox } from './outbox.ts';
import { createMailQueue } from './queue.ts';
import { createSmtpDelivery } from './smtp.ts';

interface Foundation {
  storage: Storage;
  sealing: Sealing;
  throttle: Throttle;
  audit: Audit;
}

export interface OpenMailOptions {
  config: Pick<Config, 'issuer' | 'smtpUrl' | 'storeUrl' | 'mailFrom'>;
  log: Logger;
  resolve: ResolveName;
  views: Pick<Views, 'compose'>;
}

export function openMail(
  { storage, sealing, throttle, audit }: Foundation,
  { config, log, resolve, views }: OpenMailOptions,
): Mail {
  const { issuer, smtpUrl, storeUrl, mailFrom: from } = config;
  const { now } = storage;
  const outbox = join(directoryOf(storeUrl) ?? 'data', 'outbox');
  return createMail({
    queue: createMailQueue({ storage, sealing, now }),
    compose: createComposer({ view: views.compose, issuer, now }),
    deliver:
      smtpUrl === undefined
        ? createOutbox({ directory: outbox, issuer, from, log })
        : createSmtpDelivery({ smtpUrl, issuer, from, findHost: resolve }),
    throttle,
    audit,
    now,
    log,
  });
}
