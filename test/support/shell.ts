/** Administration from the shell, as a process of its own beside whatever server runs on the same store. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { SECRET_KEY, type TestStore } from './app.ts';

export interface Printed {
  status: number;
  stdout: string;
  stderr: string;
}

type Place = Pick<TestStore, 'storeUrl'>;

/** Runs one command to its end. @param input What it finds on its standard input. */
export async function shell(
  { storeUrl }: Place,
  args: string[],
  environment: NodeJS.ProcessEnv = {},
  input = '',
): Promise<Printed> {
  const child = spawn(process.execPath, ['bin/latchkey.mjs', ...args], {
    env: { PATH: process.env.PATH, STORE_URL: storeUrl, SECRET_KEY, ...environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  // A command that wants nothing may have ended before.
  child.stdin.on('error', () => undefined).end(input);
  const [[status], stdout, stderr] = await Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]);
  return { status, stdout, stderr };
}

/** What a command that succeeds prints with `--json`. */
export async function shellJson(place: Place, ...args: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await shell(place, [...args, '--json']);
  if (status !== 0) throw new Error(`latchkey ${args.join(' ')} exits ${status}: ${stderr}`);
  return JSON.parse(stdout);
}
