/**
 * What this product costs, beside plain Koa in the same run: the time from the start of a process to its first answer, and the
 * memory of a process that waits.
 */
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
rmSync(directory, { recursive: true, force: true });

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
