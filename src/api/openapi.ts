import { z } from 'zod';
import { createDocument } from 'zod-openapi';
import { API_KINDS } from '../credentials/kinds.ts';
import { CreatedToken, CreateToken, RotateToken, TokenRecord } from './token-schemas.ts';

/** Who calls (`GET /api/me`). */
const Caller = z.object({
  sub: z.string().describe('The id of the person, or of the app when it acts for itself'),
  email: z.string().optional(),
  name: z.string().optional(),
  organization: z.object({ id: z.string(), name: z.string() }).optional(),
  scope: z.string().describe('What this credential may do now'),
  credential: z.object({
    kind: z.enum(API_KINDS),
    id: z.string(),
    client_id: z.string().optional(),
  }),
});

const Failure = z.object({
  error: z.string(),
  error_description: z.string(),
  field: z.string().optional().describe('The input at fault'),
  errorCode: z.string().optional().describe('"401", "403", or "600" for a token that has expired'),
  errorMsg: z.string().optional(),
});

const json = (schema: z.ZodType) => ({ 'application/json': { schema } });
const answer = (description: string, schema: z.ZodType) => ({ description, content: json(schema) });
const refusals = {
  '401': answer('The credential is missing, unknown, revoked or expired', Failure),
  '403': answer('The credential may not do this', Failure),
};
const notFound = { '404': answer('There is no such token', Failure) };
const badInput = { '400': answer('The input is not right; `field` says which', Failure) };
const tokenId = { path: z.object({ id: z.string() }) };

/** The API in OpenAPI 3.1, made from the schemas that check what is sent. */
export function openApiDocument(issuer: string) {
  return createDocument({
    openapi: '3.1.0',
    info: {
      title: 'Latchkey',
      version: '1',
      description:
        'Who calls, and the personal tokens of a person. Sign-in itself is OpenID Connect; see its discovery document.',
    },
    servers: [{ url: issuer }],
    security: [{ token: [] }],
    components: {
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          description: 'An access token or a personal token. The scheme `Token` does the same.',
        },
      },
    },
    paths: {
      '/api/me': {
        get: { summary: 'Who calls', responses: { '200': answer('The caller', Caller), ...refusals } },
      },
      '/api/tokens': {
        get: {
          summary: 'Your tokens, newest first',
          description: 'With an access token of scope `tokens`, or signed in to the account pages.',
          responses: { '200': answer('Without the tokens themselves', z.array(TokenRecord)), ...refusals },
        },
        post: {
          summary: 'Make a token',
          requestBody: { required: true, content: json(CreateToken) },
          responses: { '201': answer('The only answer that holds the token', CreatedToken), ...badInput, ...refusals },
        },
      },
      '/api/tokens/{id}': {
        delete: {
          summary: 'Revoke a token',
          requestParams: tokenId,
          responses: { '204': { description: 'It works no more' }, ...refusals, ...notFound },
        },
      },
      '/api/tokens/{id}/rotate': {
        post: {
          summary: 'Exchange a token for a new one',
          description: 'The old one works on for `overlap` seconds. Its use after that revokes the new one, too.',
          requestParams: tokenId,
          requestBody: { required: true, content: json(RotateToken) },
          responses: { '201': answer('The new token', CreatedToken), ...badInput, ...refusals, ...notFound },
        },
      },
      '/api/tokens/self': {
        get: {
          summary: 'This token',
          description: 'With the personal token itself.',
          responses: { '200': answer('Its record', TokenRecord), ...refusals },
        },
        delete: {
          summary: 'Revoke this token',
          description: 'With the personal token itself.',
          responses: { '204': { description: 'It works no more' }, ...refusals },
        },
      },
    },
  });
}
