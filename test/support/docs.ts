/** What the docs tell readers to write, as they write it. */
import { readFile } from 'node:fs/promises';

/** The first block of that language below a heading. @throws when the page has none. */
export async function recipe(
  page: string,
  { heading, language }: { heading: string; language: string },
): Promise<string> {
  const [, section = ''] = (await readFile(`docs/${page}`, 'utf8')).split(`\n${heading}\n`);
  const [, block] = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'ms').exec(section) ?? [];
  if (block === undefined) throw new Error(`docs/${page} has no ${language} below ${heading}`);
  return block;
}
