/**
 * What a partner's server asks for its user: a one-time sign-in, an access token, an end of the sessions it began. Forms in, JSON
 * out, as clients of giosg send and read them. Never for browsers of other origins: a secret has no place there.
 */
import Router from '@koa/router';
import type Koa from 'koa';
import { z } from 'zod';
import type { Audit } from '../audit.ts';
import { Email } from '../email.ts';
import { AppError, ignoreNotFound } from '../errors.ts';
import type { IssueAccessToken } from '../exchange/exchange.ts';
import { basicCredentials } from '../http/authorization.ts';
import { form } from '../http/form.ts';
import { parseInput } from '../input.ts';
import { REFUSED_CLIENTS } from '../oidc/engine.ts';
import type { Sessions } from '../oidc/sessions.ts';
import type { Rule, Throttle } from '../throttle.ts';
import type { PartnerClient, SsoSignIn } from './sso-sign-in.ts';
import type { SsoTokens } from './sso-tokens.ts';

/** Seconds an access token lives unless its app says otherwise. */
const LIFETIME = 60 * 60;

const Text = z.string().optional();

const CredentialsForm = z.object({ client_id: Text, client_secret: Text, organization_id: Text });

const PersonForm = z.object({
  email: Email,
  first_name: z.unknown().optional(),
  last_name: z.unknown().optional(),
  permissions: z
    .string()
    .transform((names) => [...new Set(names.split(/\s+/).filter((name) => name !== ''))])
    .optional(),
});

export interface SsoRoutesOptions {
  ssoSignIn: SsoSignIn;
  tokens: SsoTokens;
  issue: IssueAccessToken;
  sessions: Pick<Sessions, 'list' | 'end'>;
  throttle: Throttle;
  audit: Audit;
}

export function ssoRoutes({ ssoSignIn, tokens, issue, sessions, throttle, audit }: SsoRoutesOptions): Router {
  const router = new Router({ prefix: '/sso' });

  router.post(
    '/token',
    answer(async function createSsoToken(ctx, { client, organizationId }) {
      const person = await introduced(ctx, client, organizationId);
      const { token, expiresIn } = await tokens.create({
        accountId: person.account.id,
        clientId: client.id,
        organizationId,
        epoch: person.account.epoch,
        clientEpoch: client.epoch,
      });
      // Good for a browser to arrive with, and for no API (RFC 8693 §2.2.1).
      ctx.body = { access_token: token, token_type: 'N_A', expires_in: expiresIn };
    }),
  );

  router.post(
    '/access-token',
    answer(async function createAccessToken(ctx, { client, organizationId }) {
      const { account, permissions } = await introduced(ctx, client, organizationId);
      const word = await ssoSignIn.vouch(client, organizationId, account);
      const scope = ssoSignIn.scopeFor(client, account, permissions);
      const lifetime = client.exchangedTokenLifetime ?? LIFETIME;
      const { accessToken, expiresIn } = await issue({ client, account, scope, lifetime, word });
      await ssoSignIn.note({ client, account }, originOf(ctx), { for: 'access token' });
      ctx.body = { access_token: accessToken, token_type: 'Bearer', expires_in: expiresIn, scope: scope.join(' ') };
    }),
  );

  router.post(
    '/logout',
    answer(async function endSessions(ctx, { client, organizationId }) {
      const { email } = parseInput(PersonForm.pick({ email: true }), ctx.request.body);
      const account = await ssoSignIn.find(client, organizationId, email);
      const begun = account ? await sessions.list(account.id) : [];
      for (const { uid, accountId, signedInBy } of begun) {
        if (signedInBy !== client.id) continue;
        // The person may be quicker, or the partner's other server.
        await sessions.end(accountId, uid).catch(ignoreNotFound);
        await audit.record({ ...originOf(ctx), type: 'session_ended', accountId, clientId: client.id });
      }
      ctx.status = 204;
    }),
  );

  router.all(['/token', '/access-token', '/logout'], function onlyByPost(ctx) {
    ctx.set('Allow', 'POST');
    throw new AppError('method_not_allowed', 'send the form by POST');
  });

  /** For a partner that has proved itself; anybody else learns nothing. */
  function answer(
    handle: (ctx: Koa.Context, partner: { client: PartnerClient; organizationId: string }) => Promise<void>,
  ): Koa.Middleware {
    const readForm = form({ multipart: true });
    return async function answerPartner(ctx) {
      ctx.set('Cache-Control', 'no-store');
      await readForm(ctx, async () => {});
      const credentials = credentialsIn(ctx);
      const client = await ssoSignIn.authenticate(credentials, ctx.ip).catch((error) => refuse(ctx, error));
      await throttle.consume(rateOf(client), { key: client.id });
      await handle(ctx, { client, organizationId: credentials.organizationId ?? '' });
    };
  }

  async function introduced(ctx: Koa.Context, client: PartnerClient, organizationId: string) {
    const {
      email,
      first_name: givenName,
      last_name: familyName,
      permissions,
    } = parseInput(PersonForm, ctx.request.body);
    const person = { email, givenName, familyName, permissions };
    return { account: await ssoSignIn.introduce(client, organizationId, person, originOf(ctx)), permissions };
  }

  /** @throws {AppError} what it got, or `too_many_requests` beyond the limit. */
  async function refuse(ctx: Koa.Context, error: unknown): Promise<never> {
    if (error instanceof AppError && error.code === 'invalid_client') {
      await throttle.consume(REFUSED_CLIENTS, { source: ctx.ip });
      await audit.record({ type: 'client_refused', address: ctx.ip, detail: { sso: 'invalid_client' } });
    }
    throw error;
  }

  return router;
}

function rateOf({ sso }: PartnerClient): Rule {
  return { name: 'sso', limit: sso.ratePerMinute, window: 60 };
}

function originOf(ctx: Koa.Context) {
  return { address: ctx.ip, userAgent: ctx.get('User-Agent') || undefined };
}

/** In the form or by HTTP Basic (RFC 6749 §2.3.1), not both. What stands in the URL, and so in logs, is not read. */
function credentialsIn(ctx: Koa.Context) {
  const sent = parseInput(CredentialsForm, ctx.request.body);
  if (ctx.get('Authorization') === '') {
    return { clientId: sent.client_id, secret: sent.client_secret, organizationId: sent.organization_id };
  }
  const [clientId, secret] = basicCredentials(ctx.req);
  const isMixed = sent.client_secret !== undefined || (sent.client_id !== undefined && sent.client_id !== clientId);
  if (isMixed)
    throw new AppError('invalid_request', 'prove the app in the form or by HTTP Basic, not both', {
      field: 'client_secret',
    });
  return { clientId, secret, organizationId: sent.organization_id };
}
