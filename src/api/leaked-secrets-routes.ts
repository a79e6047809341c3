import Router from '@koa/router';
import { z } from 'zod';
import type { AppTokens } from '../credentials/app-tokens.ts';
import type { PersonalTokens } from '../credentials/personal-tokens.ts';
import { json } from '../http/json.ts';
import { parseInput } from '../input.ts';
import type { Rule, Throttle } from '../throttle.ts';

/** Reports of one source; one report may name many tokens. */
const REPORTS: Rule = { name: 'leaked-secrets', limit: 60, window: 60 };

const Token = z.string().max(500);

/** What GitHub's secret scanning sends for each token that it finds. */
const Finding = z.object({ token: Token, type: z.string().max(200).optional(), url: z.string().max(2000).optional() });

/** GitHub's list of findings, or what a person would send. */
const Report = z.object({
  findings: z
    .union([
      z.array(Finding),
      Finding.transform((finding) => [finding]),
      z.object({ tokens: z.array(Token) }).transform(toFindings),
    ])
    .refine((findings) => findings.length <= 1000, 'must be at most 1000 tokens'),
});

function toFindings({ tokens }: { tokens: string[] }): z.infer<typeof Finding>[] {
  return tokens.map((token) => ({ token }));
}

export interface LeakedSecretsOptions {
  personalTokens: Pick<PersonalTokens, 'revokeLeaked'>;
  appTokens: Pick<AppTokens, 'revokeLeaked'>;
  throttle: Throttle;
}

/**
 * Takes tokens that were found where they should not be, from anyone: who has a token may at least end it. The answer is what
 * GitHub's secret scanning partner program asks for.
 */
export function leakedSecretsRoutes({ personalTokens, appTokens, throttle }: LeakedSecretsOptions): Router {
  const router = new Router();

  router.post('/.well-known/report-leaked-secrets', json(), async function reportLeakedSecrets(ctx) {
    await throttle.consume(REPORTS, { source: ctx.ip });
    const { findings } = parseInput(Report, { findings: ctx.request.body });
    const answers = [];
    for (const { token, type } of findings) {
      const origin = { address: ctx.ip };
      const revoked =
        (await personalTokens.revokeLeaked(token, origin)) || (await appTokens.revokeLeaked(token, origin));
      answers.push({ token_raw: token, token_type: type, label: revoked ? 'true_positive' : 'false_positive' });
    }
    ctx.set('Cache-Control', 'no-store');
    ctx.body = answers;
  });

  return router;
}
