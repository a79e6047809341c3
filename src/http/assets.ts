import { hash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { send } from '@koa/send';
import type Koa from 'koa';

const PREFIX = '/assets/';
const YEAR_MS = 365 * 24 * 60 * 60 * 1000;

/** What browsers and robots ask for by a name of theirs, iOS in all its sizes, whatever the pages say. */
const ASKED_FOR = /^\/(favicon\.ico|robots\.txt|apple-touch-icon(?:-\d+x\d+)?(?:-precomposed)?\.png)$/;

export interface Assets {
  /** The URL of a file, which changes with its content and may therefore be kept for ever. */
  url(name: string): string;
  /** Answers `/assets/*`, and the few files that are asked for at the root. */
  serve: Koa.Middleware;
}

/** Style, scripts and images of the pages: the files of one folder, without subfolders, known from the start. */
export function createAssets(directory: string): Assets {
  const versions = new Map(readdirSync(directory).map((name) => [name, versionOf(join(directory, name))]));

  return {
    url(name) {
      const version = versions.get(name);
      if (version === undefined) throw new Error(`there is no asset ${name}`);
      return `${PREFIX}${name}?v=${version}`;
    },

    async serve(ctx, next) {
      const name = nameIn(ctx.path);
      const version = versions.get(name);
      if (version === undefined || !['GET', 'HEAD'].includes(ctx.method)) return next();
      const immutable = ctx.query.v === version;
      await send(ctx, name, { root: directory, maxAge: immutable ? YEAR_MS : 0, immutable });
      if (!ctx.path.startsWith(PREFIX)) ctx.set('Cache-Control', 'public, max-age=86400');
    },
  };
}

function nameIn(path: string): string {
  if (path.startsWith(PREFIX)) return path.slice(PREFIX.length);
  return ASKED_FOR.exec(path)?.[1]?.replace(/^apple-touch-icon.*/, 'apple-touch-icon.png') ?? '';
}

function versionOf(path: string): string {
  return hash('sha256', readFileSync(path), 'base64url').slice(0, 12);
}
