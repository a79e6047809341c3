/**
 * Runs one of our scripts under Node 24 or later, whatever Node is installed: a machine with an older one gets a pinned
 * Node of ours, fetched once. Owns finding, fetching and standing in for that Node; must not know what a script does.
 * Plain JavaScript for Node 18 and later, without packages: this runs before anything else can.
 */
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import module from 'node:module';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const OLDEST_MAJOR = 24;
/** A package.json and its lockfile: which Node, from which packages, with which checksums. */
const PIN = fileURLToPath(new URL('node24', import.meta.url));
/** Inside node_modules, so that `npm ci` clears it. */
const CACHE = fileURLToPath(new URL('../node_modules/.cache', import.meta.url));
const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'];

/** Runs `script` (an absolute path) with `args`: in this process when its Node will do, else in one that stands in for it. */
export async function launch(script, args) {
  // Compiled sources are kept for the next start, also by the processes a script starts: that halves a short command.
  process.env.NODE_COMPILE_CACHE ??= join(CACHE, 'compiled');
  if (Number.parseInt(process.versions.node, 10) >= OLDEST_MAJOR) {
    module.enableCompileCache();
    process.argv.splice(1, Number.POSITIVE_INFINITY, script, ...args);
    await import(pathToFileURL(script).href);
    return;
  }
  const node = pinnedNode();
  // What the script starts by the name `node` is the same Node.
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
  becomeLike(spawn(node, [...process.execArgv, script, ...args], { stdio: 'inherit', env }), node);
}

/** The pinned Node's path; fetches it when it is not here yet. */
function pinnedNode() {
  const { optionalDependencies } = JSON.parse(readFileSync(join(PIN, 'package.json'), 'utf8'));
  const packageName = `node-${process.platform}-${process.arch}`;
  const version = optionalDependencies[packageName];
  if (version === undefined) giveUp(`there is none for ${process.platform}-${process.arch} to fetch`);
  const directory = join(CACHE, `${packageName}-${version}`);
  const node = join(directory, 'node');
  if (!existsSync(node)) fetchNode({ packageName, version, directory, node });
  return node;
}

/** Several processes may do this at once: each fetches into a place of its own, and the rename is atomic. */
function fetchNode({ packageName, version, directory, node }) {
  console.error(`This is Node ${process.versions.node}; fetching Node ${version} into node_modules, this once …`);
  mkdirSync(directory, { recursive: true });
  const scratch = mkdtempSync(join(directory, 'fetch-'));
  for (const file of ['package.json', 'package-lock.json']) copyFileSync(join(PIN, file), join(scratch, file));
  const options = [
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--no-update-notifier',
    '--include=optional',
    '--loglevel=error',
  ];
  const npm = spawnSync('npm', ['ci', '--prefix', scratch, ...options], {
    cwd: scratch,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const fetched = join(scratch, 'node_modules', packageName, 'bin', 'node');
  const there = npm.status === 0 && existsSync(fetched);
  if (there) renameSync(fetched, node);
  rmSync(scratch, { recursive: true, force: true });
  if (!there) giveUp(`fetching ${packageName} ${version} with npm failed`);
}

/** Passes signals on to the child and ends the way it ends. */
function becomeLike(child, node) {
  for (const signal of FORWARDED) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => giveUp(`${node} does not run here (${error.message})`));
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    process.exitCode = 128 + constants.signals[signal];
  });
}

function giveUp(reason) {
  console.error(`Node ${OLDEST_MAJOR} or later is needed, this is ${process.versions.node}, and ${reason}.`);
  console.error(`Install Node ${OLDEST_MAJOR} or later: https://nodejs.org/en/download`);
  process.exit(1);
}
