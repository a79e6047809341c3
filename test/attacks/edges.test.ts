/** Requests at the edge of what is read at all: none of them costs more than a few ordinary ones. */
import { expect } from 'chai';
import { embeddedStore, type TestClient, type TestStore } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { type Attack, startTarget, type Target } from './web-target.ts';

/** Milliseconds of work of server and client together, for one request. */
const AT_MOST = 20;
const TIMES = 5;

const FORM = 'application/x-www-form-urlencoded';
/** A head may have 16 kB, a body 56. */
const [HEAD, BODY] = [14_000, 55_000];
const filled = (part: string, size: number) => part.repeat(Math.floor(size / part.length));
/** So many different names or values as fit. */
function counted(one: (n: number) => string, size: number): string {
  let [text, n] = ['', 0];
  while (text.length < size) text += one(n++);
  return text.slice(0, text.lastIndexOf(one(n - 1)));
}

describe('a request at the edge of what is read', () => {
  let store: TestStore;
  let target: Target;
  let web: TestClient;
  let service: TestClient;
  let signedIn: Browser;
  let token: string;

  before(async () => {
    store = await embeddedStore();
    target = await startTarget(store, { TRUSTED_PROXIES: '127.0.0.1/32' });
    web = await target.client({ trusted: true });
    service = await target.client({ clientCredentials: true, introspection: true });
    const person = await target.person();
    signedIn = target.browser();
    await target.signIn(signedIn, person, web);
    const account = await target.directory.accounts.get(person.id);
    if (!account) throw new Error('there is nobody');
    ({ token } = await target.directory.personalTokens.create(account, { description: 'edges' }));
  });
  after(async () => {
    await target.close();
    await store.remove();
  });

  async function workFor(path: string, attack: Attack): Promise<number> {
    const works: number[] = [];
    for (let n = 0; n < TIMES; n++) {
      const before = process.cpuUsage();
      const { status } = await target.send(path, attack);
      const { user, system } = process.cpuUsage(before);
      expect(status, `${path.slice(0, 60)} is read`)
        .to.be.below(500)
        .and.not.to.equal(431);
      works.push((user + system) / 1_000);
    }
    // The middle one: now and then garbage is collected.
    return works.sort((a, b) => a - b)[Math.floor(TIMES / 2)] ?? Number.NaN;
  }

  async function expectLittle(requests: Record<string, [path: string, attack?: Attack]>): Promise<void> {
    const works = new Map<string, number>();
    for (const [name, [path, attack = {}]] of Object.entries(requests)) works.set(name, await workFor(path, attack));
    const dear = [...works].filter(([, work]) => work > AT_MOST).map(([name, work]) => `${name}: ${work} ms`);
    expect(dear).to.deep.equal([]);
  }

  it('may have as many cookies and headers as fit', async () => {
    const headers: Record<string, Record<string, string>> = {
      'cookies of 500 names': { cookie: counted((n) => `name${n}=${'x'.repeat(16)}; `, HEAD) },
      'one cookie 500 times': { cookie: filled('latchkey=aaaaaaaaaaaaaaaa; ', HEAD) },
      'cookies without a value': { cookie: filled('a;', HEAD) },
      'cookies like ours': { cookie: counted((n) => `latchkey${n}.sig=${n}; `, HEAD) },
      '700 headers': Object.fromEntries(Array.from({ length: 700 }, (_, n) => [`x-${n}`, 'yyyyyyyyyy'])),
      'a chain of proxies': { 'x-forwarded-for': filled('10.0.0.1, ', HEAD) },
      'a chain of IPv6': { 'x-forwarded-for': filled('2001:db8::1,', HEAD) },
      'a long credential': { authorization: `Bearer ${filled('a', HEAD)}` },
      'many credentials': { authorization: filled('Bearer a, ', HEAD) },
      'a long name in Basic': { authorization: `Basic ${Buffer.from(`${filled('%41', 9_000)}:x`).toString('base64')}` },
    };
    const paths = [
      '/verify',
      '/api/me',
      '/account',
      '/identity/userinfo',
      '/identity/logout',
      `/interaction/${'a'.repeat(43)}`,
    ];
    await expectLittle(
      Object.fromEntries(
        paths.flatMap((path) =>
          Object.entries(headers).map(([name, sent]) => [
            `${path}, ${name}`,
            [path, { headers: { ...(sent.authorization ? {} : { authorization: `Token ${token}` }), ...sent } }],
          ]),
        ),
      ),
    );
  }).timeout(60_000);

  it('may have as many parameters in its URL as fit', async () => {
    const authorize = (more: string) =>
      `/identity/authorize?client_id=${web.id}&redirect_uri=${encodeURIComponent(web.redirectUri)}&response_type=code&scope=openid&${more}`;
    const queries: Record<string, string> = {
      'many names': counted((n) => `p${n}=1&`, 13_000),
      'one name many times': filled('p=1&', 13_000),
      'a known name many times': filled('prompt=none&', 13_000),
      'the resource many times': filled('resource=a&', 13_000),
      'many prompts': `prompt=${filled('login+', 5_000)}`,
      'many languages': `ui_locales=${filled('en-GB+', 5_000)}`,
      'many classes': `acr_values=${counted((n) => `c${n}+`, 5_000)}`,
      'a long hint': `id_token_hint=${filled('a', 5_000)}`,
      'a hint with many parts': `id_token_hint=${filled('a.', 5_000)}`,
      brackets: filled('a[b]=1&', 13_000),
      'deep brackets': `a${filled('[b]', 13_000)}=1`,
      'only separators': filled('&', 13_000),
      encoded: `p=${filled('%41', 13_000)}`,
      'badly encoded': `p=${filled('%zz', 13_000)}`,
    };
    const requests: Record<string, [string, Attack?]> = {};
    const authorization = `Token ${token}`;
    for (const [name, query] of Object.entries(queries)) {
      requests[`authorize, ${name}`] = [authorize(query), { as: signedIn }];
      requests[`logout, ${name}`] = [`/identity/logout?${query}`, { as: signedIn }];
      requests[`verify, ${name}`] = [`/verify?${query}`, { headers: { authorization } }];
      requests[`sso, ${name}`] = [`/sso/login?${query}`];
      requests[`console, ${name}`] = [`/account/tokens?${query}`, { as: signedIn }];
    }
    requests['authorize, many scopes'] = [
      authorize('').replace('scope=openid', `scope=openid+${counted((n) => `s${n}+`, 5_500)}`),
    ];
    requests['verify, many scopes'] = [
      `/verify?${counted((n) => `scope=s${n}&`, 13_000)}`,
      { headers: { authorization } },
    ];
    await expectLittle(requests);
  }).timeout(60_000);

  it('may have as much in its body as is read', async () => {
    const grant = `client_id=${service.id}&client_secret=${service.secret}&grant_type=client_credentials`;
    const bodies: Record<string, string> = {
      'many names': counted((n) => `p${n}=1&`, BODY),
      'one name many times': filled('p=1&', BODY),
      'a known name many times': filled('scope=a&', BODY),
      'the secret many times': filled('client_secret=a&', BODY),
      'the resource many times': filled('resource=a&', BODY),
      'many scopes': `scope=${counted((n) => `s${n}+`, BODY)}`,
      'a long code': `code=${filled('a', BODY)}`,
      'a long token': `token=${filled('a', BODY)}&subject_token=${filled('a', 100)}`,
      'a token with many parts': `token=${filled('a.', BODY)}`,
      'an assertion with many parts': `client_assertion=${filled('a.', BODY)}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer`,
      encoded: `p=${filled('%41', BODY)}`,
      'badly encoded': `p=${filled('%zz', BODY)}`,
      brackets: filled('a[b]=1&', BODY),
      'only separators': filled('&', BODY),
    };
    const requests: Record<string, [string, Attack?]> = {};
    for (const [name, body] of Object.entries(bodies)) {
      for (const path of ['token', 'introspect', 'revoke', 'par'])
        requests[`${path}, ${name}`] = [
          `/identity/${path}`,
          { body: `${grant}&${body}`.slice(0, 56_000), headers: { 'content-type': FORM } },
        ];
      for (const path of ['/sso/token', '/rest/token', '/setup', '/identity/authorize', '/identity/logout'])
        requests[`${path}, ${name}`] = [
          path,
          { body, headers: { 'content-type': FORM, 'sec-fetch-site': 'same-origin' } },
        ];
    }
    const deep = (open: string, close: string) =>
      open.repeat(BODY / 2 / open.length) + close.repeat(BODY / 2 / close.length);
    for (const [name, body] of Object.entries({
      'deep JSON': deep('[', ']'),
      'wide JSON': `{${counted((n) => `"p${n}":1,`, BODY)}"a":1}`,
    }))
      requests[`/api/tokens, ${name}`] = [
        '/api/tokens',
        { body, headers: { 'content-type': 'application/json', authorization: `Token ${token}` } },
      ];
    await expectLittle(requests);
  }).timeout(60_000);

  it('is not sent on in a URL that is longer than is read', async () => {
    const send = (path: string, bytes: number) =>
      target.send(path, {
        body: `state=${filled('s', bytes)}`,
        headers: { 'content-type': FORM, 'sec-fetch-site': 'same-origin' },
      });
    for (const path of ['/identity/authorize', '/identity/logout']) {
      expect((await send(path, 13_500)).status, path).to.equal(303);
      const { status, text } = await send(path, 15_000);
      expect(status, path).to.equal(413);
      expect(text).to.contain('<h1>');
    }
  });
});
