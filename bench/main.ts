/** `npm run bench`: every table; `npm run bench verification`: one of them. Numbers of shared machines are noisy: read the ratios. */
const tables = ['start-and-memory', 'verification', 'exchange', 'guessing'];
const chosen = process.argv.slice(2);
for (const name of chosen.length > 0 ? chosen : tables) await import(`./${name}.ts`);
