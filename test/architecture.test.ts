/**
 * Who may import whom in src/, as two literals. A type may be imported past a reservation, since nothing is loaded by it,
 * but not past a row: knowing the shape of what lies higher is already a dependency.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { expect } from 'chai';
import { type Expression, parseSync, Visitor } from 'oxc-parser';
import { CREDENTIAL_KINDS, kindOf } from '../src/credentials/kinds.ts';
import type { Kind } from '../src/identity-providers/kinds/kind.ts';
import { KIND_NAMES, KINDS } from '../src/identity-providers/kinds/kinds.ts';
import { PATCHES, READ_IN } from '../src/oidc/patches.ts';
import { createSecretToken } from '../src/secrets/secret-token.ts';

/** Lowest first. A file imports from its own folder and from earlier rows; the others in its row are strangers. */
const rows = [
  ['email.ts', 'errors.ts', 'clock.ts', 'time-zone.ts'],
  ['config.ts'],
  ['input.ts'],
  ['storage', 'secrets'],
  ['outbound', 'throttle.ts'],
  ['http'],
  ['audit.ts', 'schedule.ts'],
  ['mail'],
  ['accounts'],
  ['organizations'],
  ['permissions'],
  ['clients'],
  ['identity-providers'],
  ['credentials'],
  ['exchange'],
  ['oidc'],
  ['console'],
  ['interactions', 'sso', 'account-console', 'admin', 'api', 'setup', 'health', 'resource-server'],
  ['core.ts'],
  ['cli'],
  ['app.ts'],
  ['workers.ts'],
  ['main.ts', 'cli.ts'],
];

/** A package or a file of ours, by path in src/, and the only files that may load it. */
const reservations = [
  { what: /^oidc-provider\b/, where: /^oidc\// },
  { what: /^ioredis\b/, where: /^storage\/redis\/redis\.ts$/ },
  { what: /^storage\/(embedded|redis)\/(embedded|redis)\.ts$/, where: /^storage\/open\.ts$/ },
  { what: /^nodemailer\b/, where: /^mail\// },
  { what: /^app\.ts$/, where: /^main\.ts$/ }, // a command of the shell loads no web server
  { what: /^openid-client\b/, where: /^identity-providers\// },
  { what: /^@koa\/router\b/, where: /routes\.ts$|^app\.ts$/ },
  { what: /^http\//, where: /^http\/|routes\.ts$|^app\.ts$/ },
  { what: /^process\.env$|^(node:)?process$/, where: /^config\.ts$/ },
  { what: /^(node:)?module$/, where: /^$/ }, // createRequire would load what this test cannot see
];

/** Published on its own: it may not even know a type of ours. */
const STANDALONE = 'resource-server/middleware.ts';

/** Names that say nothing of what is inside. */
const DRAWER = /(^|\/)(utils?|helpers?|services?|types?|constants?|common|misc|index)(\/|\.ts$)/;

interface Import {
  /** A package, a path in src/, or `process.env`. */
  target: string;
  /** Erased before the file runs. */
  typeOnly: boolean;
}

/** Every offence of one file, in words. */
function offencesOf(file: string, source: string): string[] {
  if (rowOf(file) < 0) return [`${file} is in no row`];
  const named = DRAWER.test(file) ? [`${file} is named like a drawer`] : [];
  return [...named, ...importsOf(file, source).flatMap((found) => offenceOf(file, found))];
}

function offenceOf(file: string, { target, typeOnly }: Import): string[] {
  const ours = target.endsWith('.ts');
  if (ours && file === STANDALONE) return [`${file} stands alone, yet imports ${target}`];
  if (ours && topOf(target) !== topOf(file) && (rowOf(target) < 0 || rowOf(target) >= rowOf(file))) {
    return [`${file} imports ${target}, which is not below it`];
  }
  const reserved = reservations.find(({ what, where }) => what.test(target) && !where.test(file));
  return reserved && !typeOnly ? [`${file} may not load ${target}`] : [];
}

function topOf(file: string): string {
  return file.split('/', 1).join();
}

function rowOf(file: string): number {
  return rows.findIndex((row) => row.includes(topOf(file)));
}

/** Reads the file with a parser, so that comments, strings and line breaks hide nothing and invent nothing. */
function importsOf(file: string, source: string): Import[] {
  const { program, errors } = parseSync(file, source);
  if (errors.length > 0) throw new Error(`${file} does not parse: ${errors[0]?.message}`);
  const found: Import[] = [];

  function add(specifier: string, kind: 'type' | 'value' = 'value'): void {
    const target = specifier.startsWith('.') ? posix.join(posix.dirname(file), specifier) : specifier;
    found.push({ target, typeOnly: kind === 'type' });
  }
  /** A name that is worked out while running cannot be followed, so it is reported as a file outside every row. */
  function addDynamic(specifier: Expression): void {
    add(specifier.type === 'Literal' ? String(specifier.value) : `./../<computed>.ts`);
  }

  new Visitor({
    ImportDeclaration: ({ source: from, importKind }) => add(from.value, importKind ?? 'value'),
    ExportAllDeclaration: ({ source: from, exportKind }) => add(from.value, exportKind ?? 'value'),
    ExportNamedDeclaration: ({ source: from, exportKind }) => from && add(from.value, exportKind ?? 'value'),
    TSImportType: ({ source: from }) => add(from.value, 'type'),
    ImportExpression: ({ source: from }) => addDynamic(from),
    // new Worker(new URL('./writer.ts', import.meta.url))
    NewExpression({ callee, arguments: [first] }) {
      const isUrl = callee.type === 'Identifier' && callee.name === 'URL';
      if (isUrl && first?.type === 'Literal' && /\.ts$/.test(String(first.value))) addDynamic(first);
    },
    MemberExpression({ object, property }) {
      const name = property.type === 'Literal' ? property.value : property.type === 'Identifier' && property.name;
      if (isProcess(object) && name === 'env') add('process.env');
    },
    // const { env } = process
    VariableDeclarator: ({ id, init }) => id.type === 'ObjectPattern' && init && isProcess(init) && add('process.env'),
  }).visit(program);
  return found;
}

/** The kinds of identity providers, by name or by brand. */
const brands = Object.values<Kind>(KINDS).flatMap(({ brand }) => brand ?? []);
const namesKind = new RegExp(brands.join('|'), 'i');
const isKind = (word: string) => namesKind.test(word) || (KIND_NAMES as string[]).includes(word);

/** Where a file speaks of a kind, but in comments and in the paths of what it loads. */
function kindsIn(file: string, source: string): string[] {
  const found: string[] = [];
  const note = (word: unknown) => {
    if (typeof word === 'string' && isKind(word) && !/^\.{1,2}\//.test(word)) found.push(`${file}: ${word}`);
  };
  new Visitor({
    // By its brand alone: the engine of the protocol calls its context `oidc`.
    Identifier: ({ name }) => namesKind.test(name) && note(name),
    Literal: ({ value }) => note(value),
    TemplateElement: ({ value }) => note(value.raw),
    ObjectExpression({ properties }) {
      for (const property of properties)
        if (property.type === 'Property' && property.key.type === 'Identifier') note(property.key.name);
    },
  }).visit(parseSync(file, source).program);
  return found;
}

/** In a template, a style sheet or a script, where the name of a kind may be a part of another word. */
const mentionsKind = new RegExp(`${namesKind.source}|["'\`-](${KIND_NAMES.join('|')})["'\`.]`, 'i');

function isProcess(expression: Expression): boolean {
  return expression.type === 'Identifier' && expression.name === 'process';
}

describe('the architecture', () => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));

  it('lets every file import only what lies below it and what is not reserved for others', () => {
    expect(files).to.include('errors.ts');
    expect(files.flatMap((file) => offencesOf(file, readFileSync(posix.join('src', file), 'utf8')))).to.deep.equal([]);
  });

  const offences = {
    'an import from a higher row': ['accounts/accounts.ts', `import { createProvider } from '../oidc/provider.ts';`],
    'an import of a type from a higher row': [
      'http/views.ts',
      `import type { Account } from '../accounts/account.ts';`,
    ],
    'an import from a neighbour': ['sso/routes.ts', `import { login } from '../interactions/login.ts';`],
    'a step back in the chain of records': ['organizations/organization.ts', `import '../permissions/permission.ts';`],
    'an import over several lines': ['storage/open.ts', `import {\n  a,\n  b,\n} from\n  '../accounts/accounts.ts';`],
    'an export from elsewhere': ['errors.ts', `export { open } from './storage/open.ts';`],
    'an export of everything': ['errors.ts', `export * from './storage/open.ts';`],
    'a dynamic import': ['oidc/provider.ts', `const load = () => import('../app.ts');`],
    'a dynamic import of what is worked out': ['oidc/provider.ts', `const load = (name: string) => import(name);`],
    'a worker from elsewhere': [
      'storage/embedded/embedded.ts',
      `new Worker(new URL('../../oidc/x.ts', import.meta.url));`,
    ],
    'a type by its path': ['config.ts', `type Storage = import('./storage/storage.ts').Storage;`],
    'the engine of the protocol outside oidc/': ['interactions/routes.ts', `import Provider from 'oidc-provider';`],
    'an inline type import, which still loads': ['app.ts', `import { type Provider } from 'oidc-provider';`],
    'a part of a reserved package': ['app.ts', `import base from 'oidc-provider/lib/models/base_model.js';`],
    'a Redis client outside its engine': ['storage/open.ts', `import { Redis } from 'ioredis';`],
    'an engine named outside open.ts': ['main.ts', `import { embedded } from './storage/embedded/embedded.ts';`],
    'a router outside the routes': ['accounts/accounts.ts', `import Router from '@koa/router';`],
    'HTTP outside the routes': ['interactions/login.ts', `import { render } from '../http/views.ts';`],
    'the environment outside config.ts': ['main.ts', `const port = process.env.PORT;`],
    'the environment by another name': ['main.ts', `const { env } = process;`],
    'the environment as an import': ['main.ts', `import { env } from 'node:process';`],
    'a loader of its own': ['main.ts', `import { createRequire } from 'node:module';`],
    'one of our types in the published middleware': [STANDALONE, `import type { ErrorCode } from '../errors.ts';`],
    'a folder without a row': ['parcels/send.ts', ''],
    'an import from outside src/': ['main.ts', `import '../test/support/app.ts';`],
    'a drawer': ['accounts/utils.ts', ''],
  } as const;
  for (const [offence, [file, source]] of Object.entries(offences)) {
    it(`notices ${offence}`, () => {
      expect(offencesOf(file, source)).to.have.lengthOf(1);
    });
  }

  const permitted = {
    'a file of the same folder': ['accounts/accounts.ts', `import { Account } from './account.ts';`],
    'a lower row': ['credentials/verify.ts', `import { createClients } from '../clients/clients.ts';`],
    'a type of the engine': ['interactions/login.ts', `import type { Interaction } from 'oidc-provider';`],
    'a type of HTTP': ['interactions/login.ts', `import type { Page } from '../http/views.ts';`],
    'what stands in comments and strings': ['errors.ts', `// import './app.ts'\nconst a = "import './app.ts'";`],
  } as const;
  for (const [permission, [file, source]] of Object.entries(permitted)) {
    it(`permits ${permission}`, () => {
      expect(offencesOf(file, source)).to.deep.equal([]);
    });
  }
});

describe('a kind of identity providers', () => {
  const listed = (folder: string) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => posix.join(folder, name));

  it('stands in its own file, in the list of kinds and in the words, and nowhere else', () => {
    const files = listed('src').filter((file) => file.endsWith('.ts') && !file.includes('/kinds/'));
    const views = listed('views').filter((file) => /\.(ejs|css|js|svg)$/.test(file));
    expect([files.length, views.length].every((count) => count > 20)).to.equal(true);
    const offences = files.flatMap((file) => kindsIn(file, readFileSync(file, 'utf8')));
    const inViews = views.filter((file) => mentionsKind.test(`${file} ${readFileSync(file, 'utf8')}`));
    expect([...offences, ...inViews]).to.deep.equal([]);
  });

  for (const [where, source] of Object.entries({
    'a comparison': `const is = kind === 'oidc';`,
    'a name': `export function createGitHub() {}`,
    'a key': `const marks = { oidc: 'badge' };`,
    'a text': `throw new Error('GitHub does not answer');`,
    'a template': `const help = \`of Google, say \${name}\`;`,
  })) {
    it(`is noticed in ${where}`, () => {
      expect(kindsIn('admin/x.ts', source)).to.have.lengthOf(1);
    });
  }

  it('is noticed in a template, a class of its own and the name of a file', () => {
    for (const text of [`if (kind === 'oidc')`, '.mark--oidc.', 'provider-github.svg', 'class="mark-google"'])
      expect(mentionsKind.test(text), text).to.equal(true);
  });

  it('does not compile while a member is missing', () => {
    const whole: Kind = KINDS.oidc;
    // Each member by itself: none may be left out.
    type Optional = { [Member in keyof Kind]-?: Omit<Kind, Member> extends Kind ? Member : never }[keyof Kind];
    const optional: Optional[] = [];
    const { address: _, ...incomplete } = whole;
    // @ts-expect-error -- a kind that does not say where it is
    const kind: Kind = incomplete;
    expect([optional, 'address' in kind]).to.deep.equal([[], false]);
  });

  it('is in the docs: how people sign in with it, and what an app may send of it', () => {
    const [signIn, exchange] = ['sign-in-with-github', 'exchange-a-provider-token'].map((page) =>
      readFileSync(`docs/${page}.md`, 'utf8'),
    );
    for (const name of KIND_NAMES) {
      expect(signIn).to.contain(`--kind ${name} `);
      expect(exchange).to.contain(`\n| \`${name}\` `);
    }
  });

  it('has words for the form in every language', () => {
    for (const locale of listed('views/locales')) {
      const { admin } = JSON.parse(readFileSync(locale, 'utf8'));
      for (const name of KIND_NAMES) expect(admin.provider_form[`${name}_text`], `${locale} ${name}`).to.be.a('string');
    }
  });
});

describe('the patches of the engine', () => {
  it('were read in the version that is installed, and each says why it is there', () => {
    const { version } = JSON.parse(readFileSync('node_modules/oidc-provider/package.json', 'utf8')) as {
      version: string;
    };
    expect(version.split('.').slice(0, 2).join('.')).to.equal(READ_IN);
    expect(PATCHES.map(({ reason }) => reason.length).filter((length) => length < 40)).to.deep.equal([]);
  });
});

describe('the kinds of credentials', () => {
  it('have their prefixes in one place', () => {
    const elsewhere = readdirSync('src', { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && file !== 'credentials/kinds.ts')
      .filter((file) => /['"`]lk_\w+_/.test(readFileSync(`src/${file}`, 'utf8')));
    expect(elsewhere).to.deep.equal([]);
  });

  it('are not known by their first characters where the checksum is wrong', () => {
    for (const [name, kind] of Object.entries(CREDENTIAL_KINDS)) {
      if (!('prefix' in kind)) continue;
      const token = createSecretToken(kind.prefix);
      expect(kindOf(token)).to.equal(name);
      expect(kindOf(`${token.slice(0, -1)}${token.endsWith('a') ? 'b' : 'a'}`)).to.equal(undefined);
    }
    expect(kindOf('anything else')).to.equal('access_token');
  });
});
