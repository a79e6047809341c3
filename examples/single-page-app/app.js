/** The page: shows who is signed in, and what may be done about it. */
import { manager } from './user-manager.js';

const element = (id) => document.getElementById(id);

element('sign-in').addEventListener('click', () => manager.signinRedirect());
element('sign-out').addEventListener('click', () => manager.signoutRedirect());
element('renew').addEventListener('click', () => manager.signinSilent().catch(renewFailed));
manager.events.addUserLoaded(show);
manager.events.addSilentRenewError(renewFailed);
manager.events.addAccessTokenExpired(ended);

const refused = new URLSearchParams(location.search).get('refused');
if (refused) notify(refused === 'access_denied' ? 'You did not allow it, so you are not signed in.' : refused);
history.replaceState(null, '', '/');
show(await manager.getUser());

/** @param user What oidc-client keeps of a sign-in, or null. */
function show(user) {
  const signedIn = user !== null && !user.expired;
  element('signed-in').hidden = !signedIn;
  element('sign-out').hidden = !signedIn;
  element('signed-out').hidden = signedIn;
  if (!signedIn) return;
  const { name, email, organization } = user.profile;
  element('name').textContent = name;
  element('email').textContent = organization ? `${email} · ${organization.name}` : email;
  element('scope').textContent = user.scope;
  element('expires').textContent = new Date(user.expires_at * 1000).toLocaleTimeString('en-GB');
  element('renewed').textContent = new Date(user.profile.iat * 1000).toLocaleTimeString('en-GB');
  element('claims').replaceChildren(...Object.entries(user.profile).map(row));
  element('notice').hidden = true;
}

function row([name, value]) {
  const line = document.createElement('tr');
  const header = document.createElement('th');
  header.scope = 'row';
  header.textContent = name;
  const cell = document.createElement('td');
  cell.textContent = typeof value === 'string' ? value : JSON.stringify(value);
  line.append(header, cell);
  return line;
}

/** A refusal ends the sign-in; a failure, such as a lost connection, leaves it until the token has expired. */
function renewFailed(error) {
  if (error.error) ended();
}

async function ended() {
  await manager.removeUser();
  show(null);
  notify('Your sign-in has ended at Latchkey. Sign in again to go on.');
}

function notify(text) {
  element('notice').textContent = text;
  element('notice').hidden = false;
}
