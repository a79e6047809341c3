/** The groups that the engine's records are listed under: a person's, an app's, and what stands on a grant. */
export const accountGroup = (accountId: string) => `engine:account:${accountId}`;
export const sessionGroup = (accountId: string) => `engine:sessions:${accountId}`;
export const clientGroup = (clientId: string) => `engine:client:${clientId}`;
export const grantGroup = (grantId: string) => `engine:grant:${grantId}`;
