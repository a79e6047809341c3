/** What `create` says of a new thing and `update` changes, declared once for both. */
import { type Command, InvalidArgumentError } from 'commander';

export interface Setting {
  /** With the value that it takes, such as `given-name <name>`; without one it is yes or no. */
  flag: string;
  about?: string;
  /** The field of the record, when it is called otherwise. */
  field?: string;
  /** May be repeated; what `update` names is in place of all that was there. */
  many?: boolean;
  /** `create` asks for it and `update` cannot take it away. */
  needed?: boolean;
  /** What is yes unless it is said otherwise. */
  on?: boolean;
  /** Said once and never changed. */
  fixed?: boolean;
}

export function collect(value: string, earlier: string[] = []): string[] {
  return [...earlier, value];
}

/** Such as `a, b or c`. */
export function oneOf(names: readonly string[]): string {
  return new Intl.ListFormat('en-GB', { type: 'disjunction' }).format(names);
}

export function addSettings(command: Command, settings: readonly Setting[], verb: 'create' | 'update'): Command {
  for (const { flag, about = '', many = false, needed = false, on = false, fixed = false } of settings) {
    if (fixed && verb === 'update') continue;
    const words = many ? [about, 'may be repeated'].filter(Boolean).join('; ') : about;
    if (needed && verb === 'create') command.requiredOption(`--${flag}`, words);
    else if (many) command.option(`--${flag}`, words, collect);
    else command.option(`--${flag}`, words);
    const [name = ''] = flag.split(' ');
    if (!needed && (verb === 'update' || on)) command.option(`--no-${name}`);
  }
  return command;
}

/** What was said, by field. What was taken away is undefined, or an empty list. What was not mentioned is absent. */
export function saidOf<T>(options: Record<string, unknown>, settings: readonly Setting[]): T {
  const said = settings.flatMap(({ flag, field, many }): Array<[string, unknown]> => {
    const [name = ''] = flag.split(' ');
    const key = name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    const value = options[key];
    if (value === undefined) return [];
    const isTaken = value === false && name !== flag;
    return [[field ?? key, isTaken ? (many ? [] : undefined) : value]];
  });
  // Whatever it is meant for checks it.
  return Object.fromEntries(said) as T;
}

export interface ListOptions {
  limit?: number;
  after?: string;
  search?: string;
}

export function addListOptions(command: Command): Command {
  return command
    .option('--limit <number>', 'at most so many', wholeNumber)
    .option('--after <id>', 'go on behind this one')
    .option('--search <text>', 'only those that mention it');
}

/** Of all, in their order, those that were asked for. */
export async function chosen<T>(
  all: AsyncIterable<T> | Iterable<T>,
  { limit = Number.POSITIVE_INFINITY, search = '' }: ListOptions,
  textsOf: (one: T) => readonly (string | undefined)[],
): Promise<T[]> {
  const found: T[] = [];
  const wanted = search.toLowerCase();
  for await (const one of all) {
    if (found.length >= limit) break;
    if (textsOf(one).some((text) => text?.toLowerCase().includes(wanted))) found.push(one);
  }
  return found;
}

function wholeNumber(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number above 0.');
}
