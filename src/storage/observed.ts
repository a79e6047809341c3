import type { Json, Storage } from './storage.ts';

/** One write, as far as an observer needs it. */
export interface ObservedWrite {
  verb: 'put' | 'update' | 'take' | 'delete';
  key: string;
  /** What was stored; absent when something was taken away. */
  value?: Json;
}

/**
 * The same storage, whose writes are told to `observe` once they have happened and before their caller hears of it. New
 * records are not told: nobody can have known them before.
 */
export function observed(storage: Storage, observe: (write: ObservedWrite) => Promise<void>): Storage {
  return {
    ...storage,

    async put(key, value, options) {
      await storage.put(key, value, options);
      await observe({ verb: 'put', key, value });
    },

    async update(key, change, options) {
      const value = await storage.update(key, change, options);
      if (value !== undefined) await observe({ verb: 'update', key, value });
      return value;
    },

    async take(key) {
      const value = await storage.take(key);
      if (value !== undefined) await observe({ verb: 'take', key });
      return value;
    },

    async delete(key) {
      const deleted = await storage.delete(key);
      if (deleted) await observe({ verb: 'delete', key });
      return deleted;
    },
  };
}
