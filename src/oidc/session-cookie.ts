/** The cookie that names a browser's session. */
import type Koa from 'koa';
import { cookieName } from './cookie-name.ts';

const withoutPort = (issuer: string) => (issuer.startsWith('https:') ? '__Host-latchkey' : 'latchkey');

export const sessionCookieOf = (issuer: string) => cookieName(issuer, withoutPort(issuer));

/** What signs the cookies of an application; the types of Koa leave it out. */
interface Signed {
  keys: { sign(data: string): string; verify(data: string, digest: string): boolean };
}

/**
 * Sessions that began when the name did not carry the port yet go on: what we have signed by the former name counts by this one. What
 * somebody else has signed is another instance's, and is let be.
 */
export function acceptFormerSessionCookie(issuer: string): Koa.Middleware {
  const [former, name] = [withoutPort(issuer), sessionCookieOf(issuer)];
  return function acceptFormer({ cookies, req }, next) {
    const sent = (each: string) => cookies.get(each, { signed: false });
    const value = sent(former);
    if (former === name || !value || sent(name)) return next();
    const { keys } = cookies as typeof cookies & Signed;
    if (keys.verify(`${former}=${value}`, sent(`${former}.sig`) ?? ''))
      req.headers.cookie += `; ${name}=${value}; ${name}.sig=${keys.sign(`${name}=${value}`)}`;
    return next();
  };
}
