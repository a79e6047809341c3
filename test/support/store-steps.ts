/** What is asked of a store, step by step: the same steps take as long, whatever the machine is busy with. */
import type { Storage } from '../../src/storage/storage.ts';

const VERBS = ['get', 'list', 'insert', 'put', 'update', 'take', 'delete'] as const;
type Verb = (...args: unknown[]) => Promise<unknown>;

/** The verbs that some work uses, each with the kind of record, such as `get account`. */
export async function storeSteps(storage: Storage, work: () => Promise<unknown>): Promise<string[]> {
  const verbs = storage as unknown as Record<string, Verb>;
  const original = VERBS.map((verb) => [verb, verbs[verb] as Verb] as const);
  const steps: string[] = [];
  for (const [verb, call] of original)
    verbs[verb] = (...args) => {
      steps.push(`${verb} ${String(args[0]).split(':', 1)}`);
      return call.apply(storage, args);
    };
  try {
    await work();
    return steps;
  } finally {
    for (const [verb, call] of original) verbs[verb] = call;
  }
}
