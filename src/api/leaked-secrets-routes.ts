import Router from '@koa/router';
import { z } from 'zod';
import type { Origin } from '../audit.ts';
import { isReportableKind, kindOf, type ReportableKind } from '../credentials/kinds.ts';
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
  /** Ends one that somebody has found. False when there is no such token, or it was dead already. */
  revokeLeaked: Record<ReportableKind, (token: string, origin: Origin) => Promise<boolean>>;
  throttle: Throttle;
}

/**
 * Takes tokens that were found where they should not be, from anyone: who has a token may at least end it. The answer is what
 * GitHub's secret scanning partner program asks for.
 */
export function leakedSecretsRoutes({ revokeLeaked, throttle }: LeakedSecretsOptions): Router {
  const router = new Router();

  router.post('/.well-known/report-leaked-secrets', json(), async function reportLeakedSecrets(ctx) {
    await throttle.consume(REPORTS, { source: ctx.ip });
    const { findings } = parseInput(Report, { findings: ctx.request.body });
    const answers = [];
    for (const { token, type } of findings) {
      const kind = kindOf(token);
      const isReportable = kind !== undefined && isReportableKind(kind);
      const revoked = isReportable && (await revokeLeaked[kind](token, { address: ctx.ip }));
      answers.push({ token_raw: token, token_type: type, label: revoked ? 'true_positive' : 'false_positive' });
    }
    ctx.set('Cache-Control', 'no-store');
    ctx.body = answers;
  });

  return router;
}
