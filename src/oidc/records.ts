/** Under which keys the engine's records stand in the store, and in which groups. */
import { hash } from 'node:crypto';

/** The id of these is what a browser or an app presents; of the others it is only a name. */
const BEARER_MODELS = new Set([
  'AccessToken',
  'AuthorizationCode',
  'ClientCredentials',
  'Interaction',
  'PushedAuthorizationRequest',
  'RefreshToken',
]);

/** The key of a record: bearer values are digested. */
export function recordKey(model: string, id: string): string {
  return `${model}:${BEARER_MODELS.has(model) ? hash('sha256', id, 'base64url') : id}`;
}

// The groups that they are listed under: a person's, an app's, and what stands on a grant.
export const accountGroup = (accountId: string) => `engine:account:${accountId}`;
export const sessionGroup = (accountId: string) => `engine:sessions:${accountId}`;
export const clientGroup = (clientId: string) => `engine:client:${clientId}`;
export const grantGroup = (grantId: string) => `engine:grant:${grantId}`;
