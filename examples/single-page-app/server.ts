/**
 * Serves the files of a single-page app, and nothing else: all of its OpenID Connect is in the page (app.js and its neighbours).
 *
 * Run by itself: ISSUER=http://localhost:3000 CLIENT_ID=… node examples/single-page-app/server.ts
 */
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import Koa from 'koa';

export interface SinglePageAppOptions {
  issuer: string;
  clientId: string;
}

/** Path → file. What is not listed is not served. */
const FILES: Record<string, string> = {
  '/': import.meta.resolve('./index.html'),
  '/callback.html': import.meta.resolve('./callback.html'),
  '/silent-renew.html': import.meta.resolve('./silent-renew.html'),
  '/app.js': import.meta.resolve('./app.js'),
  '/callback.js': import.meta.resolve('./callback.js'),
  '/silent-renew.js': import.meta.resolve('./silent-renew.js'),
  '/user-manager.js': import.meta.resolve('./user-manager.js'),
  '/style.css': import.meta.resolve('./style.css'),
  '/icon.svg': import.meta.resolve('./icon.svg'),
  '/oidc-client.js': import.meta.resolve('oidc-client/dist/oidc-client.slim.min.js'),
};

export function createSinglePageApp({ issuer, clientId }: SinglePageAppOptions): Koa {
  // Talks to Latchkey only, and is framed by itself only: that is how it renews its tokens.
  const policy = `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ${issuer}; frame-src 'self' ${issuer}; frame-ancestors 'self'; base-uri 'none'; form-action 'none'`;

  return new Koa().use(async function sendFile(ctx) {
    ctx.set({ 'Content-Security-Policy': policy, 'Cache-Control': 'no-cache', 'Referrer-Policy': 'no-referrer' });
    if (ctx.path === '/settings.json') {
      ctx.body = { authority: issuer, client_id: clientId };
      return;
    }
    const file = FILES[ctx.path];
    if (file === undefined) return;
    ctx.type = extname(file);
    ctx.body = await readFile(new URL(file));
  });
}

if (import.meta.main) {
  const { ISSUER = 'http://localhost:3000', CLIENT_ID = '', PORT = '3002' } = process.env;
  const app = createSinglePageApp({ issuer: ISSUER, clientId: CLIENT_ID });
  app.listen(Number(PORT), '127.0.0.1', () => console.log(`The single-page app is at http://localhost:${PORT}`));
}
