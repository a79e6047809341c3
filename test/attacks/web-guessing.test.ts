import { expect } from 'chai';
import { cookieName } from '../../src/oidc/cookie-name.ts';
import { embeddedStore, onEachEngine, PASSWORD, type TestStore } from '../support/app.ts';
import { type Answer, startTarget, type Target } from './web-target.ts';

interface Guess {
  email: string;
  password?: string;
  /** `X-Forwarded-For` as it reaches the server. */
  from?: string;
  /** What the browser shows of earlier sign-ins, in place of what it keeps. */
  cookie?: string;
}

/** A login form that can be sent again and again, as a program does. */
async function openLogin(target: Target, browser = target.browser()) {
  const { url } = await target.start(browser, await target.client({ trusted: true }), { prompt: 'login' });
  return function guess({ email, password = 'a wrong guess', from, cookie }: Guess): Promise<Answer> {
    const kept = browser.cookies().filter(({ path }) => path === '/' || url.pathname.startsWith(path));
    const pairs = kept.map(({ name, value }) => `${name}=${value}`);
    const headers = {
      ...(from === undefined ? {} : { 'x-forwarded-for': from }),
      ...(cookie === undefined
        ? {}
        : { cookie: [...pairs, `${cookieName(target.issuer, 'latchkey-browser')}=${cookie}`].join('; ') }),
    };
    return target.send(url.pathname, { as: browser, body: { email, password }, headers });
  };
}

const count = (answers: readonly Answer[], status: number) =>
  answers.filter((answer) => answer.status === status).length;

onEachEngine((openStore) => {
  describe('an attacker who guesses', () => {
    let store: TestStore;
    let target: Target;
    /** Another server on the same store, which trusts no proxy. */
    let exposed: Target;

    before(async () => {
      store = await openStore();
      target = await startTarget(store, { TRUSTED_PROXIES: '127.0.0.1/32' });
      exposed = await startTarget(store, { ISSUER: target.issuer });
    });
    afterEach(async () => {
      await target.unharmed();
      await exposed.unharmed();
    });
    after(async () => {
      await Promise.all([target.close(), exposed.close()]);
      await store.remove();
    });

    it('keeps few passwords in work, by however many guesses at once: the others are told when to come back', async () => {
      const guess = await openLogin(target);
      const guesses = Array.from({ length: 150 }, (_, n) =>
        guess({ email: `nobody${n}@example.com`, from: `198.51.${n}.1` }),
      );
      target.expectOutage(true);
      const answers = await Promise.all(guesses);
      target.expectOutage(false);
      const refused = answers.filter(({ status }) => status === 503);
      expect(refused.length).to.be.at.least(20);
      for (const { headers } of refused) expect(Number(headers['retry-after'])).to.be.within(1, 10);
      expect(count(answers, 401))
        .to.equal(150 - refused.length)
        .and.at.least(60);
      const { email } = await target.person();
      expect((await guess({ email, password: PASSWORD, from: '198.51.1.2' })).status).to.equal(303);
    });

    it('has five tries, however many at once and at how many servers', async () => {
      const { email } = await target.person();
      const from = '203.0.113.1';
      const forms = await Promise.all([openLogin(target), openLogin(target)]);
      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, n) => forms[n % 2]?.({ email, from }) as Promise<Answer>),
      );
      expect(count(answers, 401)).to.equal(5);
      expect(count(answers, 429)).to.equal(35);

      const [guess] = forms;
      const late = await guess({ email, password: PASSWORD, from });
      expect(late.status, 'right, but too late').to.equal(429);
      expect(Number(late.headers['retry-after'])).to.be.within(1, 900);
      expect(late.text).to.contain('Too many tries');
      for (const spelling of [email.toUpperCase(), email.replace('person', 'PERSON')]) {
        expect((await guess({ email: spelling, password: PASSWORD, from })).status, spelling).to.equal(429);
      }
      const elsewhere = await guess({ email, password: PASSWORD, from: '203.0.113.2' });
      expect(elsewhere.status, 'its owner elsewhere').to.equal(303);
    });

    it('gets nobody refused who knows the password, in however many tabs at once and at how many servers', async () => {
      const { email } = await target.person();
      const other = await startTarget(store, { ISSUER: target.issuer, TRUSTED_PROXIES: '127.0.0.1/32' });
      const forms = await Promise.all(Array.from({ length: 12 }, (_, n) => openLogin(n % 2 ? other : target)));
      const from = '203.0.113.40';
      const answers = await Promise.all(forms.map((guess) => guess({ email, password: PASSWORD, from })));
      await other.close();
      expect(answers.map(({ status }) => status)).to.deep.equal(Array(12).fill(303));
    });

    it('has no more tries by making addresses up', async () => {
      const { email } = await target.person();
      const spray = await openLogin(target);
      for (let n = 0; n < 5; n++) await spray({ email, from: `198.51.100.${n}, 203.0.113.3` });
      for (const from of [
        '192.0.2.9, 203.0.113.3',
        `${'10.0.0.1, '.repeat(200)}203.0.113.3`,
        '127.0.0.1,203.0.113.3',
        ' , 203.0.113.3',
      ]) {
        expect((await spray({ email, from })).status, from.slice(-40)).to.equal(429);
      }

      const other = await target.person();
      const direct = await openLogin(exposed);
      for (let n = 0; n < 5; n++) await direct({ email: other.email, from: `198.51.100.${n}` });
      expect((await direct({ email: other.email, from: '198.51.100.9' })).status).to.equal(429);
    });

    it('is stopped when it tries one password on many people', async () => {
      const guess = await openLogin(target);
      const answers: Answer[] = [];
      for (let wave = 0; wave < 10; wave++) {
        const emails = Array.from({ length: 20 }, (_, n) => `somebody${wave}-${n}@example.com`);
        answers.push(...(await Promise.all(emails.map((email) => guess({ email, from: '203.0.113.4' })))));
      }
      expect(count(answers, 401)).to.equal(50);
      expect(count(answers, 429)).to.equal(150);
      const { email } = await target.person();
      expect((await guess({ email, password: PASSWORD, from: '203.0.113.4' })).status).to.equal(429);
      expect((await guess({ email, password: PASSWORD, from: '203.0.113.5' })).status).to.equal(303);
    });

    it('has many addresses of one IPv6 network for one', async () => {
      const { email } = await target.person();
      const guess = await openLogin(target);
      for (let n = 0; n < 5; n++) await guess({ email, from: `2001:db8:1:2::${n}` });
      expect((await guess({ email, from: '2001:db8:1:2:ffff::1' })).status).to.equal(429);
      expect((await guess({ email, from: '2001:db8:1:3::1' })).status).to.equal(401);
    });

    it('has few tries at one account from many addresses, as many as at one that does not exist', async () => {
      const { email } = await target.person();
      const forms = await Promise.all([openLogin(target), openLogin(target)]);
      /** From 60 addresses at once, five times. */
      const allFrom = async (addressOf: (n: number) => string, at: string) => {
        const answers: Answer[] = [];
        for (let wave = 0; wave < 5; wave++) {
          const guesses = Array.from({ length: 60 }, async (_, n) => forms[n % 2]?.({ email: at, from: addressOf(n) }));
          answers.push(...((await Promise.all(guesses)) as Answer[]));
        }
        return answers;
      };
      for (const at of [email, 'nobody-at-all@example.com']) {
        const answers = await allFrom((n) => `198.51.100.${n}`, at);
        expect(count(answers, 401), at).to.equal(20);
        expect(count(answers, 429), at).to.equal(280);
      }
      const site = await target.person();
      const answers = await allFrom((n) => `2001:db8:9:${n.toString(16)}::1`, site.email);
      expect(count(answers, 401), 'many networks of one site').to.equal(20);
    });

    it('keeps nobody out of a browser in which they signed in before, also behind its own address', async () => {
      const person = await target.person();
      const known = target.browser();
      await target.signIn(known, person);
      const stranger = await openLogin(target);
      for (let n = 0; n < 30; n++)
        await stranger({ email: person.email, from: `203.0.113.${100 + Math.floor(n / 5)}` });
      for (let n = 0; n < 60; n++) await stranger({ email: `somebody-${n}@example.com`, from: '203.0.113.100' });
      const unknown = await openLogin(target);
      expect((await unknown({ ...person, from: '203.0.113.200' })).status, 'somewhere new').to.equal(429);

      const login = await openLogin(target, known);
      expect((await login({ email: person.email, from: '203.0.113.100' })).status, 'a slip').to.equal(401);
      expect((await login({ ...person, from: '203.0.113.100' })).status, 'in its own browser').to.equal(303);
      const { email } = await target.person();
      expect((await login({ email, password: PASSWORD, from: '203.0.113.100' })).status, 'other people').to.equal(429);

      const tries = await Promise.all(
        Array.from({ length: 20 }, (_, n) => login({ email: person.email, from: `198.51.100.${n}` })),
      );
      expect(count(tries, 401), 'whoever has taken that browser').to.equal(5);
    });

    it('is a stranger again in a browser whose account has another password, or that shows what is not its own', async () => {
      const person = await target.person();
      const known = target.browser();
      await target.signIn(known, person);
      const kept =
        known.cookies().find(({ name }) => name === cookieName(target.issuer, 'latchkey-browser'))?.value ?? '';
      expect(kept).to.match(/^[\w-]{22}\.[\w-]{22}$/);
      const stranger = await openLogin(target);
      for (let n = 0; n < 20; n++) await stranger({ email: person.email, from: `203.0.113.${120 + (n % 10)}` });

      const login = await openLogin(target, target.browser());
      const tryWith = (cookie: string, form = login) => form({ ...person, from: '203.0.113.201', cookie });
      const [browser = '', proof = ''] = kept.split('.');
      for (const cookie of [
        `${'x'.repeat(22)}.${proof}`,
        `${browser}.${'x'.repeat(22)}`,
        browser,
        `${kept}.x`,
        '.',
        '',
      ])
        expect((await tryWith(cookie)).status, cookie).to.equal(429);
      expect((await tryWith(kept)).status, 'itself').to.equal(303);
      await target.directory.accounts.setPassword(person.id, PASSWORD);
      const another = await openLogin(target, target.browser());
      expect((await tryWith(kept, another)).status, 'after another password').to.equal(429);
    });
  });
});

describe('an attacker of e-mails and passwords', () => {
  let store: TestStore;
  let target: Target;
  let sources = 0;

  before(async () => {
    store = await embeddedStore();
    target = await startTarget(store, { TRUSTED_PROXIES: '127.0.0.1/32' });
  });
  afterEach(() => target.unharmed());
  after(async () => {
    await target.close();
    await store.remove();
  });

  /** One try, never slowed down: each comes from a network of its own. */
  async function tryTo({ email, password = PASSWORD }: Guess): Promise<Answer> {
    const guess = await openLogin(target);
    sources += 1;
    return guess({ email, password, from: `198.18.${sources >> 8}.${sources & 255}` });
  }

  it('cannot tell from the answer who has an account', async () => {
    const { directory } = target;
    const people = [await target.person(), await target.person({ status: 'pending' }), await target.person()];
    await directory.accounts.disable(people[2]?.id ?? '');
    const answers = [
      await tryTo({ email: people[0]?.email ?? '', password: 'a wrong guess' }),
      await tryTo({ email: people[1]?.email ?? '' }),
      await tryTo({ email: people[2]?.email ?? '' }),
      await tryTo({ email: 'nobody@example.com' }),
    ];
    const shown = answers.map(({ status, text, headers }) => ({
      status,
      names: Object.keys(headers),
      text: text.replace(/value="[^"]*"/g, '').replace(/\/interaction\/[\w-]+/g, ''),
    }));
    for (const answer of shown) expect(answer).to.deep.equal(shown[0]);
    expect(shown[0]?.status).to.equal(401);
  });

  it('is nobody else by an e-mail that looks or folds like theirs', async () => {
    await target.person({ email: 'admin@example.com' });
    // The name system knows these domains as the same one.
    for (const email of ['Admin@Example.COM', 'admin@example\u3002com'])
      expect((await tryTo({ email })).status, email).to.equal(303);
    const others = [
      'ADM\u0130N@example.com',
      'adm\u0131n@example.com',
      '\uff41dmin@example.com',
      'admin\uff20example.com',
      'admin@example.com.',
      'admin@example.com\r\nBcc: x',
      'admin@example.com\0',
      ' admin@example.com',
      '"admin"@example.com',
      'admin@[127.0.0.1]',
      'admin@example.com,admin@evil.example',
      'admin%40example.com',
      'admin@exa\u00admple.com',
      'x'.repeat(50_000),
    ];
    for (const email of others) expect((await tryTo({ email })).status, email.slice(0, 60)).to.equal(401);
  });

  it('must have every character of a password right', async () => {
    const passwords = [
      'nine\0nine\0nine',
      '  spaces around it  ',
      '\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}',
      `${'x'.repeat(250)}longer`,
      'p\u00e4ssw\u00f6rt-\u00df-\u0130',
      'a&b=c+d%20e;f#g',
    ];
    for (const password of passwords) {
      const { email } = await target.person({ password });
      expect((await tryTo({ email, password })).status, password).to.equal(303);
      for (const wrong of [
        password.slice(0, -1),
        `${password}x`,
        password.split('\0')[0] ?? '',
        password.trim(),
        password.slice(0, 72),
        password.toUpperCase(),
      ]) {
        if (wrong !== password) expect((await tryTo({ email, password: wrong })).status, wrong).to.equal(401);
      }
    }
    const [whole = '', composed = ''] = ['caf\u00e9 au lait', 'cafe\u0301 au lait'];
    const { email } = await target.person({ password: whole });
    expect((await tryTo({ email, password: composed })).status, 'the same letters').to.equal(303);
  });

  it('cannot make a password check expensive', async () => {
    const { email } = await target.person();
    const before = process.cpuUsage();
    expect((await tryTo({ email, password: 'x'.repeat(1_000_000) })).status).to.equal(413);
    expect((await tryTo({ email, password: '\u0390'.repeat(9_000) })).status, 'expands when normalized').to.equal(401);
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 2 / 1_000, 'milliseconds of work').to.be.lessThan(100);
  });

  it('finds no first administrator with a password that can be guessed', async () => {
    const code = (await target.directory.setup.code()) ?? '';
    const weak = [
      '',
      'seven77',
      'password',
      'Password1',
      '12345678',
      'latchkey',
      'Latchkey2026!',
      'root@example.com',
      'root1234',
      'qwertyuiop',
      'x'.repeat(257),
    ];
    const fields = { code, email: 'root@example.com', given_name: '', family_name: '' };
    for (const password of weak) {
      const { status, text } = await target.send('/setup', { body: { ...fields, password } });
      expect(status, password).to.equal(400);
      expect(text).to.contain('id="password-problem"');
      const isRepeated = text.replace(fields.email, '').includes(`value="${password || 'nothing'}"`);
      expect(isRepeated, password).to.equal(false);
    }
    for (const email of [
      '',
      'root',
      'root@',
      'a@b@c.example',
      'root@example.com\r\nBcc: x',
      `${'x'.repeat(250)}@example.com`,
      '<script>@example.com',
    ]) {
      const { status, text } = await target.send('/setup', { body: { ...fields, email, password: PASSWORD } });
      expect(status, email).to.equal(400);
      expect(text).to.contain('id="email-problem"');
    }
    for (const given_name of ['<b>', 'a\r\nb', '\u202eevil', 'x'.repeat(1_000)]) {
      const { status } = await target.send('/setup', { body: { ...fields, given_name, password: PASSWORD } });
      expect(status, given_name).to.equal(400);
    }
    expect(await target.directory.accounts.hasAdministrator()).to.equal(false);
    const { status } = await target.send('/setup', { body: { ...fields, password: 'x&8 bytes' } });
    expect(status, 'the link still works').to.equal(200);
  });

  it('cannot register where nobody may', async () => {
    const fields = { email: 'new@example.com', password: PASSWORD };
    for (const path of [
      '/register',
      '/registration',
      '/signup',
      '/sign-up',
      '/identity/register',
      '/account/register',
      '/invite',
      '/recovery',
      '/reset',
    ]) {
      expect((await target.send(path)).status, path).to.equal(404);
      expect((await target.send(path, { body: fields })).status, path).to.equal(404);
      const json = {
        headers: { 'content-type': 'application/json' },
        body: '{"redirect_uris":["https://evil.example/"]}',
      };
      expect((await target.send(path, json)).status, path).to.equal(404);
    }
    expect(await target.directory.accounts.findByEmail(fields.email)).to.equal(undefined);
  });
});
