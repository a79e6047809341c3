import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { freePort } from './support/redis.ts';

/** The Node of these tests and the one npm runs on, which may be too old for us: the launcher has to do with both. */
const nodes = new Set([process.execPath, process.env.npm_node_execpath ?? process.execPath]);

const SCRIPT = `
const [task]: string[] = process.argv.slice(2);
if (task === 'tell') console.log(JSON.stringify({ node: process.versions.node, argv: process.argv.slice(1) }));
if (task === 'fail') process.exitCode = 7;
if (task === 'stop') process.once('SIGTERM', () => process.exit(9));
if (task === 'stop' || task === 'wait') setInterval(() => console.log('ready'), 20);
`;

for (const node of nodes) {
  describe(`the launcher on ${node}`, () => {
    const directory = mkdtempSync(join(tmpdir(), 'latchkey-launch-'));
    const script = join(directory, 'script.ts');
    before(() => writeFileSync(script, SCRIPT));
    after(() => rmSync(directory, { recursive: true }));

    function launch(...args: string[]) {
      return spawn(node, ['bin/node24.mjs', script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    }

    it('runs a script with its arguments on Node 24 or later, as if it had been started directly', async () => {
      const told = JSON.parse(await text(launch('tell', '--a', 'b c').stdout));
      expect(Number.parseInt(told.node, 10)).to.be.at.least(24);
      expect(told.argv).to.deep.equal([script, 'tell', '--a', 'b c']);
    });

    it('ends with the exit code of the script', async () => {
      expect(await once(launch('fail'), 'exit')).to.deep.equal([7, null]);
    });

    it('lets the script end in its own way when it is told to stop', async () => {
      const child = launch('stop');
      await once(child.stdout, 'data');
      child.kill('SIGTERM');
      expect(await once(child, 'exit')).to.deep.equal([9, null]);
    });

    it('ends by the signal that the script ends by', async () => {
      const child = launch('wait');
      await once(child.stdout, 'data');
      child.kill('SIGTERM');
      expect(await once(child, 'exit')).to.deep.equal([null, 'SIGTERM']);
    });
  });
}

describe('npm start', () => {
  it('ends the server when npm is told to stop', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'latchkey-start-'));
    const port = String(await freePort());
    const settings = { PORT: port, ISSUER: `http://localhost:${port}`, STORE_URL: `file:${directory}` };
    const npm = spawn('npm', ['start'], { env: { ...process.env, ...settings }, stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(npm, 'exit');
    for await (const chunk of npm.stdout.iterator({ destroyOnReturn: false })) {
      if (String(chunk).includes('Latchkey is at')) break;
    }
    npm.kill('SIGTERM');
    expect(await ended).to.deep.equal([0, null]);
    const refused = await fetch(settings.ISSUER).catch((error: Error) => error);
    expect(refused).to.be.instanceOf(Error);
    rmSync(directory, { recursive: true });
  });
});
