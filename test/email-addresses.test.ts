/** One rule for e-mail addresses, at every door: those in real use are taken, in one spelling, and nobody's is somebody else's. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { expect } from 'chai';
import { onEachEngine, PASSWORD, startApp, type TestApp, type TestStore } from './support/app.ts';
import { createBrowser } from './support/browser.ts';
import { FAKES_ALLOWED } from './support/exchange.ts';
import { formOf, walk } from './support/flow.ts';
import { aMail, openPost, type Post } from './support/mail.ts';
import { arrive, askAsPartner, loginPath, partnerApp } from './support/partner.ts';
import { failureOf } from './support/people.ts';
import { type Providers, signInWith, startProviders } from './support/provider-sign-in.ts';
import { shell, shellJson } from './support/shell.ts';

/** As people write them, and as they are kept. */
const IN_USE: Array<[written: string, kept: string]> = [
  ['ann@example.xn--p1ai', 'ann@example.xn--p1ai'],
  ['Ann@пример.рф', 'ann@xn--e1afmkfd.xn--p1ai'],
  ['ann@MÜNCHEN.example', 'ann@xn--mnchen-3ya.example'],
  ['ann@例え。テスト', 'ann@xn--r8jz45g.xn--zckzah'],
  ['taro..yamada@docomo.ne.jp', 'taro..yamada@docomo.ne.jp'],
  ['.taro.@docomo.ne.jp', '.taro.@docomo.ne.jp'],
  ['root@localhost', 'root@localhost'],
  ['ann=ops@example.com', 'ann=ops@example.com'],
  ["o'hara+news@example.com", "o'hara+news@example.com"],
  ['dept/ann@example.com', 'dept/ann@example.com'],
  ["!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~@example.com"],
  ['ann@10.example', 'ann@10.example'],
  [`${'a'.repeat(64)}@example.museum`, `${'a'.repeat(64)}@example.museum`],
];

/** Two spellings each of one mailbox. */
const SAME = [
  ['ann@пример.рф', 'ANN@XN--E1AFMKFD.XN--P1AI'],
  ['ben@bücher.example', 'ben@bu\u0308cher.example'],
  ['cas@BÜCHER.example', 'cas@xn--bcher-kva.Example'],
] as const;

const REFUSED = [
  'ann',
  'ann@',
  '@example.com',
  'ann@example..com',
  'ann@-example.com',
  'ann@example-.com',
  'ann@exa_mple.com',
  'ann@example.com.',
  'ann lee@example.com',
  '"ann lee"@example.com',
  'ann@[127.0.0.1]',
  'änn@example.com',
  'ann@ex\u0430mple.com',
  'ann@ｅxample.com',
  'ann@exam\u00adple.com',
  'ann@exa%6dple.com',
  'ann@пример.рф/path',
  'ann@пример.рф:25',
  'ann@example.com\r\nBcc: eve@example.com',
  'ann@example.com,eve@example.com',
  'Ann <ann@example.com>',
  `${'a'.repeat(65)}@example.com`,
  `ann@${'a'.repeat(64)}.com`,
  `ann@${'a.'.repeat(125)}com`,
];

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let providers: Providers;
  let mails: SmtpWire;
  let post: Post;

  before(async () => {
    [store, providers, mails] = await Promise.all([openStore(), startProviders(), startSmtpWire()]);
    app = await startApp(store, FAKES_ALLOWED);
    post = await openPost({ storeUrl: store.storeUrl, smtpUrl: mails.url });
    await providers.register(app.directory);
  });
  after(async () => {
    await post.close();
    await app.close();
    await Promise.all([providers.close(), mails.stop()]);
    await store.remove();
  });

  const signIn = (email: string) =>
    walk(createBrowser(app.issuer), `${app.issuer}/account`, { email, password: PASSWORD });

  /** The person who has the address is gone, and the address free. */
  async function free(email: string): Promise<void> {
    const { id } = await app.directory.accounts.getOrFail(email);
    await app.directory.accounts.remove(id);
  }

  it('takes those in real use from a person who makes an account for others, signs them in, and writes to them', async () => {
    const administrator = await app.person({ administrator: true });
    const browser = createBrowser(app.issuer);
    await walk(browser, `${app.issuer}/admin`, administrator);
    for (const [written, kept] of IN_USE) {
      const page = await browser.open('/admin/accounts/new');
      const { fields } = formOf(page.text.slice(page.text.indexOf('action="/admin/accounts/new"') - 40));
      const sent = { ...fields, email: written, password: PASSWORD, status: 'active' };
      const made = await browser.submit('/admin/accounts/new', sent);
      expect(made.url.pathname, written).to.match(/^\/admin\/accounts\/[0-9a-f-]{36}$/);
      expect((await app.directory.accounts.getOrFail(written)).email).to.equal(kept);
      for (const spelling of [written, kept])
        expect((await signIn(spelling)).url.pathname, spelling).to.equal('/account');
      await post.send(aMail(written));
      await free(written);
    }
    await post.round();
    // Dots at odd places travel quoted (RFC 5321 §4.1.2).
    const asSent = (kept: string) => kept.replace(/^(\..*|.*\.\..*)@/, '"$1"@');
    for (const [, kept] of IN_USE) expect(mails.recipients).to.include(`<${asSent(kept)}>`);
  }).timeout(60_000);

  it('takes them from partners and from providers', async () => {
    const partner = await partnerApp(app.directory);
    await app.directory.identityProviders.update('openid', { newPeople: { policy: 'active' } });
    for (const [written, kept] of IN_USE) {
      const { status, body } = await askAsPartner(app.issuer, 'token', partner, { email: written });
      expect(status, written).to.equal(200);
      expect((await arrive(createBrowser(app.issuer), loginPath(String(body.access_token)))).url.pathname).to.equal(
        '/account',
      );
      expect((await app.directory.accounts.getOrFail(kept)).email).to.equal(kept);
      await free(kept);
      const person = providers.somebody({ email: written });
      await signInWith({ browser: createBrowser(app.issuer), person, provider: 'openid' });
      expect((await app.directory.accounts.getOrFail(kept)).emailVerified).to.equal(true);
      await free(kept);
    }
  }).timeout(60_000);

  it('knows a domain in its own script and in ASCII as one, and gives it to one person', async () => {
    for (const [one, other] of SAME) {
      const { id, email } = await app.directory.accounts.create({ email: one, password: PASSWORD });
      expect(email).to.match(/^[\x21-\x7e]+$/);
      expect((await app.directory.accounts.getOrFail(other)).id).to.equal(id);
      const again = await shell(store, ['account', 'create', '--email', other, '--password', PASSWORD]);
      expect(again).to.include({ status: 1, stdout: '' });
      expect(again.stderr).to.contain('there is an account with this e-mail already');
      expect((await signIn(other)).url.pathname).to.equal('/account');
      await free(one);
    }
  }).timeout(20_000);

  it('holds a partner to its domains in either spelling', async () => {
    const partner = await partnerApp(app.directory, { sso: { emailDomains: ['пример.рф', 'localhost'] } });
    const statusFor = async (email: string) => (await askAsPartner(app.issuer, 'token', partner, { email })).status;
    for (const email of ['ann@xn--e1afmkfd.xn--p1ai', 'ben@пример.рф', 'cas@localhost'])
      expect(await statusFor(email)).to.equal(200);
    expect(await statusFor('ann@example.com')).to.equal(403);
  });

  it('tells the APIs behind it the address in ASCII', async () => {
    const { id } = await app.directory.accounts.create({ email: 'zoë@пример.рф'.replace('ë', 'e') });
    const account = await app.directory.accounts.getOrFail(id);
    const { token } = await app.directory.personalTokens.create(account, { description: 'API' });
    const answer = await fetch(`${app.issuer}/verify`, { headers: { authorization: `Bearer ${token}` } });
    expect(answer.headers.get('x-auth-email')).to.equal('zoe@xn--e1afmkfd.xn--p1ai');
  });

  it('refuses what no form of a browser takes, or what is meant to be taken for another address', async () => {
    const partner = await partnerApp(app.directory);
    for (const email of REFUSED) {
      const { status, body } = await askAsPartner(app.issuer, 'token', partner, { email });
      expect([status, body.field], email).to.deep.equal([400, 'email']);
      expect(await app.directory.accounts.findByEmail(email)).to.equal(undefined);
      const sent = await failureOf(post.send(aMail(email)));
      expect(sent.code, email).to.equal('invalid_request');
    }
  });

  it('takes them from the shell', async () => {
    const [written, kept] = ['shell..ann=ops@пример.рф', 'shell..ann=ops@xn--e1afmkfd.xn--p1ai'];
    const made = await shellJson(store, 'account', 'create', '--email', written, '--password', PASSWORD);
    expect(made.email).to.equal(kept);
    expect(await shellJson(store, 'account', 'delete', kept)).to.deep.equal({ id: made.id, status: 'deleted' });
  }).timeout(20_000);
});

interface SmtpWire {
  url: string;
  /** What stood in each `RCPT TO`, to the letter. */
  recipients: string[];
  stop(): Promise<void>;
}

/** An SMTP server that takes everything as it comes. */
async function startSmtpWire(): Promise<SmtpWire> {
  const recipients: string[] = [];
  const server = createServer((socket) => {
    let inMessage = false;
    socket.on('error', () => undefined).write('220 wire\r\n');
    createInterface({ input: socket }).on('line', (line) => {
      if (inMessage && line !== '.') return;
      inMessage = line === 'DATA';
      if (line.startsWith('RCPT TO:')) recipients.push(line.slice('RCPT TO:'.length));
      socket.write(inMessage ? '354 go on\r\n' : '250 fine\r\n');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `smtp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    recipients,
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
