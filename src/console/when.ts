/** Moments in words, in a person's language and time zone. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export interface When {
  /** 21 Nov 2026 */
  date(at: number): string;
  /** 21 Nov 2026, 14:05 UTC */
  moment(at: number): string;
  /** in 5 days, 3 hours ago, now */
  distance(at: number): string;
  /** For machines (HTML `datetime`). */
  iso(at: number): string;
}

/** @param options.timeZone A name of the IANA database; UTC when absent or unknown. */
export function whenIn(options: { locale: string; timeZone: string | undefined; now: number }): When {
  // Days before months and 24 hours, as everywhere else on our pages.
  const locale = options.locale === 'en' ? 'en-GB' : options.locale;
  const zone = isTimeZone(options.timeZone) ? options.timeZone : 'UTC';
  const date = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeZone: zone });
  const moment = new Intl.DateTimeFormat(locale, {
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    timeZone: zone,
    timeZoneName: 'short',
  });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });

  return {
    date: (at) => date.format(at * 1000),
    moment: (at) => moment.format(at * 1000),
    iso: (at) => new Date(at * 1000).toISOString(),
    distance(at) {
      const seconds = at - options.now;
      const size = Math.abs(seconds);
      if (size < MINUTE) return relative.format(0, 'second');
      if (size < HOUR) return relative.format(Math.trunc(seconds / MINUTE), 'minute');
      if (size < DAY) return relative.format(Math.trunc(seconds / HOUR), 'hour');
      return relative.format(Math.trunc(seconds / DAY), 'day');
    },
  };
}

export function isTimeZone(name: string | undefined): name is string {
  if (name === undefined) return false;
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
