import type { Rule, Throttle } from '../throttle.ts';
import { isClientSecret } from './clients.ts';

/** Wrong secrets of one app from one network: nobody elsewhere can shut the app out, and nobody there can go on guessing. */
const WRONG_SECRETS: Rule = { name: 'client-secret', limit: 100, window: 60 };

export interface PresentedSecret {
  clientId: string;
  /** Those of the app's secrets. */
  digests: readonly string[];
  presented: string;
  /** Network address. */
  source: string;
}

/** @throws {AppError} `too_many_requests` beyond the limit, also for the right secret. */
export type JudgeSecret = (secret: PresentedSecret) => Promise<boolean>;

export function createJudgeSecret(throttle: Pick<Throttle, 'judge'>): JudgeSecret {
  return function judgeSecret({ clientId, digests, presented, source }) {
    return throttle.judge(WRONG_SECRETS, { source, key: clientId }, () => isClientSecret(digests, presented));
  };
}
