import type { IncomingMessage } from 'node:http';

/** Whether a header came more than once: of those that may not, Node keeps the first and says nothing. `name` in lower case. */
export function isRepeated({ rawHeaders }: IncomingMessage, name: string): boolean {
  let count = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.length === name.length && rawHeaders[index]?.toLowerCase() === name) count += 1;
  }
  return count > 1;
}
