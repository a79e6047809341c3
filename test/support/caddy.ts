/** A real Caddy in front of something of ours. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './app.ts';

export interface Caddy {
  url: string;
  stop(): Promise<void>;
}

/** @param site A site of a Caddyfile for `api.example.com`, as the docs have it; it answers at `url` instead, without TLS. */
export async function startCaddy(site: string): Promise<Caddy> {
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-caddy-'));
  const url = `http://127.0.0.1:${await freePort()}`;
  const options = '{\n\tadmin off\n\tauto_https off\n}\n';
  writeFileSync(join(directory, 'Caddyfile'), options + site.replace('api.example.com', url));
  const child = spawn('caddy', ['run', '--config', join(directory, 'Caddyfile'), '--adapter', 'caddyfile'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH, HOME: directory },
  });
  let printed = '';
  child.stderr.on('data', (chunk) => (printed += chunk));
  const isUp = () =>
    fetch(url).then(
      () => true,
      () => false,
    );
  while (!(await isUp())) {
    if (child.exitCode !== null) throw new Error(`Caddy ended:\n${printed}`);
    await sleep(30);
  }
  return {
    url,
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
