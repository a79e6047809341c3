#!/usr/bin/env node
/** The `latchkey` command: administration from the shell (src/cli.ts). */
import { fileURLToPath } from 'node:url';
import { launch } from './launch.mjs';

await launch(fileURLToPath(new URL('../src/cli.ts', import.meta.url)), process.argv.slice(2));
