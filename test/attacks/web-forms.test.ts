import { expect } from 'chai';
import { embeddedStore, PASSWORD, type TestStore } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { type Answer, type Attack, startTarget, type Target } from './web-target.ts';

const FORM = 'application/x-www-form-urlencoded';

/** A form that somebody has open: where it goes, what they would send, and whether it was carried out. */
interface OpenForm {
  browser: Browser;
  path: string;
  fields: Record<string, string>;
  isDone(): Promise<boolean>;
}

describe('an attacker of forms', () => {
  let store: TestStore;
  let target: Target;

  before(async () => {
    store = await embeddedStore();
    target = await startTarget(store);
  });
  afterEach(() => target.unharmed());
  after(async () => {
    await target.close();
    await store.remove();
  });

  /** Each form that changes something, opened by a person. */
  const forms: Record<string, () => Promise<OpenForm>> = {
    async login() {
      const [browser, person] = [target.browser(), await target.person()];
      const { url } = await target.start(browser, await target.client());
      const fields = { email: person.email, password: person.password };
      return {
        browser,
        path: url.pathname,
        fields,
        isDone: async () => !(await isOpen(browser, url.pathname, 'name="password"')),
      };
    },
    async cancel() {
      const browser = target.browser();
      const { url } = await target.start(browser, await target.client());
      return {
        browser,
        path: `${url.pathname}/cancel`,
        fields: {},
        isDone: async () => !(await isOpen(browser, url.pathname, 'name="password"')),
      };
    },
    async consent() {
      const browser = target.browser();
      await target.signIn(browser, await target.person());
      const { url } = await target.start(browser, await target.client());
      return {
        browser,
        path: url.pathname,
        fields: { decision: 'allow' },
        isDone: async () => !(await isOpen(browser, url.pathname, 'name="decision"')),
      };
    },
    async chooser() {
      const [browser, person] = [target.browser(), await target.person()];
      await target.signIn(browser, person);
      const { url } = await target.start(browser, await target.client(), { prompt: 'select_account' });
      return {
        browser,
        path: url.pathname,
        fields: { account: person.id },
        isDone: async () => !(await isOpen(browser, url.pathname, 'name="account"')),
      };
    },
    async setup() {
      const code = (await target.directory.setup.code()) ?? '';
      const fields = { code, email: 'root@example.com', password: PASSWORD, given_name: '', family_name: '' };
      return {
        browser: target.browser(),
        path: '/setup',
        fields,
        isDone: () => target.directory.accounts.hasAdministrator(),
      };
    },
    async logout() {
      const browser = target.browser();
      await target.signIn(browser, await target.person());
      const { text } = await browser.open('/identity/logout');
      const xsrf = /name="xsrf" value="([^"]+)"/.exec(text)?.[1] ?? '';
      const isDone = async () => (await target.send('/account', { as: browser })).status !== 200;
      return { browser, path: '/identity/logout/confirm', fields: { xsrf, logout: 'yes' }, isDone };
    },
  };

  /** Whether the interaction still waits for what it asked. */
  async function isOpen(browser: Browser, path: string, field: string): Promise<boolean> {
    const { status, text } = await target.send(path, { as: browser });
    return status === 200 && text.includes(field);
  }

  /** Sends each attack at the same open form; none may do anything, and the person can then finish. */
  async function refuseAll(
    name: string,
    attacks: (form: OpenForm) => Record<string, { path?: string } & Attack>,
    ...statuses: number[]
  ) {
    const form = await forms[name]?.();
    if (!form) throw new Error(`there is no form ${name}`);
    for (const [attack, { path = form.path, ...sent }] of Object.entries(attacks(form))) {
      const answer = await target.send(path, { as: form.browser, ...sent });
      expect(answer.status, `${attack} → ${titleIn(answer)}`).to.be.oneOf(statuses);
      expect(await form.isDone(), attack).to.equal(false);
    }
    if (name === 'setup') return; // can be finished once, which the last case does
    await form.browser.submit(form.path, form.fields);
    expect(await form.isDone(), 'its owner').to.equal(true);
  }

  const titleIn = ({ text }: Answer) => /<h1>([^<]*)/.exec(text)?.[1] ?? text.slice(0, 80);

  const CROSS_SITE: Record<string, Record<string, string>> = {
    'another site': { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
    'another site, no Origin': { 'sec-fetch-site': 'cross-site' },
    'a sibling host': { 'sec-fetch-site': 'same-site', origin: 'http://localhost:1' },
    'a page with our Origin that the browser knows better': { 'sec-fetch-site': 'cross-site', origin: '<issuer>' },
    'an older browser on another site': { origin: 'https://evil.example' },
    'an older browser in a frame of another site': { origin: 'null', referer: 'https://evil.example/' },
    'a host that begins like ours': { origin: '<issuer>.evil.example' },
    'our host over TLS': { origin: '<https issuer>' },
    'an Origin with a path': { origin: '<issuer>/' },
    'something a browser never says': { 'sec-fetch-site': 'Same-Origin, none' },
  };

  function crossSite(form: OpenForm): Record<string, Attack> {
    const fill = (value: string) =>
      value.replace('<https issuer>', target.issuer.replace('http:', 'https:')).replace('<issuer>', target.issuer);
    const filled = Object.entries(CROSS_SITE).map(([name, headers]) => {
      const sent = Object.fromEntries(Object.entries(headers).map(([header, value]) => [header, fill(value)]));
      return [name, { body: form.fields, headers: sent }];
    });
    return Object.fromEntries(filled);
  }

  for (const name of ['login', 'cancel', 'consent', 'chooser', 'setup']) {
    it(`cannot send ${name} from anywhere but our own pages`, () => refuseAll(name, crossSite, 403));
  }

  for (const name of ['login', 'consent', 'chooser', 'cancel', 'logout']) {
    it(`takes ${name} from its own page though the browser, or a hop, hides where it comes from`, async () => {
      for (const headers of [{ origin: 'null' }, { origin: 'null', referer: `${target.issuer}/` }]) {
        const form = await forms[name]?.();
        if (!form) throw new Error(`there is no form ${name}`);
        const { status, headers: sent } = await target.send(form.path, {
          as: form.browser,
          body: form.fields,
          headers,
        });
        expect(status).to.equal(303);
        await form.browser.open(String(sent.location));
        expect(await form.isDone()).to.equal(true);
      }
    });
  }

  /** Every other shape of the same content. */
  function otherShapes({ fields, path }: OpenForm): Record<string, { path?: string } & Attack> {
    const urlencoded = new URLSearchParams(fields).toString();
    const boundary = 'x';
    const parts = Object.entries(fields).map(
      ([field, value]) => `--x\r\ncontent-disposition: form-data; name="${field}"\r\n\r\n${value}\r\n`,
    );
    const as = (type: string | undefined, body: string, more = {}) => ({
      body,
      method: 'POST',
      headers: { ...(type === undefined ? {} : { 'content-type': type }), ...more },
    });
    return {
      'text/plain': as('text/plain', urlencoded),
      JSON: as('application/json', JSON.stringify(fields)),
      multipart: as(`multipart/form-data; boundary=${boundary}`, `${parts.join('')}--x--\r\n`),
      'no type': as(undefined, urlencoded),
      'an invented type': as(`${FORM}-not`, urlencoded),
      'two types': as(`text/plain, ${FORM}`, urlencoded),
      gzip: as(FORM, urlencoded, { 'content-encoding': 'gzip' }),
      'in the query': { path: `${path}?${urlencoded}`, method: 'POST', body: '', headers: { 'content-type': FORM } },
    };
  }

  for (const name of ['login', 'consent', 'chooser', 'setup', 'logout']) {
    it(`cannot send ${name} in another shape`, () => refuseAll(name, otherShapes, 400, 415));
  }

  /** The same content by another method. */
  function otherMethods({ fields, path }: OpenForm): Record<string, { path?: string } & Attack> {
    const query = `${path}?${new URLSearchParams(fields)}`;
    const override = { 'x-http-method-override': 'POST', 'x-http-method': 'POST', 'x-method-override': 'POST' };
    return {
      GET: { path: query },
      'GET that claims to be POST': { path: `${query}&_method=POST`, headers: override },
      'GET with a body': { method: 'GET', body: fields },
      HEAD: { path: query, method: 'HEAD' },
      PUT: { method: 'PUT', body: fields },
      PATCH: { method: 'PATCH', body: fields },
      DELETE: { path: query, method: 'DELETE' },
      OPTIONS: { path: query, method: 'OPTIONS' },
      TRACE: { path: query, method: 'TRACE' },
    };
  }

  for (const name of Object.keys(forms)) {
    it(`cannot send ${name} by another method`, () => refuseAll(name, otherMethods, 200, 400, 404, 405));
  }

  it('cannot make a form of one step answer another', async () => {
    const consent = await forms.consent?.();
    if (!consent) throw new Error('no consent');
    for (const fields of [
      { account: 'other' },
      { decision: 'maybe' },
      { decision: 'Allow' },
      { account: '', decision: '' },
      {},
    ]) {
      const { status } = await target.send(consent.path, { as: consent.browser, body: fields });
      expect(status, JSON.stringify(fields)).to.equal(400);
    }
    const login = await forms.login?.();
    if (!login) throw new Error('no login');
    for (const fields of [
      { decision: 'allow' },
      { account: 'other' },
      { email: 'a@example.com' },
      { password: 'only' },
    ]) {
      const { status } = await target.send(login.path, { as: login.browser, body: fields });
      expect(status, JSON.stringify(fields)).to.equal(400);
    }
    expect(await consent.isDone()).to.equal(false);
    expect(await login.isDone()).to.equal(false);
  });

  it('cannot choose an account that was not offered', async () => {
    const chooser = await forms.chooser?.();
    if (!chooser) throw new Error('no chooser');
    const other = await target.person();
    for (const account of [other.id, other.email, '', 'OTHER', `${chooser.fields.account} `, '__proto__']) {
      const { status } = await target.send(chooser.path, { as: chooser.browser, body: { account } });
      expect(status, account).to.equal(400);
    }
    expect(await chooser.isDone()).to.equal(false);
  });

  it('gets no more by consent than what was asked', async () => {
    await target.directory.permissions.create({ name: 'payroll', description: 'Read the payroll' });
    const client = await target.client({ permissions: ['payroll'] });
    const person = await target.person({ permissions: ['payroll'] });
    const browser = target.browser();
    await target.signIn(browser, person);
    const { url } = await target.start(browser, client);
    const greedy = {
      decision: 'allow',
      scope: 'openid payroll',
      scopes: 'payroll',
      'scopes[]': 'payroll',
      grantId: 'x',
      accountId: 'x',
    };
    const landing = await browser.submit(url.pathname, greedy);
    const credentials = Buffer.from(`${client.id}:${client.secret}`).toString('base64');
    const tokens = await target.send('/identity/token', {
      headers: { authorization: `Basic ${credentials}`, accept: '*/*' },
      body: {
        grant_type: 'authorization_code',
        code: landing.url.searchParams.get('code') ?? '',
        redirect_uri: client.redirectUri,
      },
    });
    expect(JSON.parse(tokens.text).scope).to.equal('openid');
    const again = await target.start(browser, client, { scope: 'openid payroll' });
    expect(again.text).to.contain('Read the payroll');
  });

  describe('of their content', () => {
    const send = async (name: string, body: string | Buffer, headers: Record<string, string> = {}) => {
      const form = await forms[name]?.();
      if (!form) throw new Error(`there is no form ${name}`);
      const answer = await target.send(form.path, {
        as: form.browser,
        body,
        headers: { 'content-type': FORM, ...headers },
      });
      expect(await form.isDone(), body.slice(0, 80).toString()).to.equal(false);
      return answer;
    };
    const bad: Record<string, string | Buffer> = {
      'a doubled field': 'email=a%40example.com&email=b%40example.com&password=x',
      'a list': 'email[]=a%40example.com&password=x',
      'an object': 'email[x]=a%40example.com&password=x',
      'five thousand fields': `${Array.from({ length: 5000 }, (_, n) => `f${n}=1`).join('&')}`,
      'deep nesting': `a${'[b]'.repeat(2000)}=1`,
      'no fields': '',
      'a prototype': '__proto__[email]=a%40example.com&__proto__[password]=x&__proto__[isAdmin]=1',
      'a constructor': 'constructor[prototype][email]=a&constructor.prototype.password=x',
      'too much': `email=a&password=${'x'.repeat(60_000)}`,
      'bytes that are no text': Buffer.from([0xff, 0xfe, 0x00, 0x80]),
      'only separators': '&'.repeat(5_000),
      'only signs': '='.repeat(5_000),
    };
    for (const [name, body] of Object.entries(bad)) {
      it(`is refused ${name}`, async () => {
        for (const form of ['login', 'consent', 'setup']) {
          expect((await send(form, body)).status, form).to.be.oneOf([400, 413]);
        }
        expect(({} as Record<string, unknown>).isAdmin).to.equal(undefined);
      });
    }

    it('reads no other character set than UTF-8', async () => {
      const { status } = await send('login', 'email=+AEA-example.com&password=x', {
        'content-type': `${FORM}; charset=utf-7`,
      });
      expect(status).to.equal(415);
    });

    it('reaches neither the templates nor their engine', async () => {
      const options = {
        'settings[view options][outputFunctionName]': 'x;process.exit(1);//',
        'settings[view options][client]': '1',
        'settings[view options][escapeFunction]': '1;return process.env',
        '__proto__[client]': '1',
        '__proto__[outputFunctionName]': 'x',
        escapeFunction: 'JSON.stringify',
        client: 'true',
        cache: 'false',
        debug: 'true',
        delimiter: '?',
        filename: '/etc/passwd',
        locale: '../../etc/passwd',
        it: 'x',
        page: 'x',
        content: '<script>alert(1)</script>',
        view: 'error',
      };
      for (const name of ['login', 'consent', 'chooser', 'setup', 'logout']) {
        const form = await forms[name]?.();
        if (!form) throw new Error(name);
        const path = name === 'logout' ? '/identity/logout' : form.path;
        const page = async (query: Record<string, string>) => {
          const code = form.fields.code === undefined ? {} : { code: form.fields.code };
          const { text } = await target.send(`${path}?${new URLSearchParams({ ...code, ...query })}`, {
            as: form.browser,
          });
          return text.replace(/name="xsrf" value="[^"]+"/, '');
        };
        expect(await page(options), name).to.equal(await page({}));
        if (name === 'setup' || name === 'logout') continue;
        const { status } = await target.send(path, { as: form.browser, body: options });
        expect(status, name).to.equal(400);
      }
    });
  });

  // After all others: it finishes the setup.
  describe('of the setup link', () => {
    it('cannot set up a second administrator, nor guess the link or share it', async () => {
      const setup = await forms.setup?.();
      if (!setup) throw new Error('no setup');
      const guesses = [
        '',
        'undefined',
        'null',
        'a'.repeat(27),
        `${setup.fields.code}\0`,
        setup.fields.code?.toUpperCase() ?? '',
      ];
      for (const code of guesses) {
        const { status } = await target.send('/setup', { body: { ...setup.fields, code } });
        expect(status, code).to.equal(403);
      }
      expect(await setup.isDone()).to.equal(false);

      const emails = Array.from({ length: 10 }, (_, n) => `root${n}@example.com`);
      const answers = await Promise.all(
        emails.map((email) => target.send('/setup', { body: { ...setup.fields, email } })),
      );
      expect(answers.map(({ status }) => status).toSorted()).to.deep.equal([200, ...Array(9).fill(403)]);
      const { accounts } = await target.directory.accounts.list();
      expect(accounts.filter(({ administrator }) => administrator)).to.have.length(1);

      expect((await target.send('/setup', { body: setup.fields })).status).to.equal(403);
      expect((await target.send(`/setup?code=${setup.fields.code}`)).status).to.equal(403);
      expect(await target.directory.setup.code()).to.equal(undefined);
    });
  });
});
