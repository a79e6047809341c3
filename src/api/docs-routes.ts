import { fileURLToPath } from 'node:url';
import Router from '@koa/router';
import { send } from '@koa/send';
import type { Assets } from '../http/assets.ts';

const SWAGGER_UI = fileURLToPath(new URL('.', import.meta.resolve('swagger-ui-dist/package.json')));
const SWAGGER_FILES = ['swagger-ui.css', 'swagger-ui-bundle.js'];
const HOUR_MS = 60 * 60 * 1000;

/** The API described for programs (`/api/openapi.json`) and for people (`/docs/api`), without anything from elsewhere. */
export function docsRoutes({ issuer, assets }: { issuer: string; assets: Assets }): Router {
  const router = new Router();
  let document: object | undefined;
  const page = pageOf(assets);

  router.get('/api/openapi.json', async function showDocument(ctx) {
    // What makes it is large and seldom needed.
    const { openApiDocument } = await import('./openapi.ts');
    document ??= openApiDocument(issuer);
    ctx.body = document;
  });

  router.get('/docs/api', function showDocs(ctx) {
    ctx.type = 'html';
    ctx.body = page;
  });

  router.get('/docs/api/:file', async function serveSwagger(ctx, next) {
    const file = String(ctx.params.file);
    if (!SWAGGER_FILES.includes(file)) return next();
    await send(ctx, file, { root: SWAGGER_UI, maxAge: HOUR_MS });
  });

  return router;
}

function pageOf(assets: Assets): string {
  return `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>API · Latchkey</title>
  <link rel="icon" type="image/svg+xml" href="${assets.url('mark.svg')}">
  <link rel="stylesheet" href="/docs/api/swagger-ui.css">
  <script defer src="/docs/api/swagger-ui-bundle.js"></script>
  <script defer src="${assets.url('api-docs.js')}"></script>
</head>
<body>
  <main id="api"></main>
  <noscript><p>This page needs JavaScript. The same as a file: <a href="/api/openapi.json">openapi.json</a></p></noscript>
</body>
</html>
`;
}
