/**
 * What this product costs, beside plain Koa in the same run: the time from the start of a process to its first answer, the memory of a
 * process that waits, and the processor time of a command of the shell beside that of Node itself.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, median, residentMegabytes, start } from './processes.ts';

const ROUNDS = 5;
/** Until a process has settled after its start. */
const SETTLE_MS = 2_000;

const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: { start: string } };
const directory = mkdtempSync(join(tmpdir(), 'latchkey-bench-'));

interface Candidate {
  name: string;
  command: (port: number) => string;
  path: string;
}

const candidates: Candidate[] = [
  { name: 'plain Koa', command: (port) => `node bench/plain-koa.ts ${port}`, path: '/' },
  { name: 'Latchkey, embedded store', command: () => scripts.start, path: '/.well-known/openid-configuration' },
];

async function measure({ command, path }: Candidate) {
  const port = await freePort();
  const issuer = `http://localhost:${port}`;
  const env = { PORT: String(port), ISSUER: issuer, STORE_URL: `file:${directory}`, LOG_LEVEL: 'warn' };
  const started = await start(command(port), { url: issuer + path, env });
  await sleep(SETTLE_MS);
  const megabytes = residentMegabytes(started);
  await started.stop();
  return { startMs: started.startMs, megabytes };
}

const rows = candidates.map((candidate) => ({ candidate, first: 0, starts: [] as number[], memory: [] as number[] }));
for (let round = 0; round <= ROUNDS; round++) {
  for (const row of rows) {
    const { startMs, megabytes } = await measure(row.candidate);
    // The very first start makes the store and its keys, and fills the compile cache.
    if (round === 0) row.first = startMs;
    else {
      row.starts.push(startMs);
      row.memory.push(megabytes);
    }
  }
}
const commands = { 'node, doing nothing': 'node -e 0', 'latchkey account list': 'node bin/latchkey.mjs account list' };
const spent = Object.entries(commands).map(([name, command]) => {
  cpuMilliseconds(command); // fills the compile cache
  return { name, times: Array.from({ length: 2 * ROUNDS }, () => cpuMilliseconds(command)) };
});
rmSync(directory, { recursive: true, force: true });

/** Of a command and what it starts, in user and system mode, to the kernel's tick of 10 ms. */
function cpuMilliseconds(command: string): number {
  const env = { ...process.env, STORE_URL: `file:${directory}` };
  const stat = execFileSync('sh', ['-c', `${command} >/dev/null && cat /proc/$$/stat`], { env, encoding: 'utf8' });
  // After the name in parentheses: the 14th and 15th are of the children (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

const reference = rows[0];
console.log(`\nMedians of ${ROUNDS} starts, side by side\n`);
console.table(
  Object.fromEntries(
    rows.map(({ candidate, first, starts, memory }) => [
      candidate.name,
      {
        'first start, ms': Math.round(first),
        'start to first answer, ms': Math.round(median(starts)),
        '÷ plain Koa': (median(starts) / median(reference?.starts ?? [])).toFixed(1),
        'idle memory, MB': Math.round(median(memory)),
        '÷ plain Koa ': (median(memory) / median(reference?.memory ?? [])).toFixed(1),
      },
    ]),
  ),
);

console.log(`\nProcessor time of a command, medians of ${2 * ROUNDS}\n`);
console.table(Object.fromEntries(spent.map(({ name, times }) => [name, { 'CPU, ms': Math.round(median(times)) }])));
