import { AppError } from '../errors.ts';

/** What is wrong with a short form: the field at fault, and the name of the words for it. */
export interface FieldProblem {
  field: string;
  code: string;
}

/** @throws whatever is no fault of the form. */
export function fieldProblemIn(error: unknown): FieldProblem {
  if (!(error instanceof AppError) || error.field === undefined) throw error;
  if (error.code === 'conflict') return { field: error.field, code: `${error.field}_taken` };
  if (error.code === 'invalid_request') return { field: error.field, code: error.field };
  throw error;
}
