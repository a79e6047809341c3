/** OpenID Connect for this app, by oidc-client 1.11 (the global `Oidc`): the implicit flow. */
const settings = await (await fetch('/settings.json')).json();

export const manager = new Oidc.UserManager({
  ...settings,
  response_type: 'id_token token', // 'code' is all it takes to move to code + PKCE
  scope: 'openid profile email stock.read',
  redirect_uri: `${location.origin}/callback.html`,
  post_logout_redirect_uri: `${location.origin}/`,
  // There is no refresh token in this flow: a hidden frame asks again, which works as long as the session at Latchkey lasts.
  silent_redirect_uri: `${location.origin}/silent-renew.html`,
  automaticSilentRenew: true,
  filterProtocolClaims: false, // this page shows them
  mergeClaims: true, // or claims that are objects, such as organization, come out twice: from the ID token and from userinfo
});
