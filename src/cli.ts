/**
 * Administration from the shell. Works while the server runs, on the same store. With `--json` every command prints exactly one
 * JSON value; failures are one line on stderr and exit 1, wrong usage exits 2. The commands of each kind of thing are in `cli/`.
 */
import { Command, CommanderError } from 'commander';
import { accountCommands } from './cli/accounts.ts';
import { appCommands } from './cli/apps.ts';
import { identityProviderCommands } from './cli/identity-providers.ts';
import { organizationCommands, permissionCommands } from './cli/organizations.ts';
import { createShell } from './cli/shell.ts';
import { readConfig } from './config.ts';
import { secretKeyFileIn } from './secrets/secret-key.ts';
import { backUp } from './storage/backup.ts';
import { directoryOf } from './storage/open.ts';

const USAGE = 2;

const program = new Command('latchkey')
  .description('Administers Latchkey from the shell, also while the server runs.')
  .option('--json', 'print one JSON value')
  .exitOverride()
  .configureHelp({ showGlobalOptions: true })
  .configureOutput({
    writeErr: (text) => process.stderr.write(text),
    outputError: (text, write) => write(`${text.trim().replaceAll('\n', ' ')}; see --help\n`),
  });

const shell = createShell(program);
const { on, print } = shell;

accountCommands(shell);
organizationCommands(shell);
permissionCommands(shell);
appCommands(shell);
identityProviderCommands(shell);

program
  .command('keys')
  .description('signing keys')
  .command('rotate')
  .description('sign with new keys from now on; the old ones verify on')
  .action(
    on(async ({ signingKeys, identityProviders }) => {
      await identityProviders.reseal();
      return signingKeys.rotate();
    }),
  );

program
  .command('setup')
  .description('the link that makes the first administrator')
  .command('reopen')
  .description('print a new link when there is no administrator any more')
  .action(on(async ({ setup }) => ({ url: `${readConfig().issuer}/setup?code=${await setup.reopen()}` })));

program
  .command('backup <file>')
  .description('copy the embedded store into one file, also while the server runs; the secret key is not in it')
  .action((file: string) => {
    const { storeUrl, secretKeys } = readConfig();
    const made = backUp(storeUrl, file);
    const where = secretKeys.length > 0 ? 'in SECRET_KEY' : `in ${secretKeyFileIn(directoryOf(storeUrl) ?? '')}`;
    print({ ...made, secret_key: `${where}; the backup is of no use without it: keep a copy of it, in another place` });
  });

/** `--json` belongs to the program, but is typed where the command's options are. */
function withJsonFirst(args: readonly string[]): string[] {
  return args.includes('--json') ? ['--json', ...args.filter((arg) => arg !== '--json')] : [...args];
}

try {
  await program.parseAsync(withJsonFirst(process.argv.slice(2)), { from: 'user' });
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : USAGE;
    // It has said how it is used, and not why.
    if (error.code === 'commander.help' && error.exitCode !== 0) console.error('error: no command was given');
  } else {
    console.error((error as Error).message.replaceAll('\n', ' '));
    process.exitCode = 1;
  }
}
// A connection that failed to open lingers for seconds.
process.exit();
