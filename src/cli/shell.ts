/**
 * How every command runs: it opens the store, does one thing, prints what came of it, and lets go. With `--json` that is exactly
 * one JSON value.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { type Core, openCore } from '../core.ts';
import { AppError } from '../errors.ts';

export type Result = Record<string, unknown>;
type Run<Arguments extends unknown[]> = (core: Core, ...args: Arguments) => Promise<Result | Result[]>;

export interface Shell {
  program: Command;
  /** A command's action. */
  on<Arguments extends unknown[]>(run: Run<Arguments>): (...args: unknown[]) => Promise<void>;
  print(result: Result | Result[]): void;
}

export function createShell(program: Command): Shell {
  function print(result: Result | Result[]): void {
    const text = program.opts().json ? JSON.stringify(result) : [result].flat().map(inLines).join('\n\n');
    if (text !== '') console.log(text);
  }

  return {
    program,
    print,
    on<Arguments extends unknown[]>(run: Run<Arguments>) {
      return async function runAndPrint(...args: unknown[]) {
        const config = readConfig();
        const core = await patiently(() => openCore(config));
        try {
          await patiently(() => core.storage.ping());
          // What commander hands over is what the command declares.
          print(await run(core, ...(args as Arguments)));
        } finally {
          await core.storage.close();
        }
      };
    },
  };
}

/** What stands on standard input, where no list of processes shows it. */
export function readSecret(): string {
  return readFileSync(0, 'utf8').replace(/\r?\n$/, '');
}

/** A busy machine takes longer to start a command than a store that is there takes to answer. */
const PATIENCE_MS = 8_000;

async function patiently<T>(attempt: () => Promise<T>): Promise<T> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const isOutage = error instanceof AppError && error.code === 'temporarily_unavailable';
      if (!isOutage || performance.now() > until) throw error;
      await sleep(200);
    }
  }
}

function inLines(result: Result): string {
  return Object.entries(result)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('\n');
}
