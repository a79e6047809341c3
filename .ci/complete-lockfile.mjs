/**
 * Run after `npm install` changed package-lock.json. npm leaves an optional package out of the lockfile when the registry
 * in use does not have it (other systems' binaries on a partial mirror), and `npm ci` then refuses that lockfile:
 * https://github.com/npm/cli/issues/9846. This adds what its parent pins, without a checksum: only other systems install it.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const FILE = 'package-lock.json';
const SYSTEM = /(?<os>android|darwin|freebsd|linux|openharmony|win32)-(?<cpu>x64|arm64|arm|ia32|ppc64|riscv64|s390x)/;

const lockfile = JSON.parse(readFileSync(FILE, 'utf8'));
const { packages } = lockfile;

function entryFor(name, version, parent) {
  const { os, cpu } = SYSTEM.exec(name)?.groups ?? {};
  if (os === undefined) throw new Error(`${name} is missing from ${FILE} and its name does not tell its system`);
  if (!/^\d+\.\d+\.\d+/.test(version))
    throw new Error(`${name} is missing from ${FILE} and "${version}" is no exact version`);
  const libc = os === 'linux' ? { libc: [name.includes('musl') ? 'musl' : 'glibc'] } : {};
  return { version, cpu: [cpu], ...(parent.dev ? { dev: true } : {}), ...libc, optional: true, os: [os] };
}

const added = {};
for (const parent of Object.values(packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const known = Object.keys(packages).some((path) => path.endsWith(`node_modules/${name}`));
    if (!known) added[`node_modules/${name}`] = entryFor(name, version, parent);
  }
}
const { '': root, ...others } = { ...packages, ...added };
const sorted = Object.entries(others).sort(([a], [b]) => a.localeCompare(b, 'en'));
lockfile.packages = { '': root, ...Object.fromEntries(sorted) };
writeFileSync(FILE, `${JSON.stringify(lockfile, null, 2)}\n`);
console.log(`added to ${FILE}: ${Object.keys(added).length}`);
