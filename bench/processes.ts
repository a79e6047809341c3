/** Starts servers as processes of their own and looks at them from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Started {
  child: ChildProcess;
  /** Milliseconds from the start of the process to its first answer. */
  startMs: number;
  stop(): Promise<void>;
}

/** Starts a command and waits for its first answer: of a URL, or, for what does not speak HTTP, of a port. */
export async function start(
  command: string,
  { url, port, env }: { url?: string; port?: number; env: NodeJS.ProcessEnv },
): Promise<Started> {
  const startedAt = performance.now();
  const child = spawn(command, {
    shell: true,
    detached: true,
    stdio: 'ignore',
    env: { PATH: process.env.PATH, ...env },
  });
  while (!(await (url === undefined ? listens(port) : answers(url)))) await sleep(5);
  const startMs = performance.now() - startedAt;
  return {
    child,
    startMs,
    async stop() {
      process.kill(-Number(child.pid), 'SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** Resident memory, in megabytes, of the process that listens for this command. */
export function residentMegabytes({ child }: Started): number {
  const pids = [Number(child.pid), ...descendants(Number(child.pid))];
  const sizes = pids.map((pid) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
  });
  return Math.max(...sizes);
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address ? address.port : 0;
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function descendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  const direct = children === '' ? [] : children.split(' ').map(Number);
  return direct.flatMap((child) => [child, ...descendants(child)]);
}

async function answers(url: string): Promise<boolean> {
  return fetch(url).then(
    (response) => response.ok,
    () => false,
  );
}

async function listens(port = 0): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const isOpen = await once(socket, 'connect').then(
    () => true,
    () => false,
  );
  socket.destroy();
  return isOpen;
}
