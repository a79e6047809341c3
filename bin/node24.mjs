/** `node bin/node24.mjs <script> [arguments]`: runs a script of this project under Node 24 or later. */
import { resolve } from 'node:path';
import { launch } from './launch.mjs';

const [script, ...args] = process.argv.slice(2);
if (script === undefined) {
  console.error('usage: node bin/node24.mjs <script> [arguments]');
  process.exit(2);
}
await launch(resolve(script), args);
