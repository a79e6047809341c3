/**
 * Makes sure that the programs the tests start are there: run before them by `npm test`. As root it installs what is
 * missing from Debian's packages; anybody else is told in one line what to install.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

interface Requirement {
  /** What the tests start, looked for on the PATH. */
  program: string;
  /** Debian's packages that bring it. */
  packages: string[];
}

const requirements: Requirement[] = [
  { program: 'redis-server', packages: ['redis-server'] },
  { program: 'chromium', packages: ['chromium', 'fonts-liberation'] },
  { program: 'nginx', packages: ['nginx-light'] },
  { program: 'caddy', packages: ['caddy'] },
];

function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** False when apt-get failed; what it said is then on stderr. */
function aptGet(...args: string[]): boolean {
  const options = ['--quiet', '--option', 'DPkg::Lock::Timeout=120'];
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const { status, output } = spawnSync('apt-get', [...options, ...args], { env, encoding: 'utf8' });
  if (status !== 0) console.error((output ?? []).join('').trim());
  return status === 0;
}

const missing = requirements.filter(({ program }) => !isInstalled(program));
const packages = missing.flatMap((requirement) => requirement.packages);
const commands = `apt-get update && apt-get install -y --no-install-recommends ${packages.join(' ')}`;

if (missing.length > 0 && process.getuid?.() === 0 && isInstalled('apt-get')) {
  console.log(`The tests need ${packages.join(', ')}: installing …`);
  if (aptGet('update')) aptGet('install', '--yes', '--no-install-recommends', ...packages);
}
if (!missing.every(({ program }) => isInstalled(program))) {
  console.error(`The tests need ${missing.map(({ program }) => program).join(' and ')}. As root: ${commands}`);
  process.exitCode = 1;
}
