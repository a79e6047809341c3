/**
 * Pages: a template inside the layout, in the language of the request. Templates get what a route hands them and a fixed set
 * of helpers; nothing of a request reaches them, or the template engine's options, by itself.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ejs from 'ejs';
import i18next from 'i18next';
import Backend from 'i18next-fs-backend';
import type Koa from 'koa';
import { isTimeZone } from '../time-zone.ts';
import type { Assets } from './assets.ts';
import { LOCALES, type Locale, localeNamed, localeOf } from './locale.ts';

/** Who reads what is not asked for by a browser. */
export interface Reader {
  /** Language tag (BCP 47). */
  locale?: string | undefined;
  /** A name of the IANA database; times are in UTC when absent. */
  zoneinfo?: string | undefined;
}

export interface Views {
  readonly locales: readonly string[];
  /** Answers with views/<name>.ejs. Keeps the status; pages are never stored. */
  render(ctx: Koa.Context, name: string, data?: Record<string, unknown>): Promise<void>;
  /** views/<name>.ejs outside any request and any layout, with the title it gave itself; for mails. */
  compose(name: string, reader: Reader, data: Record<string, unknown>): { title: string; content: string };
}

type Template = (data: Record<string, unknown>) => string;

const LAYOUT = 'layout';

export async function createViews({ directory, assets }: { directory: string; assets: Assets }): Promise<Views> {
  const templates = compileAll(directory);
  const catalogue = i18next.createInstance();
  await catalogue.use(Backend).init({
    preload: [...LOCALES],
    fallbackLng: LOCALES[0],
    backend: { loadPath: join(directory, 'locales', '{{lng}}.json') },
    // The templates escape what they print.
    interpolation: { escapeValue: false },
  });

  function template(name: string): Template {
    const found = templates.get(name);
    if (!found) throw new Error(`there is no view ${name}`);
    return found;
  }

  function helpersIn(locale: Locale, zoneinfo?: string) {
    return {
      t: catalogue.getFixedT(locale),
      locale,
      dir: catalogue.dir(locale),
      asset: assets.url,
      hasKey: (key: string) => catalogue.exists(key, { lng: locale }),
      moment: (seconds: number) => inWords(seconds, locale, zoneinfo),
      page: { title: undefined },
    };
  }

  return {
    locales: LOCALES,

    compose(name, { locale, zoneinfo }, data) {
      const helpers = helpersIn(localeNamed(locale) ?? LOCALES[0], zoneinfo);
      const content = template(name)({ ...data, ...helpers });
      return { title: String(helpers.page.title ?? ''), content };
    },

    async render(ctx, name, data = {}) {
      const locale = localeOf(ctx);
      const helpers = helpersIn(locale);
      const content = template(name)({ ...data, ...helpers });
      ctx.type = 'html';
      ctx.set('Cache-Control', 'no-store');
      ctx.set('Content-Language', locale);
      ctx.vary('Accept-Language');
      ctx.body = template(LAYOUT)({ ...helpers, content });
    },
  };
}

/** A moment that names its time zone, such as `15 January 2027 at 08:00 UTC`. */
function inWords(seconds: number, locale: Locale, zoneinfo: string | undefined): string {
  const language = locale === 'en' ? 'en-GB' : locale;
  const timeZone = isTimeZone(zoneinfo) ? zoneinfo : 'UTC';
  const format = new Intl.DateTimeFormat(language, { dateStyle: 'long', timeStyle: 'short', timeZone });
  const zone = new Intl.DateTimeFormat(language, { timeZone, timeZoneName: 'short' }).formatToParts(seconds * 1000);
  return `${format.format(seconds * 1000)} ${zone.find(({ type }) => type === 'timeZoneName')?.value}`;
}

/** Every template by its path without `.ejs`, compiled before the first request. */
function compileAll(directory: string): Map<string, Template> {
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ejs'));
  return new Map(
    files.map((file) => {
      const filename = join(directory, file);
      const compiled = ejs.compile(readFileSync(filename, 'utf8'), {
        filename,
        strict: true,
        localsName: 'it',
        cache: true,
      });
      return [file.replace(/\.ejs$/, ''), compiled as Template];
    }),
  );
}
