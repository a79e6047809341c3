import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { AxeBuilder } from '@axe-core/playwright';
import { expect } from 'chai';
import Koa from 'koa';
import type { Browser, Page } from 'playwright-core';
import { createAssets } from '../src/http/assets.ts';
import { securityHeaders } from '../src/http/security-headers.ts';
import { createViews, type Views } from '../src/http/views.ts';
import { KINDS } from '../src/identity-providers/kinds/kinds.ts';
import { launchChromium, openProfile, type Person } from './support/chromium.ts';

type Catalogue = { [key: string]: string | Catalogue };

const LANGUAGES = readdirSync('views/locales').map((file) => file.replace('.json', ''));
const catalogues = new Map(LANGUAGES.map((name) => [name, flat(readJson(`views/locales/${name}.json`))]));
const english = catalogues.get('en') ?? new Map<string, string>();
const sources = ['views', 'src']
  .flatMap((directory) =>
    readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((file) => `${directory}/${file}`),
  )
  .filter((file) => /\.(ejs|ts)$/.test(file))
  .map((file) => readFileSync(file, 'utf8'));

function readJson(file: string): Catalogue {
  return JSON.parse(readFileSync(file, 'utf8')) as Catalogue;
}

function flat(catalogue: Catalogue, prefix = ''): Map<string, string> {
  return new Map(
    Object.entries(catalogue).flatMap(([key, value]) =>
      typeof value === 'string' ? [[prefix + key, value] as const] : [...flat(value, `${prefix}${key}.`)],
    ),
  );
}

const placeholders = (text = '') => [...text.matchAll(/\{\{-?\s*(\w+)\s*\}\}/g)].map(([, name]) => name).sort();

describe('the catalogue', () => {
  for (const [language, strings] of catalogues) {
    it(`says everything in ${language}, with the same values filled in`, () => {
      expect([...strings.keys()].sort()).to.deep.equal([...english.keys()].sort());
      for (const [key, text] of strings) {
        expect(text.trim(), key).not.to.equal('');
        expect(placeholders(text), key).to.deep.equal(placeholders(english.get(key)));
      }
    });
  }

  it('has every string a page or a program asks for by name', () => {
    const asked = sources.flatMap((source) =>
      [...source.matchAll(/\bt\(\s*'([a-z][\w.-]+)'/g)].map(([, key]) => String(key)),
    );
    const isThere = (key: string) => english.has(key) || (english.has(`${key}_one`) && english.has(`${key}_other`));
    expect([...new Set(asked)].filter((key) => !isThere(key))).to.deep.equal([]);
    expect(asked.length).to.be.greaterThan(50);
  });

  it('has no string that nothing asks for', () => {
    const everything = sources.join('\n');
    const isAsked = (key: string) => {
      const name = key.replace(/_(one|other)$/, '');
      if (everything.includes(`'${name}'`)) return true;
      // Keys that are put together: `error.${code}.title`
      const parts = name.split('.');
      return parts.some((_, at) => everything.includes(`\`${parts.slice(0, at + 1).join('.')}.\${`));
    };
    expect([...english.keys()].filter((key) => !isAsked(key))).to.deep.equal([]);
  });
});

describe('a page', () => {
  const HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>\'';
  const client = { id: 'x', name: HOSTILE, clientHost: HOSTILE, firstParty: false };
  const person = { id: HOSTILE, name: HOSTILE, email: HOSTILE };
  const actions = { action: HOSTILE, cancelAction: HOSTILE };
  /** Every page with hostile text in every place that data goes to. */
  const pages: Record<string, Record<string, unknown>> = {
    'interaction/login': {
      ...actions,
      client,
      email: HOSTILE,
      problem: 'provider_refused',
      provider: HOSTILE,
      providers: [{ id: HOSTILE, kind: 'oidc', name: HOSTILE }],
      unable: [HOSTILE],
      reauthenticate: false,
    },
    'interaction/link-account': {
      ...actions,
      client,
      provider: HOSTILE,
      reason: 'known_email',
      email: HOSTILE,
      label: HOSTILE,
      problem: 'wrong',
    },
    'interaction/no-entry': { ...actions, client, status: 'pending', provider: HOSTILE, email: HOSTILE },
    'interaction/account-chooser': { ...actions, client, accounts: [{ ...person, current: true }] },
    'interaction/consent': {
      ...actions,
      client,
      account: person,
      scopes: [{ name: HOSTILE, description: HOSTILE }, { name: HOSTILE }],
    },
    'interaction/logout': { ...actions, client, account: person, xsrf: HOSTILE },
    'interaction/logged-out': { client },
    error: { code: HOSTILE, status: 400, detail: HOSTILE, reference: HOSTILE },
    'setup/form': {
      ...actions,
      code: HOSTILE,
      values: { email: HOSTILE, given_name: HOSTILE, family_name: HOSTILE },
      problems: { email: HOSTILE, password: HOSTILE },
    },
    'setup/done': { email: HOSTILE, accountHref: HOSTILE, issuer: HOSTILE },
    'sso/login': { client, token: HOSTILE, next: HOSTILE, account: person, other: person },
  };
  let views: Views;

  before(async () => {
    views = await createViews({ directory: 'views', assets: createAssets('views/assets') });
  });

  /** Renders as a request with these parameters and this wish for languages would. */
  async function render(name: string, data: Record<string, unknown>, { query = {}, languages = 'en' } = {}) {
    const ctx = {
      state: {},
      query,
      body: '',
      headers: {} as Record<string, string>,
      acceptsLanguages: (known: string[]) => known.find((locale) => languages.startsWith(locale)) ?? false,
      set(header: string, value: string) {
        this.headers[header] = value;
      },
      vary() {},
    };
    await views.render(ctx as unknown as Parameters<Views['render']>[0], name, data);
    return { html: ctx.body, language: ctx.headers['Content-Language'] };
  }

  for (const [name, data] of Object.entries(pages)) {
    it(`${name} prints whatever it is given as text`, async () => {
      const { html } = await render(name, data);
      expect(html).to.contain('&lt;script&gt;');
      expect(html).not.to.contain('<script>alert');
      expect(html).not.to.contain('<img src=x');
      expect(html.match(/<script[^>]*>/g)).to.deep.equal(
        html.match(/<script type="module" src="\/assets\/forms\.js\?v=[\w-]+">/g),
      );
      expect(html).not.to.match(/\son\w+=(?!alert)|\sstyle=/);
    });
  }

  it('is not changed by parameters that template engines are known to listen to', async () => {
    const query = {
      'settings[view options][outputFunctionName]': 'x;throw 1',
      cache: 'false',
      escapeFunction: 'x',
      client: '1',
      '__proto__[client]': '1',
    };
    expect((await render('error', pages.error ?? {}, { query })).html).to.equal(
      (await render('error', pages.error ?? {})).html,
    );
    expect(({} as { client?: string }).client).to.equal(undefined);
  });

  it('comes in the language that is wished for, as far as there is one', async () => {
    const languageFor = async (uiLocales: unknown, languages: string) =>
      (await render('interaction/logged-out', {}, { query: { ui_locales: uiLocales }, languages })).language;
    expect(await languageFor('fi', 'en')).to.equal('fi');
    expect(await languageFor('sv fi-FI en', 'en')).to.equal('fi');
    expect(await languageFor(undefined, 'fi')).to.equal('fi');
    for (const nonsense of ['../../etc/passwd', 'se', 'x'.repeat(10_000), ['fi', 'en'], '__proto__', 'constructor']) {
      expect(await languageFor(nonsense, 'en')).to.equal('en');
      expect(await languageFor(nonsense, '')).to.equal('en');
    }
  });
});

describe('the style sheets', () => {
  const styles = ['latchkey.css', 'console.css'].map((file) => readFileSync(`views/assets/${file}`, 'utf8')).join('\n');
  const styled = new Set([...styles.matchAll(/\.([a-z][\w-]*)(?=[^{}]*\{)/g)].map(([, name]) => String(name)));
  const named = sources.flatMap((source) => [...source.matchAll(/[a-z][\w-]*/g)].map(([name]) => name));

  it('have nothing for classes that no page has', () => {
    const used = new Set(named);
    expect([...styled].filter((name) => !used.has(name))).to.deep.equal([]);
    expect(styled.size).to.be.greaterThan(50);
  });
});

describe('every page, in a browser', function inBrowser() {
  this.timeout(20_000);

  const LONG = 'Maximiliane-Friederike '.repeat(5).trim();
  const client = {
    id: 'x',
    name: 'Acme Reports',
    logoUri: `data:image/svg+xml,${encodeURIComponent('<svg xmlns="http://www.w3.org/2000/svg"/>')}`,
    clientUri: 'https://reports.example',
    clientHost: 'reports.example',
    policyUri: 'https://reports.example/privacy',
    tosUri: 'https://reports.example/terms',
    firstParty: false,
  };
  const wordy = { ...client, name: `Consolidated Reporting${'Workbench'.repeat(10)}`, logoUri: undefined };
  const own = { id: 'latchkey', name: 'Latchkey', firstParty: true };
  const ada = { id: '1', name: 'Ada Lovelace', email: 'ada@example.com' };
  const friederike = { id: '2', name: LONG, email: `${'long'.repeat(16)}@${'subsidiary.'.repeat(9)}example.com` };
  const actions = { action: '/sent', cancelAction: '/sent' };
  const oidc = ['openid', 'profile', 'email', 'address', 'phone', 'offline_access', 'tokens'].map((name) => ({ name }));
  const permissions = Array.from({ length: 30 }, (_, at) => ({
    name: `reports.${at}`,
    ...(at % 2 ? { description: `Read and change all the reports of department ${at}` } : {}),
  }));
  const setup = { action: '/sent', code: 'x' };
  const providers = [
    { id: 'github', mark: KINDS.github.mark, name: 'GitHub' },
    { id: 'google', mark: KINDS.google.mark, name: 'Google' },
    { id: 'long', mark: KINDS.oidc.mark, name: LONG },
  ];

  const states: Record<string, [view: string, data: Record<string, unknown>]> = {
    login: ['interaction/login', { ...actions, client }],
    'login-again': ['interaction/login', { ...actions, client: wordy, email: friederike.email, reauthenticate: true }],
    'login-wrong': ['interaction/login', { ...actions, client, email: ada.email, problem: 'wrong' }],
    'login-throttled': [
      'interaction/login',
      { ...actions, client: own, email: ada.email, problem: 'throttled', retryAfterMinutes: 5 },
    ],
    'login-providers': [
      'interaction/login',
      { ...actions, client, providers, unable: ['GitHub', LONG], problem: 'provider_unavailable', provider: LONG },
    ],
    'link-account': [
      'interaction/link-account',
      {
        ...actions,
        client: wordy,
        provider: LONG,
        reason: 'known_email',
        email: friederike.email,
        label: LONG,
        problem: 'wrong',
      },
    ],
    'no-entry': [
      'interaction/no-entry',
      { ...actions, client, status: 'disabled', provider: 'GitHub', email: friederike.email },
    ],
    accounts: [
      'interaction/account-chooser',
      { ...actions, client, accounts: [{ ...ada, current: true }, friederike] },
    ],
    consent: ['interaction/consent', { ...actions, client, account: ada, scopes: oidc }],
    'consent-long': [
      'interaction/consent',
      { ...actions, client: wordy, account: friederike, scopes: [...oidc, ...permissions] },
    ],
    logout: ['interaction/logout', { action: '/sent', xsrf: 'x', client: wordy, account: friederike }],
    'logout-unverified': ['interaction/logout', { action: '/sent', xsrf: 'x', account: ada, isUnverified: true }],
    'logged-out': ['interaction/logged-out', { client }],
    'nobody-signed-in': ['interaction/nobody-signed-in', { client: wordy }],
    error: [
      'error',
      {
        code: 'redirect_uri_mismatch',
        status: 400,
        detail: `${'redirect_uri'.repeat(9)} is unknown`,
        reference: 'x',
        wayOn: { href: '/', app: wordy.name },
      },
    ],
    'error-unknown': ['error', { code: 'constructor', status: 500, reference: 'x'.repeat(40), again: true }],
    'error-cookies': ['error', { code: 'cookies_missing', status: 400, reference: 'x' }],
    setup: ['setup/form', { ...setup, values: {}, problems: {} }],
    'setup-problems': [
      'setup/form',
      { ...setup, values: ada, problems: { given_name: 'too long', email: 'not one', password: 'too short' } },
    ],
    'setup-done': ['setup/done', { email: friederike.email, accountHref: '/account', issuer: 'https://id.example' }],
    'sso-switch': ['sso/login', { client: wordy, token: 'x', next: '/', account: friederike, other: ada }],
  };

  let browser: Browser;
  let person: Person;
  let page: Page;
  let server: Server;
  let origin: string;
  const sent: string[] = [];

  before(async () => {
    const assets = createAssets('views/assets');
    const views = await createViews({ directory: 'views', assets });
    const app = new Koa().use(securityHeaders({ issuer: 'http://localhost' })).use(assets.serve);
    app.use(async (ctx) => {
      if (ctx.method === 'POST') {
        sent.push(await text(ctx.req));
        await delay(200);
        // No content: the page stays.
        ctx.status = 204;
        return;
      }
      const [view, data] = states[ctx.path.slice(1)] ?? [];
      if (view) await views.render(ctx, view, data);
    });
    server = app.listen(0, '127.0.0.1');
    await once(server, 'listening');
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    browser = await launchChromium();
    person = await openProfile(browser, { permissions: ['clipboard-read', 'clipboard-write'] });
    page = await person.context.newPage();
  });
  afterEach(() => expect(person.problems).to.deep.equal([]));
  after(async () => {
    await browser.close();
    server.close().closeAllConnections();
  });

  const sizes = { phone: { width: 360, height: 740 }, desktop: { width: 1280, height: 860 } };

  for (const name of Object.keys(states)) {
    it(`${name} can be read by anybody, light and dark, on a phone and a desktop`, async () => {
      await page.goto(`${origin}/${name}`);
      for (const [size, viewport] of Object.entries(sizes)) {
        await page.setViewportSize(viewport);
        for (const colorScheme of ['light', 'dark'] as const) {
          await page.emulateMedia({ colorScheme });
          const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze();
          const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
          expect(found, `${size}, ${colorScheme}`).to.deep.equal([]);
        }
      }
    });
  }

  it('needs no scrolling sideways on the narrowest phone, in any language or direction', async () => {
    await page.setViewportSize({ width: 320, height: 600 });
    for (const name of Object.keys(states)) {
      for (const language of LANGUAGES) {
        await page.goto(`${origin}/${name}?ui_locales=${language}`);
        expect(await page.getAttribute('html', 'lang')).to.equal(language);
        for (const direction of ['ltr', 'rtl']) {
          await page.evaluate(`document.documentElement.dir = '${direction}'`);
          const width = await page.evaluate('document.documentElement.scrollWidth');
          expect(width, `${name}, ${language}, ${direction}`).to.be.at.most(320);
        }
      }
    }
  });

  it('keeps its marks where the system chooses the colours', async () => {
    await page.emulateMedia({ forcedColors: 'active' });
    await page.goto(`${origin}/consent`);
    const background = (selector: string) => page.evaluate(`getComputedStyle(${selector}).backgroundColor`);
    expect(await background(`document.querySelector('.abilities li'), '::before'`)).not.to.equal(
      await background('document.documentElement'),
    );
    await page.emulateMedia({ forcedColors: 'none' });
  });

  it('begins at the field that needs attention', async () => {
    const focused = async (name: string) => {
      await page.goto(`${origin}/${name}`);
      return page.getAttribute(':focus', 'name');
    };
    expect(await focused('login')).to.equal('email');
    expect(await focused('login-wrong')).to.equal('password');
    expect(await focused('setup')).to.equal('given_name');
    expect(await focused('setup-problems')).to.equal('given_name');
  });

  it('sends a form once, however often it is clicked', async () => {
    sent.length = 0;
    await page.goto(`${origin}/consent`);
    await page.click('[value=allow]', { noWaitAfter: true });
    await delay(50);
    await page.click('[value=allow]', { noWaitAfter: true });
    await delay(400);
    expect(sent).to.deep.equal(['decision=allow']);
  });

  it('sends a password that was shown as a password again', async () => {
    sent.length = 0;
    await page.goto(`${origin}/login-wrong`);
    await page.fill('[name=password]', 'seen');
    await page.click('text=Show');
    expect(await page.getAttribute('[name=password]', 'type')).to.equal('text');
    const answered = page.waitForResponse(`${origin}/sent`);
    await page.click('button:has-text("Sign in")');
    await answered;
    expect(sent).to.deep.equal(['email=ada%40example.com&password=seen']);
    expect(await page.getAttribute('[name=password]', 'type')).to.equal('password');
  });

  it('copies what is to be copied', async () => {
    await page.goto(`${origin}/setup-done`);
    await page.click('[data-copy=discovery]');
    await page.waitForSelector('text=Copied');
    expect(await page.evaluate('navigator.clipboard.readText()')).to.equal(
      'https://id.example/.well-known/openid-configuration',
    );
  });
});
