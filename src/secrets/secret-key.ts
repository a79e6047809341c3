import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises';
import { resolve } from 'node:path';

/**
 * The secret key of an embedded store: made once in its folder, readable by its owner only. Of several processes that
 * start at once one makes it and all read it; it appears whole or not at all.
 */
export async function ensureSecretKey(directory: string): Promise<Buffer> {
  const path = secretKeyFileIn(directory);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return (await readKey(path)) ?? (await makeKey(path));
}

export function secretKeyFileIn(directory: string): string {
  return resolve(directory, 'secret-key');
}

async function makeKey(path: string): Promise<Buffer> {
  const draft = `${path}.${randomBytes(8).toString('hex')}`;
  const file = await open(draft, 'wx', 0o600);
  await file.writeFile(`${randomBytes(32).toString('base64url')}\n`);
  await file.sync();
  await file.close();
  try {
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await unlink(draft);
  }
  const key = await readKey(path);
  if (!key) throw new Error(`${path} is gone`);
  return key;
}

async function readKey(path: string): Promise<Buffer | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const key = Buffer.from(text.trim(), 'base64url');
  if (key.length !== 32) throw new Error(`${path} does not hold a 32-byte key in base64url`);
  return key;
}
