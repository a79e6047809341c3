import type Provider from 'oidc-provider';

/** Ends one access token and nothing beside it. False when this app has none of this account by that value. */
export type EndAccessToken = (value: string, holder: { clientId: string; accountId: string }) => Promise<boolean>;

export function createEndAccessToken(currentProvider: () => Promise<Provider>): EndAccessToken {
  return async function endAccessToken(value, { clientId, accountId }) {
    const token = await (await currentProvider()).AccessToken.find(value);
    if (token?.clientId !== clientId || token.accountId !== accountId) return false;
    await token.destroy();
    return true;
  };
}
