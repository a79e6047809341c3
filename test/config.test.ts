import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { ConfigError, readConfig } from '../src/config.ts';
import { embeddedStore, SECRET_KEY, startProcess } from './support/app.ts';

const KEY = randomBytes(32).toString('base64url');

/** What is wrong with some settings, one line each. */
function problemsOf(environment: NodeJS.ProcessEnv): string[] {
  try {
    readConfig(environment);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.split('\n').slice(1);
  }
}

describe('settings', () => {
  let directory: string;

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'latchkey-config-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  function file(content: string): string {
    const path = join(directory, randomBytes(4).toString('hex'));
    writeFileSync(path, content);
    return path;
  }

  it('need none to start on this machine', () => {
    const config = readConfig({});
    expect(config).to.include({
      issuer: 'http://localhost:3000',
      port: 3000,
      host: '127.0.0.1',
      storeUrl: 'file:data',
      storeMayLoseWrites: false,
    });
    expect(config).to.include({ workers: 1, registration: 'closed', logLevel: 'info' });
    expect(config).to.deep.include({ secretKeys: [], trustedProxies: [], outboundAllow: [] });
    expect(Object.isFrozen(config)).to.equal(true);
  });

  it('need no more than the port for everything to be there', () => {
    expect(readConfig({ PORT: '24020' })).to.include({ issuer: 'http://localhost:24020', port: 24020 });
    expect(readConfig({ PORT: '80' })).to.include({ issuer: 'http://localhost', port: 80 });
    expect(readConfig({ PORT: '8080', ISSUER: 'https://id.example.com' }).issuer).to.equal('https://id.example.com');
    expect(problemsOf({ PORT: '0' }).join()).to.contain('ISSUER');
    expect(problemsOf({ PORT: 'http' })).to.have.lengthOf(1);
  });

  it('say who mails are from, in one place', () => {
    const from = (MAIL_FROM: string) => readConfig({ MAIL_FROM }).mailFrom;
    expect(from('no-reply@example.com')).to.deep.equal({ address: 'no-reply@example.com' });
    expect(from('Acme Oy <No-Reply@пример.рф>')).to.deep.equal({
      name: 'Acme Oy',
      address: 'no-reply@xn--e1afmkfd.xn--p1ai',
    });
    expect(from('"Acme, Inc." <a@example.com>')).to.deep.equal({ name: 'Acme, Inc.', address: 'a@example.com' });
    for (const wrong of ['Acme', 'a@b@example.com', 'Acme <a@example.com>, b@example.com', 'A\r\nBcc: <b@example.com>'])
      expect(problemsOf({ MAIL_FROM: wrong }).join(), wrong).to.contain('MAIL_FROM');
    const started = performance.now();
    for (const endless of [' ', ' "', '<', ' <'].map((part) => `a${part.repeat(20_000)}`))
      expect(problemsOf({ MAIL_FROM: endless }).join()).to.contain('MAIL_FROM');
    expect(performance.now() - started, 'milliseconds').to.be.below(500);
    const both = { SMTP_URL: 'smtp://mail.example.com?from=a@example.com', MAIL_FROM: 'b@example.com' };
    expect(problemsOf(both).join()).to.contain('MAIL_FROM').and.to.contain('SMTP_URL');
  });

  it('explain a port that is taken and an address that is not ours, by the setting that changes it', async () => {
    const store = await embeddedStore();
    const first = await startProcess(store);
    const { port } = new URL(first.url);
    const start = async (environment: Record<string, string>) => {
      const child = spawn(process.execPath, ['src/main.ts'], {
        env: { PATH: process.env.PATH, STORE_URL: store.storeUrl, SECRET_KEY, PORT: port, ...environment },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const [[status], printed] = await Promise.all([once(child, 'exit'), text(child.stderr)]);
      return { status, printed };
    };
    const [taken, foreign] = await Promise.all([start({ HOST: '127.0.0.1' }), start({ HOST: '192.0.2.1' })]);
    await first.kill('SIGTERM');
    await store.remove();
    expect(taken.status).to.equal(1);
    expect(taken.printed)
      .to.contain(`port ${port} on 127.0.0.1`)
      .and.to.contain('PORT')
      .and.not.to.match(/\n\s+at /);
    expect(foreign.status).to.equal(1);
    expect(foreign.printed)
      .to.contain('192.0.2.1')
      .and.to.contain('HOST')
      .and.not.to.match(/\n\s+at /);
  }).timeout(30_000);

  it('are read as they are meant', () => {
    const old = randomBytes(32).toString('base64url');
    const config = readConfig({
      ISSUER: 'https://id.example.com/',
      PORT: '8443',
      STORE_URL: 'rediss://store:6379',
      SECRET_KEY: `${KEY}, ${old}`,
      TRUSTED_PROXIES: '10.0.0.0/8, fd00::/8 ,192.0.2.1',
      OUTBOUND_ALLOW: '127.0.0.0/8',
      WORKERS: 'auto',
      SMTP_URL: 'smtps://mail.example.com',
      REGISTRATION: 'invite',
      LOG_LEVEL: 'warn',
      HOST: '',
    });
    expect(config).to.include({
      issuer: 'https://id.example.com',
      port: 8443,
      registration: 'invite',
      logLevel: 'warn',
    });
    expect(config.host).to.equal('::');
    expect(config.workers).to.be.at.least(1);
    expect(config.secretKeys.map((key) => key.toString('base64url'))).to.deep.equal([KEY, old]);
    expect(config.trustedProxies).to.deep.equal(['10.0.0.0/8', 'fd00::/8', '192.0.2.1']);
  });

  it('that are wrong are all reported together, each by name', () => {
    const wrong = {
      ISSUER: 'https://id.example.com/path',
      PORT: '99999',
      STORE_URL: 'carrier-pigeon:',
      SECRET_KEY: 'short',
      TRUSTED_PROXIES: '10.0.0.0/33',
      OUTBOUND_ALLOW: 'localhost',
      WORKERS: '0',
      SMTP_URL: 'mail.example.com',
      REGISTRATION: 'maybe',
      LOG_LEVEL: 'loud',
    };
    const problems = problemsOf(wrong);
    expect(problems).to.have.length(Object.keys(wrong).length);
    for (const name of Object.keys(wrong)) {
      expect(
        problems.filter((line) => line.includes(name)),
        name,
      ).to.have.length(1);
      expect(problemsOf({ [name]: wrong[name as keyof typeof wrong] }), name).to.have.length(1);
    }
  });

  it('never repeat a secret in what is reported', () => {
    const secrets = {
      SECRET_KEY: `${KEY.slice(0, -1)}`,
      SMTP_URL: 'mailto://user:hunter2@mail',
      STORE_URL: 'http://user:hunter2@store',
    };
    expect(problemsOf(secrets)).to.have.length(3);
    expect(problemsOf(secrets).join())
      .not.to.match(/hunter2/)
      .and.not.to.contain(secrets.SECRET_KEY);
  });

  it('that hold secrets may be read from files', () => {
    const config = readConfig({
      SECRET_KEY_FILE: file(`${KEY}\n`),
      STORE_URL_FILE: file('redis://store\n'),
      SMTP_URL_FILE: file('smtp://mail\n'),
    });
    expect(config.secretKeys.map((key) => key.toString('base64url'))).to.deep.equal([KEY]);
    expect(config).to.include({ storeUrl: 'redis://store', smtpUrl: 'smtp://mail' });
    expect(problemsOf({ SECRET_KEY_FILE: join(directory, 'missing'), STORE_URL_FILE: directory }).join('\n'))
      .to.contain('SECRET_KEY_FILE')
      .and.to.contain('STORE_URL_FILE');
    expect(problemsOf({ SECRET_KEY: KEY, SECRET_KEY_FILE: file(KEY) }).join()).to.contain('both set');
    expect(problemsOf({ SECRET_KEY_FILE: file('nonsense') }).join()).to.contain('SECRET_KEY');
  });

  it('that would be unsafe together are refused with the reason', () => {
    const unsafe: [environment: NodeJS.ProcessEnv, reason: RegExp][] = [
      [{ ISSUER: 'http://id.example.com' }, /ISSUER must be https/],
      [{ ISSUER: 'http://localhost.example.com' }, /ISSUER must be https/],
      [{ ISSUER: 'http://notlocalhost' }, /ISSUER must be https/],
      [{ ISSUER: 'http://192.168.1.5:3000' }, /ISSUER must be https/],
      [{ STORE_URL: 'redis://store' }, /SECRET_KEY is required with Redis/],
      [{ STORE_URL: 'redis+cluster://one,two' }, /SECRET_KEY is required with Redis/],
      [{ STORE_URL: 'redis+sentinel://one/main', SECRET_KEY: '' }, /SECRET_KEY is required with Redis/],
      [{ TRUSTED_PROXIES: '0.0.0.0/0' }, /TRUSTED_PROXIES must not trust every address/],
      [{ TRUSTED_PROXIES: '10.0.0.0/8,::/0' }, /TRUSTED_PROXIES must not trust every address/],
      [{ TRUSTED_PROXIES: '0.0.0.0/1,128.0.0.0/1' }, /TRUSTED_PROXIES must not trust every address/],
      [{ TRUSTED_PROXIES: '::ffff:0.0.0.0/96' }, /TRUSTED_PROXIES must not trust every address/],
      [{ TRUSTED_PROXIES: '::ffff:0:0/97,::ffff:8000:0/97' }, /TRUSTED_PROXIES must not trust every address/],
      [{ TRUSTED_PROXIES: '::ffff:0:0/95' }, /TRUSTED_PROXIES must not trust every address/],
      [{ TRUSTED_PROXIES: '::/80' }, /TRUSTED_PROXIES must not trust every address/],
      [{ TRUSTED_PROXIES: '64:ff9b::/96' }, /TRUSTED_PROXIES must not trust every address/],
      [
        { TRUSTED_PROXIES: Array.from({ length: 256 }, (_, n) => `${n}.0.0.0/8`).join() },
        /TRUSTED_PROXIES must not trust every address/,
      ],
      [
        { TRUSTED_PROXIES: Array.from({ length: 32 }, (_, n) => `2${n.toString(16).padStart(2, '0')}0::/8`).join() },
        /TRUSTED_PROXIES must not trust every address/,
      ],
    ];
    for (const [environment, reason] of unsafe) {
      expect(problemsOf(environment).join(), JSON.stringify(environment)).to.match(reason);
    }
    const both = problemsOf({ ISSUER: 'http://id.example.com', STORE_URL: 'redis://store' });
    expect(both).to.have.length(2);
    for (const ISSUER of [
      'http://localhost:8080',
      'http://id.localhost:8080',
      'http://a.b.localhost',
      'http://127.0.0.1',
      'http://[::1]:3000',
      'https://id.example.com',
    ])
      expect(problemsOf({ ISSUER }), ISSUER).to.deep.equal([]);
  });

  it('take an issuer that is an origin and nothing else', () => {
    const wrong = [
      'id.example.com',
      'https://',
      'ftp://id.example.com',
      'https://id.example.com?x=1',
      'https://id.example.com#x',
      'https://user@id.example.com',
      'https://id.example.com//',
      ' https://id.example.com',
    ];
    for (const ISSUER of wrong) expect(problemsOf({ ISSUER }).join(), ISSUER).to.contain('ISSUER');
  });

  it('that are wrong keep the server from starting, and it says which', async () => {
    const store = await embeddedStore();
    const failure = await startProcess(store, {
      ISSUER: 'http://id.example.com',
      LOG_LEVEL: 'loud',
      SECRET_KEY: 'x',
    }).then(
      () => '',
      (error: Error) => error.message,
    );
    await store.remove();
    expect(failure)
      .to.contain('LOG_LEVEL')
      .and.to.contain('SECRET_KEY')
      .and.not.to.match(/\n\s+at /);
  });
});
