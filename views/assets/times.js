/** Says times in the zone of this browser, to who has chosen none; without it they are in UTC, and say so. */

const language = document.documentElement.lang === 'en' ? 'en-GB' : document.documentElement.lang;
const date = new Intl.DateTimeFormat(language, { dateStyle: 'medium' });
const moment = new Intl.DateTimeFormat(language, {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  timeZoneName: 'short',
});

for (const element of document.querySelectorAll('time[data-zoned]')) {
  const at = new Date(element.dateTime);
  if (element.dataset.zoned === 'title') element.title = moment.format(at);
  else element.textContent = (element.dataset.zoned === 'date' ? date : moment).format(at);
}
