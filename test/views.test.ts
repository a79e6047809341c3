import { readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { createAssets } from '../src/http/assets.ts';
import { createViews, type Views } from '../src/http/views.ts';

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
    'interaction/login': { ...actions, client, email: HOSTILE, problem: 'wrong', reauthenticate: false },
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
