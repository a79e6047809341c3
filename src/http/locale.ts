import type Koa from 'koa';

/** The languages there is a catalogue for; the first is the one everything falls back to. */
export const LOCALES = ['en', 'fi'] as const;
export type Locale = (typeof LOCALES)[number];

/** Longer wishes are nobody's. */
const LONGEST_WISH = 200;

/**
 * The language of a request: `ui_locales` (OIDC Core §3.1.2.1: language tags, best first), then what the person who is signed
 * in has in their profile, then `Accept-Language`. Who knows the first from elsewhere than the query puts it in `ctx.state.uiLocales`, who
 * knows the person puts theirs in `ctx.state.profileLocale`.
 */
export function localeOf(ctx: Koa.Context): Locale {
  const wished = ctx.state.uiLocales ?? ctx.query.ui_locales;
  const tags = typeof wished === 'string' && wished.length <= LONGEST_WISH ? wished.split(' ') : [];
  for (const tag of tags) {
    const locale = localeNamed(tag);
    if (locale) return locale;
  }
  const own = localeNamed(ctx.state.profileLocale);
  if (own) return own;
  return (ctx.acceptsLanguages([...LOCALES]) || LOCALES[0]) as Locale;
}

/** The language of a tag (BCP 47), such as `fi-FI`, when there is a catalogue for it. */
export function localeNamed(tag: string | undefined): Locale | undefined {
  return LOCALES.find((known) => known === tag?.toLowerCase().split(/[-_]/, 1)[0]);
}
