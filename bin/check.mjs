/** `npm run check`: types, lint and format, unused code, layering. Runs them all, shows every result, fails when one did. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

const checks = {
  types: ['typescript/bin/tsc', '--project', '.'],
  'lint and format': ['@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '--max-diagnostics=200', '.'],
  'unused code': ['knip/bin/knip.js'],
  'published code': ['mocha/bin/mocha.js', 'test/package.test.ts', '--grep', 'its source compiles'],
  layering: ['mocha/bin/mocha.js', 'test/architecture.test.ts'],
};

async function run([name, [script, ...args]]) {
  const startedAt = performance.now();
  const child = spawn(process.execPath, [`node_modules/${script}`, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  return { name, passed: code === 0, output: `${out}${err}`.trim(), seconds };
}

const results = await Promise.all(Object.entries(checks).map(run));
for (const { passed, name, output } of results) {
  if (!passed) console.log(`\n── ${name} ──\n${output}`);
}
console.log();
for (const { passed, name, seconds } of results) console.log(`${passed ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)`);
if (results.some(({ passed }) => !passed)) process.exitCode = 1;
