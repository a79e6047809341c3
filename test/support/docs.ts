/** What the docs tell readers to write, as they write it. */
import { readFile } from 'node:fs/promises';

/** The first block of that language below a heading that has the pattern. @throws when the page has none. */
export async function recipe(
  page: string,
  { heading, language, pattern = / / }: { heading: string; language: string; pattern?: RegExp },
): Promise<string> {
  const [, section = ''] = (await readFile(`docs/${page}`, 'utf8')).split(`\n${heading}\n`);
  const blocks = section.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'));
  const block = [...blocks].map(([, text = '']) => text).find((text) => pattern.test(text));
  if (block === undefined) throw new Error(`docs/${page} has no ${language} below ${heading}`);
  return block;
}
