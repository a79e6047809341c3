/**
 * Forms that arrived when who sent them had to show anew who they are: their page comes back filled with what was typed. One for
 * each session, for a few minutes; nothing is ever sent by itself.
 */
import { z } from 'zod';
import { collection } from '../storage/collection.ts';
import type { Storage } from '../storage/storage.ts';
import { FORM_TOKEN } from './form-tokens.ts';

/** Seconds that a sign-in may take. */
const KEPT = 15 * 60;

/** What is never written down, nor shown again; and what the page that comes back has anew: the ids of forms, and their tokens. */
const SECRET: ReadonlySet<string> = new Set(['password', 'current', 'client_secret', 'form', FORM_TOKEN]);

const Fields = z.record(z.string(), z.union([z.string(), z.array(z.string())]));
/** What was sent, by field; what came several times is a list. */
export type Fields = z.infer<typeof Fields>;

const KeptForm = z.object({ path: z.string(), fields: Fields });

/** Whose, in which browser. */
interface Sender {
  uid: string;
  account: { id: string };
}

export interface KeptForms {
  keep(sender: Sender, path: string, body: unknown): Promise<void>;
  /** Once, and only to the session that sent it. */
  take(sender: Sender, path: string): Promise<Fields | undefined>;
}

export function createKeptForms({ storage }: { storage: Storage }): KeptForms {
  const forms = collection(storage, { kind: 'kept-form', version: 1, schema: KeptForm });
  const keyOf = ({ uid, account }: Sender) => `${account.id}:${uid}`;

  return {
    async keep(sender, path, body) {
      const sent = Fields.safeParse(body).data ?? {};
      const fields = Object.fromEntries(Object.entries(sent).filter(([name]) => !SECRET.has(name)));
      if (Object.keys(fields).length > 0) await forms.put(keyOf(sender), { path, fields }, { ttl: KEPT });
    },

    async take(sender, path) {
      const kept = await forms.get(keyOf(sender));
      return kept?.path === path ? (await forms.take(keyOf(sender)))?.fields : undefined;
    },
  };
}
