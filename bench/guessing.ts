/**
 * How long a check of a credential takes while strangers guess passwords as fast as they can, from a process of their own. On a machine
 * with two cores those who guess take one of them from the server.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Core } from '../src/core.ts';
import { createBrowser } from '../test/support/browser.ts';
import { onBothStores } from './side-by-side.ts';

const SECONDS = 10;
/** 150 at a time. */
const FLOODS = { everywhere: 'everybody are guessed', here: 'one person are guessed, from one network' };
const INTERVAL_MS = 10;

async function prepare({ accounts, personalTokens, clients }: Core) {
  const account = await accounts.create({ email: 'bench@example.com' });
  const { token } = await personalTokens.create(account, { description: 'bench' });
  const { client } = await clients.create({ name: 'An app', redirectUris: ['https://app.example/cb'] });
  return { token, clientId: client.id };
}

type Made = Awaited<ReturnType<typeof prepare>>;

/** Where somebody may type a password, and the cookies that go with it. */
async function openLogin(url: string, clientId: string): Promise<[url: string, cookie: string]> {
  const browser = createBrowser(url);
  const query = { client_id: clientId, redirect_uri: 'https://app.example/cb', response_type: 'code', scope: 'openid' };
  const { url: page } = await browser.open(`/identity/authorize?${new URLSearchParams(query)}`);
  return [
    page.href,
    browser
      .cookies()
      .map(({ name, value }) => `${name}=${value}`)
      .join('; '),
  ];
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 });

function check(url: string, token: string): Promise<number> {
  const startedAt = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/verify`, { agent, headers: { authorization: `Token ${token}` } }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`/verify answered ${response.statusCode}`));
      response.resume().once('end', () => resolve(performance.now() - startedAt));
    });
    sent.once('error', reject);
    sent.end();
  });
}

/** Milliseconds of each check, which are begun at even distances, whether or not those before are answered. */
async function checks(url: string, token: string): Promise<number[]> {
  const answers: Array<Promise<number>> = [];
  for (let n = 0; n < (SECONDS * 1000) / INTERVAL_MS; n++) {
    answers.push(check(url, token));
    await sleep(INTERVAL_MS);
  }
  return (await Promise.all(answers)).sort((a, b) => a - b);
}

function row(name: string, store: string, times: readonly number[], guesses: Record<string, number> = {}) {
  const at = (part: number) => (times[Math.floor((times.length - 1) * part)] ?? Number.NaN).toFixed(1);
  return { '/verify': name, store, 'p50 ms': at(0.5), 'p99 ms': at(0.99), 'longest ms': at(1), ...guesses };
}

await onBothStores({ prepare, environment: { TRUSTED_PROXIES: '127.0.0.0/8,::1/128' } }, async (servers) => {
  const rows: Array<ReturnType<typeof row>> = [];
  for (const { name, url, made } of servers as Array<{ name: string; url: string; made: Made }>) {
    await checks(url, made.token);
    rows.push(row('alone', name, await checks(url, made.token)));
    for (const [where, what] of Object.entries(FLOODS)) {
      const page = await openLogin(url, made.clientId);
      const flood = fork(fileURLToPath(new URL('flood.ts', import.meta.url)), [...page, where]);
      await sleep(2_000);
      const times = await checks(url, made.token);
      flood.kill('SIGTERM');
      const [answers] = (await once(flood, 'message')) as [Record<string, number>];
      rows.push(row(`while passwords of ${what}`, name, times, answers));
    }
  }
  console.table(rows);
});
agent.destroy();
