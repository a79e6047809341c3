/** A real nginx in front of something of ours. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './app.ts';

export interface Nginx {
  url: string;
  stop(): Promise<void>;
}

/**
 * @param server What stands in its server block, beside where it listens.
 * @param beside What stands beside that block.
 */
export async function startNginx(server: string, beside = ''): Promise<Nginx> {
  const directory = mkdtempSync(join(tmpdir(), 'latchkey-nginx-'));
  const port = await freePort();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const paths = temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join('\n');
  writeFileSync(
    join(directory, 'nginx.conf'),
    `daemon off; master_process off; pid ${directory}/pid; error_log ${directory}/error.log;
    events {}
    http { access_log off; ${paths} ${beside} server { listen 127.0.0.1:${port}; ${server} } }`,
  );
  const child = spawn('nginx', ['-p', directory, '-c', join(directory, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: `${process.env.PATH}:/usr/sbin` },
  });
  let printed = '';
  child.stderr.on('data', (chunk) => (printed += chunk));
  const url = `http://127.0.0.1:${port}`;
  const isUp = () =>
    fetch(url).then(
      () => true,
      () => false,
    );
  while (!(await isUp())) {
    if (child.exitCode !== null) throw new Error(`nginx ended:\n${printed}`);
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
