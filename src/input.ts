import type { z } from 'zod';
import { AppError } from './errors.ts';

/**
 * What somebody wants written, in the shape of `schema`.
 * @throws {AppError} `invalid_request` naming the first field at fault, as it is spelled on the wire.
 */
export function parseInput<S extends z.ZodType>(schema: S, input: unknown): z.output<S> {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = wireName(String(issue?.path[0] ?? 'input'));
  throw new AppError('invalid_request', `${field}: ${issue?.message ?? 'is invalid'}`, { field, cause: parsed.error });
}

/** givenName → given_name */
function wireName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
