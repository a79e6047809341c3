/**
 * Guesses passwords without a pause, 150 at a time: `flood.ts <url of a login page> <cookies> everywhere|here`, each at another account
 * and from another network, or all at one and from one.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';

const PARALLEL = 150;

const [, , url = '', cookie = '', where] = process.argv;
const agent = new Agent({ keepAlive: true, maxSockets: PARALLEL });
const answers: Record<string, number> = {};

function guess(): Promise<number | undefined> {
  const address = where === 'here' ? '10.1.1.1' : `10.${randomInt(256)}.${randomInt(256)}.${randomInt(256)}`;
  const headers = {
    cookie,
    'content-type': 'application/x-www-form-urlencoded',
    accept: 'text/html',
    'sec-fetch-site': 'same-origin',
    'x-forwarded-for': address,
  };
  return new Promise((resolve) => {
    const sent = request(url, { method: 'POST', agent, headers }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode));
    });
    sent.once('error', () => resolve(undefined));
    const name = where === 'here' ? 'somebody' : randomUUID();
    sent.end(`email=${name}%40example.com&password=wrong`);
  });
}

async function goOn(): Promise<never> {
  for (;;) {
    const status = String(await guess());
    answers[status] = (answers[status] ?? 0) + 1;
  }
}

process.once('SIGTERM', () => {
  process.send?.(answers);
  process.exit();
});
await Promise.all(Array.from({ length: PARALLEL }, goOn));
