/** Moments in words, in a person's language and time zone. */
import { isTimeZone } from '../time-zone.ts';

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * What is HTML is a `time` element. Without a zone that is known it says UTC, and carries `data-zoned`, by which the browser says it in its
 * own (views/assets/times.js).
 */
export interface When {
  /** HTML: 21 Nov 2026 */
  date(at: number): string;
  /** HTML: 21 Nov 2026, 14:05 EET */
  moment(at: number): string;
  /** HTML: 3 hours ago, and when that was on hovering. */
  ago(at: number): string;
  /** Text: in 5 days, 3 hours ago, now */
  distance(at: number): string;
}

/** @param options.timeZone A name of the IANA database. */
export function whenIn(options: { locale: string; timeZone: string | undefined; now: number }): When {
  // Days before months and 24 hours, as everywhere else on our pages.
  const locale = options.locale === 'en' ? 'en-GB' : options.locale;
  const known = isTimeZone(options.timeZone) ? options.timeZone : undefined;
  const timeZone = known ?? 'UTC';
  const date = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeZone });
  const moment = new Intl.DateTimeFormat(locale, {
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    timeZone,
    timeZoneName: 'short',
  });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });

  function distance(at: number): string {
    const seconds = at - options.now;
    const size = Math.abs(seconds);
    if (size < MINUTE) return relative.format(0, 'second');
    if (size < HOUR) return relative.format(Math.trunc(seconds / MINUTE), 'minute');
    if (size < DAY) return relative.format(Math.trunc(seconds / HOUR), 'hour');
    return relative.format(Math.trunc(seconds / DAY), 'day');
  }

  /** None of it is anybody's input: there is nothing to escape. */
  function element(at: number, { says, text, title }: { says: string; text: string; title?: string }): string {
    const zoned = known === undefined ? ` data-zoned="${says}"` : '';
    const hover = title === undefined ? '' : ` title="${title}"`;
    return `<time datetime="${new Date(at * 1000).toISOString()}"${zoned}${hover}>${text}</time>`;
  }

  const momentText = (at: number) => moment.format(at * 1000);

  return {
    date(at) {
      const day = date.format(at * 1000);
      return element(at, { says: 'date', text: known === undefined ? `${day} (UTC)` : day });
    },
    moment: (at) => element(at, { says: 'moment', text: momentText(at) }),
    ago: (at) => element(at, { says: 'title', text: distance(at), title: momentText(at) }),
    distance,
  };
}
