import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { Notice } from '../src/mail/notice.ts';
import { createMailQueue } from '../src/mail/queue.ts';
import { createSmtpDelivery } from '../src/mail/smtp.ts';
import { createSealing } from '../src/secrets/sealing.ts';
import type { Json } from '../src/storage/storage.ts';
import { freePort, SECRET_KEY, startProcess } from './support/app.ts';
import {
  aMail,
  ISSUER,
  type MailServer,
  openPost,
  type Post,
  type PostProcess,
  partsOf,
  startMailServer,
  startPostProcess,
  type Where,
} from './support/mail.ts';
import { onBothEngines, openEmbeddedStore, outcomeOf, type Store } from './support/people.ts';

const HOUR = 60 * 60;
const START = 1_800_000_000;
/** Longer than a claim, and than the longest wait between attempts. */
const LATER = 15 * 60;

const NOTICES: Notice[] = [
  {
    kind: 'token_created',
    description: 'Nightly build',
    hint: 'lk_pat_ab…wxyz',
    scope: ['orders:read', 'orders:write'],
    expiresAt: null,
    at: START,
    address: '2001:db8::7',
    device: 'Firefox on Linux',
  },
  {
    kind: 'token_expires',
    description: 'Nightly build',
    hint: 'lk_pat_ab…wxyz',
    expiresAt: START,
    lastUsedAt: START,
    count: 7,
  },
  { kind: 'token_expires', description: 'Nightly build', hint: 'lk_pat_ab…wxyz', expiresAt: START, count: 1 },
  { kind: 'token_reused', description: 'Nightly build', hint: 'lk_pat_ab…wxyz', at: START, address: '192.0.2.9' },
  { kind: 'token_leaked', description: 'Nightly build', hint: 'lk_pat_ab…wxyz', at: START, reportedBy: 'GitHub' },
];

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await condition()); tries++) {
    if (tries > 400) throw new Error(`it never came true: ${condition}`);
    await sleep(20);
  }
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `person${n}@example.com`);
}

describe('mail', () => {
  const opened: Array<{ close(): Promise<void> }> = [];
  const servers: MailServer[] = [];
  const processes: PostProcess[] = [];
  const raw: Array<() => void> = [];
  let store: Store;

  async function post(more: Partial<Where> = {}, time = START): Promise<Post> {
    const made = await openPost({ storeUrl: store.url, ...more }, { time });
    opened.push(made);
    return made;
  }
  async function server(...args: Parameters<typeof startMailServer>): Promise<MailServer> {
    const made = await startMailServer(...args);
    servers.push(made);
    return made;
  }
  async function anotherProcess(where: Partial<Where>, time = START): Promise<PostProcess> {
    const made = await startPostProcess({ storeUrl: store.url, ...where }, { time });
    processes.push(made);
    return made;
  }
  /** Takes connections and does with them what it is told. */
  async function rawServer(onConnection: (socket: Socket) => void): Promise<string> {
    const sockets = new Set<Socket>();
    const listening = createServer((socket) => {
      sockets.add(socket.on('error', () => undefined));
      onConnection(socket);
    }).listen(0, '127.0.0.1');
    await once(listening, 'listening');
    raw.push(() => {
      for (const socket of sockets) socket.destroy();
      listening.close();
    });
    return `smtp://127.0.0.1:${(listening.address() as AddressInfo).port}`;
  }
  /** Queued while nobody listens; every one has been tried once. */
  async function queued(sender: Post, addresses: string[]): Promise<void> {
    const before = sender.logged.length;
    for (const to of addresses) await sender.send(aMail(to));
    await until(() => sender.logged.length === before + addresses.length);
    expect(await sender.waiting()).to.have.lengthOf(addresses.length);
  }
  const recipients = (of: MailServer) => of.received.flatMap(({ to }) => to).sort();

  afterEach(async () => {
    for (const close of raw.splice(0)) close();
    await Promise.all(servers.splice(0).map((one) => one.stop()));
    await Promise.all(processes.splice(0).map((one) => one.kill()));
    await Promise.all(opened.splice(0).map((one) => one.close()));
    await store.stop();
  });

  onBothEngines((openStore) => {
    beforeEach(async () => {
      store = await openStore();
    });

    it('is queued before it is asked for twice, and delivered without anybody waiting', async () => {
      const smtp = await server();
      let answer = () => {};
      smtp.beforeAnswer = () => new Promise((resolve) => (answer = resolve));
      const sender = await post({ smtpUrl: smtp.url });
      await sender.send(aMail('pat@example.com'));
      expect(smtp.received).to.have.lengthOf(0);
      expect(await sender.waiting()).to.have.lengthOf(1);
      await until(() => smtp.read === 1);
      answer();
      await until(async () => (await sender.waiting()).length === 0);
      expect(recipients(smtp)).to.deep.equal(['pat@example.com']);
    });

    it('is delivered once, though two processes go through the queue at the same time', async () => {
      const port = await freePort();
      const where = { smtpUrl: `smtp://127.0.0.1:${port}` };
      const sender = await post(where);
      await queued(sender, numbered(12));
      await Promise.all(numbered(12).map((to) => sender.send(aMail(`more-${to}`))));
      const [one, other] = await Promise.all([anotherProcess(where), anotherProcess(where)]);
      const smtp = await server({ port });
      const later = START + LATER;
      await Promise.all([one.round(later), other.round(later), one.round(later), other.round(later)]);
      await until(async () => (await sender.waiting()).length === 0);
      expect(recipients(smtp)).to.deep.equal([...numbered(12), ...numbered(12).map((to) => `more-${to}`)].sort());
    });

    it('outlives a server that is away, and the kill -9 of the process that was asked to send it', async () => {
      const port = await freePort();
      const where = { smtpUrl: `smtp://127.0.0.1:${port}` };
      const dying = await anotherProcess(where);
      await dying.send(numbered(20).map((to) => aMail(to)));
      await dying.kill();
      const smtp = await server({ port });
      const heir = await post(where, START + LATER);
      await heir.round();
      expect(recipients(smtp)).to.deep.equal(numbered(20).sort());
      expect(await heir.waiting()).to.have.lengthOf(0);
    });

    it('comes again under the same Message-ID when the process is killed between delivery and writing it down', async () => {
      const smtp = await server();
      smtp.beforeAnswer = () => new Promise(() => {});
      const dying = await anotherProcess({ smtpUrl: smtp.url });
      await dying.send([aMail('pat@example.com')]);
      await until(() => smtp.read === 1);
      await dying.kill();
      smtp.beforeAnswer = async () => undefined;
      const heir = await post({ smtpUrl: smtp.url });
      await heir.round();
      expect(smtp.received, 'it is still claimed').to.have.lengthOf(0);
      const [kept] = await heir.waiting();
      heir.clock.time += LATER;
      await heir.round();
      expect(recipients(smtp)).to.deep.equal(['pat@example.com']);
      expect(kept?.key, 'what it is stored under').to.match(/^mail:[0-9a-f-]{36}$/);
      expect(smtp.received[0]?.header('Message-ID')).to.equal(`<${kept?.key.slice(5)}@id.example.com>`);
    });

    it('waits for a greylisting server, longer each time, while other mails pass', async () => {
      const smtp = await server();
      let attempts = 0;
      smtp.refusals.recipient = (address) => {
        if (address !== 'grey@example.com') return undefined;
        attempts += 1;
        return '451 greylisted, come back later';
      };
      const sender = await post({ smtpUrl: smtp.url });
      await sender.send(aMail('grey@example.com'));
      await until(() => sender.logged.length === 1);
      await sender.send(aMail('pat@example.com'));
      await until(() => smtp.received.length === 1);
      for (const wait of [30, 60, 120, 240, 480, 900, 900]) {
        const before = attempts;
        sender.clock.time += wait - 1;
        await sender.round();
        expect(attempts, `before ${wait} seconds`).to.equal(before);
        sender.clock.time += 1;
        await sender.round();
        expect(attempts, `after ${wait} seconds`).to.equal(before + 1);
      }
      smtp.refusals = {};
      sender.clock.time += LATER;
      await sender.round();
      expect(recipients(smtp)).to.deep.equal(['grey@example.com', 'pat@example.com']);
      expect(sender.logged[0]).to.include({ to: 'grey@example.com', attempts: 1 });
      expect(sender.logged[0]?.reason).to.contain('greylisted');
    });

    it('is given up when the recipient or the message is refused, and the log says so', async () => {
      const smtp = await server();
      const sender = await post({ smtpUrl: smtp.url });
      smtp.refusals.recipient = () => '550 no such mailbox';
      await sender.send(aMail('nobody@example.com'));
      await until(() => sender.logged.length === 1);
      smtp.refusals = { message: '554 looks like spam' };
      await sender.send(aMail('strict@example.com'));
      await until(() => sender.logged.length === 2);
      expect(sender.logged.map(({ to, msg }) => `${to}: ${msg}`)).to.deep.equal([
        'nobody@example.com: a mail was given up',
        'strict@example.com: a mail was given up',
      ]);
      expect(sender.logged.map(({ reason }) => String(reason).slice(-19))).to.deep.equal([
        '550 no such mailbox',
        '554 looks like spam',
      ]);
      expect(await sender.waiting()).to.have.lengthOf(0);
    });

    it('is given up after a day, and the log says so', async () => {
      const sender = await post({ smtpUrl: `smtp://127.0.0.1:${await freePort()}` });
      await queued(sender, ['pat@example.com']);
      sender.clock.time += 24 * HOUR;
      await sender.round();
      expect(await sender.waiting()).to.have.lengthOf(1);
      sender.clock.time += LATER;
      await sender.round();
      expect(await sender.waiting()).to.have.lengthOf(0);
      expect(sender.logged.at(-1)).to.include({ msg: 'a mail was given up', to: 'pat@example.com' });
    });

    it('goes to one mailbox at most 20 times an hour, however its address is capitalised', async () => {
      const smtp = await server();
      const sender = await post({ smtpUrl: smtp.url });
      for (let n = 0; n < 25; n++) await sender.send(aMail(n % 2 === 0 ? 'Pat@example.com' : 'pat@Example.com'));
      await sender.send(aMail('somebody.else@example.com'));
      await sender.round();
      await until(() => smtp.received.length === 21);
      expect(sender.logged.map(({ msg }) => msg)).to.deep.equal(
        Array<string>(5).fill('a mail was not sent: its mailbox got too many'),
      );
      sender.clock.time += HOUR;
      await sender.send(aMail('pat@example.com'));
      await until(() => smtp.received.length === 22);
    });

    it('that warns of somebody else is sent, however many of other kinds went to the mailbox before', async () => {
      const smtp = await server();
      const sender = await post({ smtpUrl: smtp.url });
      const made: Partial<Notice> = { kind: 'token_created', scope: [], expiresAt: null };
      for (let n = 0; n < 30; n++) await sender.send(aMail('pat@example.com', { notice: made }));
      for (const kind of ['token_reused', 'identity_linked'] as const)
        await sender.send(aMail('pat@example.com', { notice: { kind, provider: 'Acme' } as Partial<Notice> }));
      await sender.round();
      await until(() => smtp.received.length === 22);
      expect(sender.logged).to.have.lengthOf(10);
    });

    it('that is not sent is in the audit trail of whose it was, once an hour for each kind', async () => {
      const sender = await post({ smtpUrl: `smtp://127.0.0.1:${await freePort()}`, limit: 30 });
      const made: Partial<Notice> = { kind: 'token_created', scope: [], expiresAt: null };
      for (let n = 0; n < 30; n++) await sender.send(aMail('Pat@example.com', { accountId: 'pat', notice: made }));
      for (let n = 0; n < 23; n++) await sender.send(aMail('pat@example.com', { accountId: 'pat' }));
      const trail = async () =>
        (await sender.audit.list({ accountId: 'pat' })).events.map(({ type, detail }) => ({ type, ...detail }));
      const madeDropped = { type: 'mail_dropped', notice: 'token_created', limit: 'mailbox' };
      const warningDropped = { type: 'mail_dropped', notice: aMail('').notice.kind, limit: 'queue' };
      expect(await trail()).to.deep.equal([warningDropped, madeDropped]);
      sender.clock.time += HOUR;
      await sender.send(aMail('pat@example.com', { accountId: 'pat', notice: made }));
      expect(await trail()).to.deep.equal([
        { type: 'mail_dropped', notice: 'token_created', limit: 'queue' },
        warningDropped,
        madeDropped,
      ]);
    });

    it('leaves the last tenth of its queue to mails that warn', async () => {
      const sender = await post({ smtpUrl: `smtp://127.0.0.1:${await freePort()}`, limit: 20 });
      const made: Partial<Notice> = { kind: 'token_created', scope: [], expiresAt: null };
      for (const to of numbered(20)) await sender.send(aMail(to, { notice: made }));
      expect(await sender.waiting()).to.have.lengthOf(18);
      for (const to of numbered(4)) await sender.send(aMail(to));
      expect(await sender.waiting()).to.have.lengthOf(20);
    });

    it('fills its queue to a bound and no further, and takes mails again when there is room', async () => {
      const port = await freePort();
      const sender = await post({ smtpUrl: `smtp://127.0.0.1:${port}`, limit: 8 });
      await Promise.all(numbered(12).map((to) => sender.send(aMail(to))));
      const refused = () => sender.logged.filter(({ msg }) => msg === 'a mail was not sent: the queue is full');
      expect(refused()).to.have.lengthOf(4);
      expect(await sender.waiting()).to.have.lengthOf(8);
      await until(() => sender.logged.length === 12);
      const smtp = await server({ port });
      sender.clock.time += LATER;
      await sender.round();
      await sender.round();
      expect(smtp.received).to.have.lengthOf(8);
      await Promise.all(numbered(8).map((to) => sender.send(aMail(to))));
      expect(refused()).to.have.lengthOf(4);
    });

    it('is not held up by a clock that was a day ahead', async () => {
      const port = await freePort();
      const sender = await post({ smtpUrl: `smtp://127.0.0.1:${port}` }, START + 24 * HOUR);
      await queued(sender, ['pat@example.com']);
      const smtp = await server({ port });
      sender.clock.time = START;
      await sender.round();
      expect(recipients(smtp)).to.deep.equal(['pat@example.com']);
    });

    it('belongs to the last that claimed it: an earlier holder cannot give it back', async () => {
      const smtp = await server();
      const sender = await post({ smtpUrl: smtp.url });
      const queue = createMailQueue({
        storage: sender.storage,
        sealing: createSealing([Buffer.alloc(32)]),
        now: () => sender.clock.time,
      });
      const id = randomUUID();
      await queue.add({ id, to: 'pat@example.com', at: START, subject: '', text: '', html: '' });
      const [first, refused] = [await queue.claim(id), await queue.claim(id)];
      if (!first) return expect.fail('it was due');
      expect(refused, 'while it is claimed').to.equal(undefined);
      sender.clock.time += 120;
      const second = await queue.claim(id);
      expect(second?.attempts).to.equal(2);
      await queue.postpone(first);
      sender.clock.time += 119;
      expect(await queue.claim(id), 'while the second claim lasts').to.equal(undefined);
    });

    it('is finished before the process stops, which begins nothing more', async () => {
      const smtp = await server();
      let answer = () => {};
      smtp.beforeAnswer = () => new Promise((resolve) => (answer = resolve));
      const sender = await post({ smtpUrl: smtp.url });
      await sender.send(aMail('pat@example.com'));
      await until(() => smtp.read === 1);
      let stopped = false;
      const stopping = sender.stop().then(() => (stopped = true));
      await sender.send(aMail('late@example.com'));
      await sender.round();
      await sleep(100);
      expect(stopped).to.equal(false);
      answer();
      await stopping;
      expect(recipients(smtp)).to.deep.equal(['pat@example.com']);
      const waiting = await sender.waiting();
      expect(waiting.map(({ value }) => (value as { data: Json }).data)).to.have.nested.property('[0].attempts', 0);
    });

    it('is unreadable in the store', async () => {
      const sender = await post({ smtpUrl: `smtp://127.0.0.1:${await freePort()}` });
      await queued(sender, ['pat@example.com']);
      const stored = JSON.stringify(await sender.waiting());
      for (const secret of ['pat@example.com', 'Nightly', 'lk_pat_']) expect(stored).to.not.contain(secret);
    });
  });

  describe('and servers', () => {
    beforeEach(async () => {
      store = await openEmbeddedStore();
    });

    it('that hang cost ten seconds and hold up nobody; one that thinks long about a message is waited for', async function () {
      this.timeout(30_000);
      const [silent, slow] = [await rawServer(() => undefined), await server()];
      const dripping = await rawServer((socket) => {
        const timer = setInterval(() => socket.write('220-wait\r\n'), 500);
        socket.once('close', () => clearInterval(timer));
      });
      slow.beforeAnswer = () => sleep(12_000);
      const patient = await post({ smtpUrl: slow.url });
      await patient.send(aMail('slow@example.com'));
      const secondStore = await openEmbeddedStore();
      const hung = await post({ smtpUrl: silent, storeUrl: secondStore.url });
      const dripped = await post({ smtpUrl: dripping, storeUrl: secondStore.url });
      const startedAt = performance.now();
      for (const to of numbered(30)) await hung.send(aMail(to));
      await dripped.send(aMail('pat@example.com'));
      expect(performance.now() - startedAt, 'until all were queued').to.be.below(2_000);
      const first = hung.round();
      await first;
      await until(() => hung.logged.length === 12 && dripped.logged.length === 1);
      expect(performance.now() - startedAt, 'until all were given back').to.be.within(9_000, 15_000);
      expect(hung.logged).to.have.lengthOf(12);
      expect(hung.logged[0]?.reason).to.match(/never received|in time/);
      expect(dripped.logged[0]?.reason).to.match(/never received|in time/);
      expect(await hung.waiting()).to.have.lengthOf(31);
      await until(() => slow.received.length === 1);
      await until(async () => (await patient.waiting()).length === 0);
      expect(slow.read).to.equal(1);
      await hung.close();
      await dripped.close();
      opened.splice(1);
      await secondStore.stop();
    });

    it('that do not want us lose no mail, and are asked once a round', async () => {
      let connections = 0;
      const closed = await rawServer((socket) => {
        connections += 1;
        socket.end('554 go away\r\n');
      });
      const sender = await post({ smtpUrl: closed });
      await queued(sender, numbered(8));
      sender.clock.time += LATER;
      connections = 0;
      await sender.round();
      expect(connections).to.be.within(1, 4);
      expect(await sender.waiting()).to.have.lengthOf(8);
    });

    it('that refuse our sender or our password lose no mail', async () => {
      const smtp = await server();
      smtp.refusals.sender = '550 not for you';
      const sender = await post({ smtpUrl: smtp.url });
      await queued(sender, ['pat@example.com']);
      const guarded = await server({
        disabledCommands: ['STARTTLS'],
        allowInsecureAuth: true,
        onAuth: (_, __, done) => done(new Error('wrong')),
      });
      const locked = await post({ smtpUrl: guarded.url.replace('//', '//latchkey:wrong@') }, START + LATER);
      await locked.round();
      expect(await locked.waiting()).to.have.lengthOf(1);
      expect(locked.logged[0]?.reason).to.contain('Invalid login');
    });

    it('get our password: as configured on the loopback interface, and elsewhere only under a valid certificate', async () => {
      const seen: string[] = [];
      const onAuth = (
        { username, password }: { username?: string | undefined; password?: string | null | undefined },
        _: unknown,
        done: (error: null, answer: { user: string }) => void,
      ) => {
        seen.push(`${username} ${password}`);
        done(null, { user: 'latchkey' });
      };
      const plain = await server({ disabledCommands: ['STARTTLS'], allowInsecureAuth: true, onAuth });
      const sender = await post({ smtpUrl: plain.url.replace('//', '//id%40shop.example:p%23ss@') });
      await sender.send(aMail('pat@example.com'));
      await until(() => plain.received.length === 1);
      expect(seen).to.deep.equal(['id@shop.example p#ss']);
      expect(plain.received[0]?.from, 'a user that is an address is the sender').to.equal('id@shop.example');

      seen.length = 0;
      const selfSigned = await server({ disabledCommands: [], authOptional: true, onAuth });
      // All addresses of this machine, hence the loopback interface too, yet not by a name of it.
      for (const { port } of [plain, selfSigned]) {
        const away = await post({ smtpUrl: `smtp://latchkey:secret@0.0.0.0:${port}` });
        await away.send(aMail('pat@example.com'));
        await until(() => away.logged.length === 1);
        expect(away.logged[0]?.reason).to.match(/STARTTLS|self-signed|certificate/i);
      }
      expect(seen).to.deep.equal([]);
      const relay = await post({ smtpUrl: selfSigned.url });
      await relay.send(aMail('kim@example.com'));
      await until(() => selfSigned.received.length === 1);
      expect(selfSigned.received[0]?.from).to.equal('no-reply@id.example.com');
    });

    it('are refused at the start, in one line without the password, when their URL makes no sense', () => {
      for (const smtpUrl of [
        'smtp:///',
        'smtp://a:secret@b:port',
        'smtp://a:secret%@host',
        'smtp://a:secret@host?tls=no',
        'smtp://a:secret@host?from=x@y.example%0d%0aBcc:z@y.example',
        'smtp://a:secret@host?from=a@y.example,b@y.example',
      ]) {
        expect(() => createSmtpDelivery({ smtpUrl, issuer: ISSUER, findHost: async () => undefined }), smtpUrl)
          .to.throw(/^SMTP_URL.+$/)
          .with.property('message')
          .that.does.not.contain('secret');
      }
    });

    it('get each mail once from two servers of the product that start with a full queue', async function () {
      this.timeout(30_000);
      const port = await freePort();
      const smtpUrl = `smtp://127.0.0.1:${port}`;
      // Its mails are due again by the clocks of the product.
      const sender = await post({ smtpUrl, secretKey: SECRET_KEY }, Math.floor(Date.now() / 1000) - 60);
      await queued(sender, numbered(18));
      const smtp = await server({ port });
      const testStore = { storeUrl: store.url, directory: '', remove: async () => undefined };
      const products = await Promise.all([1, 2].map(() => startProcess(testStore, { SMTP_URL: smtpUrl })));
      await until(async () => (await sender.waiting()).length === 0);
      await Promise.all(products.map((product) => product.kill('SIGTERM')));
      expect(recipients(smtp)).to.deep.equal(numbered(18).sort());
      for (const { child } of products) expect(child.exitCode).to.equal(0);
    });
  });

  describe('in words', () => {
    beforeEach(async () => {
      store = await openEmbeddedStore();
    });

    async function deliveredAs(locale: string | undefined, notices: Notice[], zoneinfo?: string) {
      const smtp = await server();
      const sender = await post({ smtpUrl: smtp.url });
      for (const notice of notices) {
        const before = smtp.received.length;
        await sender.send({ to: 'pat@example.com', locale, zoneinfo, notice });
        await until(() => smtp.received.length > before);
      }
      return smtp.received;
    }

    it('says what happened, when, from where and what to do, and links to our own page alone', async () => {
      const [mail] = await deliveredAs(undefined, NOTICES);
      expect(mail?.text).to.equal(
        [
          'A personal token was created for your account. Whoever has it can act in',
          'your name, as far as its permissions go.',
          '',
          'Description: Nightly build',
          'Token: lk_pat_ab…wxyz',
          'Permissions: orders:read, orders:write',
          'Expires: never',
          'When: 15 January 2027 at 08:00 UTC',
          'From address: 2001:db8::7',
          'Program: Firefox on Linux',
          '',
          'If it was you, there is nothing to do. If it was not, revoke the token at',
          'once, change your password and end all your sessions.',
          '',
          'https://id.example.com/account/tokens',
          '',
          'You get this mail because it is about the security of your account',
          'pat@example.com at id.example.com. It was sent automatically, and nobody',
          'reads replies to it.',
        ].join('\n'),
      );
      expect(mail?.html.match(/(?:href|src|url)\s*[=(][^>\s]*/g)).to.deep.equal([
        'href="https://id.example.com/account/tokens"',
      ]);
    });

    it('is a mail of two parts to one address, that no machine should answer', async () => {
      const [mail] = await deliveredAs(undefined, NOTICES);
      expect(mail?.header('From')).to.equal('Latchkey <no-reply@id.example.com>');
      expect(mail?.header('To')).to.equal('pat@example.com');
      expect(mail?.to).to.deep.equal(['pat@example.com']);
      expect(mail?.header('Subject')).to.equal('A personal token was created for your account');
      expect(mail?.header('Date')).to.equal('Fri, 15 Jan 2027 08:00:00 +0000');
      expect(mail?.header('Auto-Submitted')).to.equal('auto-generated');
      expect(mail?.header('Content-Type')).to.match(/^multipart\/alternative;/);
      expect(mail?.html).to.contain('<html lang="en">').and.to.contain('prefers-color-scheme: dark');
    });

    const subjects = {
      en: [
        'A personal token was created for your account',
        'A personal token of yours expires in 7 days',
        'A personal token of yours expires within a day',
        'A token you had replaced was used, so its successors were revoked',
        'A personal token of yours had leaked and was revoked',
      ],
      fi: [
        'Tilillesi luotiin API-avain',
        'API-avaimesi vanhenee 7 päivän kuluttua',
        'API-avaimesi vanhenee vuorokauden kuluessa',
        'Vaihtamaasi API-avainta käytettiin, joten sen seuraajat mitätöitiin',
        'API-avaimesi oli vuotanut ja se mitätöitiin',
      ],
    };
    for (const [tag, language] of [
      [undefined, 'en'],
      ['sv-SE', 'en'],
      ['en-US', 'en'],
      ['fi', 'fi'],
      ['fi_FI', 'fi'],
      ['FI-fi', 'fi'],
    ] as const) {
      it(`speaks ${language} to somebody who prefers ${tag ?? 'nothing'}`, async () => {
        const mails = await deliveredAs(tag, NOTICES);
        expect(mails.map(({ html }) => /<title>(.+)<\/title>/.exec(html)?.[1])).to.deep.equal(subjects[language]);
        for (const { text, html, header } of mails) {
          expect(html).to.contain(`<html lang="${language}">`);
          for (const part of [text, html, header('Subject') ?? '']) {
            expect(part).to.not.match(/mail\.|undefined|null|NaN|\{\{/);
          }
          expect(text).to.contain(
            language === 'fi' ? '15. tammikuuta 2027 klo 8.00 UTC' : '15 January 2027 at 08:00 UTC',
          );
        }
      });
    }

    for (const [zoneinfo, moment] of [
      ['Asia/Tokyo', '15 January 2027 at 17:00 GMT+9'],
      ['America/New_York', '15 January 2027 at 03:00 GMT-5'],
      ['Nowhere/Atlantis', '15 January 2027 at 08:00 UTC'],
    ] as const)
      it(`says times as in ${zoneinfo}`, async () => {
        const [mail] = await deliveredAs('en', NOTICES.slice(0, 1), zoneinfo);
        expect(mail?.text).to.contain(`When: ${moment}`);
        expect(mail?.html).to.contain(moment);
      });

    it('repeats what people chose to the letter, and gives it no power', async () => {
      const nasty = 'x\r\nBcc: eve@example.com\r\n\r\n<b>&"B"</b> {{to}} $t(mail.never) <%= it.to %> \u202eltr\ud800';
      const [mail] = await deliveredAs(undefined, [
        {
          kind: 'token_leaked',
          description: nasty,
          hint: nasty,
          at: START,
          reportedBy: 'eve http://evil.example/?a=b www.evil.example',
          device: '<a href="https://evil.example">Firefox</a>',
        },
      ]);
      const harmless = 'x Bcc: eve@example.com <b>&"B"</b> {{to}} $t(mail.never) <%= it.to %> ltr\ufffd';
      expect(mail?.text.replaceAll('\n', ' ')).to.contain(`Description: ${harmless} Token: ${harmless} Reported by:`);
      expect(mail?.html).to.contain('&lt;b&gt;&amp;&#34;B&#34;&lt;/b&gt; {{to}} $t(mail.never) &lt;%= it.to %&gt;');
      expect(mail?.html).to.not.contain('<b>').and.not.contain('<a href="https://evil');
      for (const part of [mail?.text, mail?.html]) expect(part).to.not.match(/evil\.example/);
      expect(mail?.header('Bcc')).to.equal(undefined);
      expect(mail?.to).to.deep.equal(['pat@example.com']);
    });

    it('cannot be addressed to more or less than one plain address', async () => {
      const smtp = await server();
      const sender = await post({ smtpUrl: smtp.url });
      for (const to of [
        'pat@example.com\r\nBcc: eve@example.com',
        'pat@example.com\nX: y',
        'pat@example.com>\r\nRCPT TO:<eve@example.com',
        'pat@example.com, eve@example.com',
        'pat@example.com;eve@example.com',
        'Pat <pat@example.com>',
        '"pat\r\n"@example.com',
        'pät@example.com',
        'pat@example.com\u0000',
        ' pat@example.com',
        `${'p'.repeat(250)}@example.com`,
        '',
      ]) {
        expect(await outcomeOf(sender.send(aMail(to))), JSON.stringify(to)).to.equal('invalid_request');
      }
      expect(await sender.waiting()).to.have.lengthOf(0);
      expect(smtp.received).to.have.lengthOf(0);
    });
  });

  describe('without an SMTP server', () => {
    let directory: string;
    beforeEach(async () => {
      store = await openEmbeddedStore();
      directory = mkdtempSync(join(tmpdir(), 'latchkey-outbox-'));
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    it('is written to the log and to a file that mail programs open, for the owner only', async () => {
      const outboxDirectory = join(directory, 'data', 'outbox');
      const sender = await post({ outboxDirectory });
      await sender.send(aMail('pat@example.com'));
      await until(async () => (await sender.waiting()).length === 0);
      const [name = ''] = readdirSync(outboxDirectory);
      expect(name).to.match(/^20270115T080000Z-[0-9a-f-]{36}\.eml$/);
      const file = join(outboxDirectory, name);
      expect(statSync(outboxDirectory).mode & 0o777).to.equal(0o700);
      expect(statSync(file).mode & 0o777).to.equal(0o600);
      const written = partsOf(readFileSync(file, 'utf8'));
      expect(written.header('To')).to.equal('pat@example.com');
      expect(written.text).to.contain('https://id.example.com/account/tokens');
      const [line = {}] = sender.logged;
      const { to, subject, text } = line.mail as { to: string; subject: string; text: string[] };
      expect(line).to.include({ level: 30 });
      expect([to, subject]).to.deep.equal(['pat@example.com', written.header('Subject')]);
      expect(text.join('\n').trim()).to.equal(written.text);
    });

    it('is in the log when no file can be written', async () => {
      writeFileSync(join(directory, 'file'), '');
      const sender = await post({ outboxDirectory: join(directory, 'file', 'outbox') });
      await sender.send(aMail('pat@example.com'));
      await until(async () => (await sender.waiting()).length === 0);
      expect(JSON.stringify(sender.logged)).to.contain('no file: ENOTDIR').and.to.contain('Nightly build');
    });

    it('keeps the newest thousand files', async function () {
      this.timeout(20_000);
      const sender = await post({ outboxDirectory: directory });
      for (let n = 0; n < 1_000; n++)
        writeFileSync(join(directory, `20260101T000000Z-${String(n).padStart(4, '0')}.eml`), '');
      writeFileSync(join(directory, 'notes.txt'), '');
      await sender.send(aMail('pat@example.com'));
      await until(async () => (await sender.waiting()).length === 0);
      const files = readdirSync(directory).sort();
      expect(files).to.have.lengthOf(1_001);
      expect(files).to.include('notes.txt').and.not.include('20260101T000000Z-0000.eml');
      expect(files.at(-2)).to.match(/^20270115T/);
    });
  });
});
