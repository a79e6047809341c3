/** Where Latchkey sends the person back to, with the tokens in the fragment. */
import { manager } from './user-manager.js';

try {
  await manager.signinRedirectCallback();
  location.replace('/'); // and so takes the tokens out of the address bar and the history
} catch (error) {
  location.replace(`/?refused=${encodeURIComponent(error.error ?? error.message)}`);
}
