/** Signing in at a fake provider: a page to choose who to be, and the codes that come of it (RFC 6749 §4.1, RFC 7636). */
import { hash, randomBytes } from 'node:crypto';
import type { Answer, FakePerson } from './fake-provider.ts';

/** What somebody agreed to, redeemed once. */
export interface Grant {
  person: FakePerson;
  clientId: string;
  nonce?: string | undefined;
  /** Whether the app wanted the person to be asked again. */
  askedAgain: boolean;
}

export interface Authorization {
  /** A careless provider takes a code more than once. */
  careless: boolean;
  /** The page; with `as` in the URL, the way back as that person, with `cancel` as nobody. */
  page(url: URL): Answer;
  /** What a code stands for; undefined for any that is not one, or without what goes with it. */
  redeem(form: URLSearchParams): Grant | undefined;
}

export interface AuthorizationOptions {
  name: string;
  people: readonly FakePerson[];
  /** Added to every answer (RFC 9207). */
  issuer?: () => string;
}

export function createAuthorization({ name, people, issuer }: AuthorizationOptions): Authorization {
  const codes = new Map<string, { grant: Grant; redirectUri: string; challenge: string }>();

  function answer(request: URLSearchParams, params: Record<string, string>): Answer {
    const back = new URL(request.get('redirect_uri') ?? '');
    const iss = issuer === undefined ? {} : { iss: issuer() };
    for (const [key, value] of Object.entries({ ...params, ...iss, state: request.get('state') ?? '' }))
      back.searchParams.set(key, value);
    return { location: back.href };
  }

  const authorization: Authorization = {
    careless: false,

    page(url) {
      const request = url.searchParams;
      if (request.get('code_challenge_method') !== 'S256') return { status: 400, html: 'no PKCE' };
      if (request.has('cancel')) return answer(request, { error: 'access_denied' });
      const person = people.find(({ subject }) => subject === request.get('as'));
      if (!person) return { html: choice(name, people, url) };
      const code = randomBytes(12).toString('hex');
      codes.set(code, {
        grant: {
          person,
          clientId: request.get('client_id') ?? '',
          nonce: request.get('nonce') ?? undefined,
          askedAgain: request.get('prompt') === 'login',
        },
        redirectUri: request.get('redirect_uri') ?? '',
        challenge: request.get('code_challenge') ?? '',
      });
      return answer(request, { code });
    },

    redeem(form) {
      const code = form.get('code') ?? '';
      const known = codes.get(code);
      if (!authorization.careless) codes.delete(code);
      const challenge = hash('sha256', form.get('code_verifier') ?? '', 'base64url');
      return known?.redirectUri === form.get('redirect_uri') && known.challenge === challenge ? known.grant : undefined;
    },
  };
  return authorization;
}

function choice(name: string, people: readonly FakePerson[], { href }: URL): string {
  const link = (more: string, text: string) => `<p><a href="${escaped(`${href}&${more}`)}">${escaped(text)}</a></p>`;
  const links = people.map(({ subject, login, givenName, familyName }) =>
    link(`as=${encodeURIComponent(subject)}`, [givenName, familyName].filter(Boolean).join(' ') || login),
  );
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><title>${name}</title>
<style>body { font: 1.125rem system-ui; max-width: 24rem; margin: 4rem auto; padding: 0 1rem }</style>
<h1>${name}</h1><p>Nobody needs a password here. Who are you?</p>${links.join('')}<hr>${link('cancel=yes', 'Cancel')}`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
