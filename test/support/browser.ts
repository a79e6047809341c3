/** A browser without a screen: follows redirects within the issuer, keeps cookies by path, submits forms. */

interface Cookie {
  name: string;
  value: string;
  path: string;
}

export interface Browser {
  /** Requests one URL without following redirects. */
  request(url: string, init?: RequestInit): Promise<Response>;
  /** Opens a URL and follows redirects as long as they stay at the issuer. */
  open(url: string, init?: RequestInit): Promise<Landing>;
  /** Submits fields to a form's action and follows. */
  submit(action: string, fields: Record<string, string>): Promise<Landing>;
  cookies(): readonly Cookie[];
}

/** Where the browser ended: a page of the issuer, or the URL of an app it was sent to. */
export interface Landing {
  url: URL;
  /** The answer at that URL; absent when it lies outside the issuer. */
  response?: Response;
  text: string;
}

/**
 * @param origin Where the server answers; every URL of `issuer` is asked there.
 * @param more Headers of every request.
 */
export function createBrowser(issuer: string, origin = issuer, more: Record<string, string> = {}): Browser {
  let cookies: Cookie[] = [];

  function store(response: Response): void {
    for (const line of response.headers.getSetCookie()) {
      const [pair = '', ...attributes] = line.split(/;\s*/);
      const [name = '', ...value] = pair.split('=');
      const path = attributes.find((attribute) => /^path=/i.test(attribute))?.slice(5) ?? '/';
      cookies = cookies.filter((cookie) => cookie.name !== name || cookie.path !== path);
      if (!/expires=Thu, 01 Jan 1970/i.test(line)) cookies.push({ name, value: value.join('='), path });
    }
  }

  function cookieHeader(pathname: string): string {
    const matching = cookies.filter(({ path }) => path === '/' || pathname === path || pathname.startsWith(`${path}/`));
    return matching.map(({ name, value }) => `${name}=${value}`).join('; ');
  }

  async function request(target: string, init: RequestInit = {}): Promise<Response> {
    const url = new URL(target, issuer);
    const headers = new Headers({ accept: 'text/html', ...more, ...Object.fromEntries(new Headers(init.headers)) });
    headers.set('cookie', cookieHeader(url.pathname));
    if (init.method === 'POST' && !headers.has('origin')) headers.set('origin', issuer);
    const response = await fetch(`${origin}${url.pathname}${url.search}`, { ...init, headers, redirect: 'manual' });
    store(response);
    return response;
  }

  async function open(target: string, init?: RequestInit): Promise<Landing> {
    let url = new URL(target, issuer);
    let response = await request(url.href, init);
    for (let hops = 0; hops < 20; hops++) {
      const location = response.headers.get('location');
      if (!location) return { url, response, text: await response.text() };
      url = new URL(location, url);
      if (url.origin !== new URL(issuer).origin) return { url, text: '' };
      response = await request(url.href);
    }
    throw new Error(`too many redirects at ${url}`);
  }

  return {
    request,
    open,
    submit: (action, fields) => open(action, { method: 'POST', body: new URLSearchParams(fields) }),
    cookies: () => cookies,
  };
}
