/** Runs in the hidden frame and hands the answer to the page around it. */
import { manager } from './user-manager.js';

await manager.signinSilentCallback();
