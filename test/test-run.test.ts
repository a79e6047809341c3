import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';

describe('a test run', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'latchkey-run-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  /** Of one file with this text. */
  function start(text: string, environment: NodeJS.ProcessEnv = {}): { child: ChildProcess; output(): string } {
    const file = join(directory, 'tried.test.mjs');
    writeFileSync(file, text);
    const child = spawn(process.execPath, ['node_modules/mocha/bin/mocha.js', file], {
      env: { PATH: process.env.PATH, ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let printed = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk) => (printed += chunk));
    return { child, output: () => printed };
  }

  const shaky = (count: number) => `describe('shaky', () => {
    for (let n = 0; n < ${count}; n++) {
      let tries = 0;
      it('test ' + n, () => { if (tries++ === 0) throw new Error('not yet'); });
    }
    it('steady', () => undefined);
  });`;

  async function ending(text: string, environment?: NodeJS.ProcessEnv): Promise<{ code: number; lines: string[] }> {
    const { child, output } = start(text, environment);
    const [code] = await once(child, 'close');
    return { code, lines: output().trim().split('\n') };
  }

  it('names at its end every test that was tried again, and its file, and counts in its last line', async () => {
    const { code, lines } = await ending(shaky(2));
    expect(code).to.equal(0);
    expect(lines.at(-1)).to.equal('3 passed, 0 failed');
    for (const [index, line] of lines.slice(-3, -1).entries())
      expect(line).to.match(new RegExp(`^tried again: shaky test ${index} \\(.*tried\\.test\\.mjs\\)$`));
  });

  it('fails in the continuous integration when more than three were tried again, and not elsewhere', async () => {
    expect((await ending(shaky(4))).code).to.equal(0);
    expect((await ending(shaky(3), { CI: 'true' })).code).to.equal(0);
    const { code, lines } = await ending(shaky(4), { CI: 'true' });
    expect(code).to.equal(1);
    expect(lines.at(-1)).to.equal('5 passed, 1 failed');
    expect(lines.join('\n')).to.contain('4 tests had to be tried again, more than 3');
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`leaves no process behind when it is ended by ${signal}`, async () => {
      const { child, output } = start(`import { spawn } from 'node:child_process';
        it('waits', async () => {
          const stopped = spawn('sleep', ['60']);
          stopped.kill('SIGSTOP');
          console.log('started ' + [stopped.pid, spawn('sleep', ['60']).pid].join(' '));
          await new Promise((resolve) => setTimeout(resolve, 9000));
        });`);
      while (!output().includes('started')) await sleep(20);
      const [, ...pids] = (/started (\d+) (\d+)/.exec(output()) ?? []).map(Number);
      child.kill(signal);
      const [code] = await once(child, 'close');
      expect(code).to.equal(signal === 'SIGINT' ? 130 : 143);
      expect(pids).to.have.length(2);
      while (pids.some(isAlive)) await sleep(20);
    });
  }
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
