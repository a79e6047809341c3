/** A98: what comes back from an identity provider, and everything that may be wrong with it. On two processes. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import type { FakePerson } from '../../examples/fake-providers/fake-provider.ts';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import {
  fixtures,
  onEachEngine,
  SECRET_KEY,
  startProcess,
  type TestApp,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import { type Browser, createBrowser, type Landing } from '../support/browser.ts';
import { FAKES_ALLOWED } from '../support/exchange.ts';
import {
  agreeThere,
  goThere,
  openLogin,
  type ProviderId,
  type Providers,
  signInWith,
  startProviders,
} from '../support/provider-sign-in.ts';

const IDS: readonly ProviderId[] = ['github', 'gitlab', 'google', 'openid'];

onEachEngine((openStore) => {
  describe('an answer of an identity provider', function () {
    this.timeout(20_000);
    let store: TestStore;
    let directory: Core;
    let providers: Providers;
    let processes: TestProcess[];
    let issuer: string;
    let person: TestApp['person'];

    before(async () => {
      [store, providers] = await Promise.all([openStore(), startProviders()]);
      const settings = { ...FAKES_ALLOWED, LOG_LEVEL: 'trace', TRUSTED_PROXIES: '127.0.0.0/8,::1/128' };
      const first = await startProcess(store, settings);
      issuer = first.url;
      processes = [first, await startProcess(store, { ...settings, ISSUER: issuer })];
      directory = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
      ({ person } = fixtures(directory));
      await providers.register(directory);
    });
    afterEach(() => {
      providers.openid.otherwise = {};
      providers.google.otherwise = {};
    });
    after(async () => {
      await directory.storage.close();
      await Promise.all(processes.map((process) => process.kill('SIGKILL')));
      await providers.close();
      await store.remove();
    });

    let browsers = 0;
    /** One with an address of its own, since what proves nobody is counted by address. */
    function browser(): Browser {
      browsers += 1;
      return createBrowser(issuer, issuer, { 'x-forwarded-for': `198.51.${browsers >> 8}.${browsers & 255}` });
    }

    async function linkedPerson(): Promise<{ there: FakePerson; id: string; email: string; password: string }> {
      const there = providers.somebody();
      const made = await person();
      for (const identityProviderId of IDS)
        await directory.links.add({ identityProviderId, subject: there.subject, accountId: made.id });
      return { there, ...made };
    }

    const isSignedIn = async (visitor: Browser) => (await visitor.open('/account')).url.pathname === '/account';

    /** What must be true of every refused answer. */
    async function expectRefused(visitor: Browser, landing: Landing, what: string, status = 400): Promise<void> {
      expect(landing.response?.status, what).to.equal(status);
      expect(await isSignedIn(visitor), what).to.equal(false);
    }

    const linksOf = async ({ id }: { id: string }) => (await directory.links.list(id)).length;

    /** A browser that is sent back with an answer for this person, which has not been opened yet. */
    async function sentBack(there: FakePerson, provider: ProviderId = 'github') {
      const visitor = browser();
      const login = await openLogin(visitor);
      const asked = await goThere(visitor, login, provider);
      return { visitor, login, asked, back: await agreeThere(asked, there) };
    }

    it('without state, with one that nobody made, or with two, signs nobody in', async () => {
      const { there } = await linkedPerson();
      for (const provider of IDS) {
        const changes: Record<string, (back: URL) => void> = {
          'no state': ({ searchParams }) => searchParams.delete('state'),
          'empty state': ({ searchParams }) => searchParams.set('state', ''),
          'made-up state': ({ searchParams }) => searchParams.set('state', 'A'.repeat(43)),
          'two states': ({ searchParams }) => searchParams.append('state', 'A'.repeat(43)),
          'state as a list': ({ searchParams }) => searchParams.append('state[0]', '1'),
          'two codes': ({ searchParams }) => searchParams.append('code', 'A'),
        };
        for (const [what, change] of Object.entries(changes)) {
          const { visitor, back } = await sentBack(there, provider);
          change(back);
          const landing = await visitor.open(back.href);
          if (what !== 'state as a list') await expectRefused(visitor, landing, `${provider}: ${what}`);
        }
      }
    });

    it('works in the browser that began it and in no other, signed in or not', async () => {
      const { there, email, password } = await linkedPerson();
      const { visitor, back } = await sentBack(there);
      const stranger = browser();
      await expectRefused(stranger, await stranger.open(back.href), 'another browser');
      const busy = browser();
      const busyLogin = await openLogin(busy);
      await expectRefused(busy, await busy.open(back.href), 'a browser with another sign-in under way');
      // The very page that the answer belongs to, with the cookie of another sign-in.
      const inner = `/interaction/${busyLogin.url.pathname.split('/')[2]}/callback/github${back.search}`;
      await expectRefused(busy, await busy.open(inner), 'an answer in another sign-in');
      const known = browser();
      await known.submit((await openLogin(known)).url.pathname, { email, password });
      expect((await known.open(back.href)).response?.status).to.equal(400);
      expect(await linksOf(await directory.accounts.getOrFail(email))).to.equal(IDS.length);
      expect((await visitor.open(back.href)).url.pathname).to.equal('/account');
    });

    it('works once: one of eight at the same time in two processes, and none later, whatever the provider takes', async () => {
      for (const provider of IDS) {
        providers[provider].authorization.careless = true;
        const { there } = await linkedPerson();
        const { visitor, login, back } = await sentBack(there, provider);
        const inner = `/interaction/${login.url.pathname.split('/')[2]}/callback/${provider}${back.search}`;
        const cookie = visitor
          .cookies()
          .filter(({ path }) => path === '/' || inner.startsWith(path))
          .map(({ name, value }) => `${name}=${value}`)
          .join('; ');
        const answers = await Promise.all(
          Array.from({ length: 8 }, (_, index) =>
            fetch(`${processes[index % 2]?.url}${inner}`, { redirect: 'manual', headers: { cookie } }),
          ),
        );
        expect(answers.map(({ status }) => status).sort()).to.deep.equal([303, ...Array(7).fill(400)]);
        expect((await visitor.open(back.href)).response?.status).to.equal(400);
        providers[provider].authorization.careless = false;
      }
    });

    it('is not used up by a look at it beforehand', async () => {
      const { there } = await linkedPerson();
      const { visitor, login, back } = await sentBack(there);
      const inner = `/interaction/${login.url.pathname.split('/')[2]}/callback/github${back.search}`;
      for (const url of [back.href, inner]) await visitor.request(url, { method: 'HEAD' });
      expect((await visitor.open(back.href)).url.pathname).to.equal('/account');

      const session = await signedIn();
      const begun = await session.visitor.submit('/account/security/link/github', {});
      const { search } = await agreeThere(begun.url, providers.somebody());
      const link = `/account/security/callback/github${search}`;
      expect((await session.visitor.request(link, { method: 'HEAD' })).status).to.equal(405);
      expect(await linksOf(session)).to.equal(0);
      await session.visitor.open(link);
      expect(await linksOf(session)).to.equal(1);
    });

    it('belongs to the provider it was asked of, whichever sends it', async () => {
      const { there } = await linkedPerson();
      for (const [asked, other] of [
        ['github', 'openid'],
        ['openid', 'google'],
        ['google', 'gitlab'],
        ['gitlab', 'github'],
      ] as const) {
        const { visitor, login, back } = await sentBack(there, asked);
        for (const path of ['/interaction/callback/', `${login.url.pathname}/callback/`]) {
          const landing = await visitor.open(`${path}${other}${back.search}`);
          await expectRefused(visitor, landing, `${asked} at ${other}`);
        }
      }
    });

    it('with a code of another sign-in signs nobody in, even the same person’s', async () => {
      const victim = await linkedPerson();
      const attacker = await linkedPerson();
      for (const provider of IDS) {
        for (const { there } of [victim, attacker]) {
          const mine = await sentBack(victim.there, provider);
          const foreign = await sentBack(there, provider);
          mine.back.searchParams.set('code', String(foreign.back.searchParams.get('code')));
          await expectRefused(mine.visitor, await mine.visitor.open(mine.back.href), provider);
        }
        const { visitor, back } = await sentBack(victim.there, provider);
        back.searchParams.set('code', 'made-up');
        await expectRefused(visitor, await visitor.open(back.href), provider);
      }
    });

    for (const provider of ['google', 'openid'] as const) {
      it(`of ${provider} with an ID token that is not for this sign-in signs nobody in`, async () => {
        const { there } = await linkedPerson();
        const past = Math.floor(Date.now() / 1000) - 3600;
        const claims = {
          'no nonce': { nonce: undefined },
          'an empty nonce': { nonce: '' },
          'another nonce': { nonce: 'A'.repeat(43) },
          'another issuer': { iss: 'https://evil.example' },
          'no issuer': { iss: undefined },
          'another audience': { aud: 'somebody-else' },
          'two audiences': { aud: ['latchkey-there', 'somebody-else'] },
          'another party': { azp: 'somebody-else' },
          expired: { exp: past },
          'no expiry': { exp: undefined },
          'no subject': { sub: undefined },
          'an empty subject': { sub: '' },
          'an endless subject': { sub: 'x'.repeat(256) },
        };
        for (const [what, otherwise] of Object.entries(claims)) {
          providers[provider].otherwise = otherwise as Record<string, string>;
          const { visitor, back } = await sentBack(there, provider);
          await expectRefused(visitor, await visitor.open(back.href), what);
        }
        providers[provider].otherwise = {};
        const { visitor, back } = await sentBack(there, provider);
        expect((await visitor.open(back.href)).url.pathname).to.equal('/account');
      });

      it(`of ${provider} that names another issuer, or none although it always does, signs nobody in`, async () => {
        const { there } = await linkedPerson();
        for (const iss of ['https://evil.example', '', undefined]) {
          const { visitor, back } = await sentBack(there, provider);
          if (iss === undefined) back.searchParams.delete('iss');
          else back.searchParams.set('iss', iss);
          await expectRefused(visitor, await visitor.open(back.href), String(iss));
        }
      });

      it(`of ${provider} with an ID token that it has not signed signs nobody in`, async () => {
        const { there } = await linkedPerson();
        const { url } = providers[provider];
        const metadata = await (await fetch(`${url}/.well-known/openid-configuration`)).json();
        const keys = (await (await fetch(`${url}/keys`)).json()) as { keys: { kid: string }[] };
        const { privateKey } = await generateKeyPair('ES256');
        const shared = Buffer.from('secret of latchkey there');
        const kid = String(keys.keys[0]?.kid);
        const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
        const forgeries: Record<string, (claims: JWTPayload) => Promise<string>> = {
          'no signature': async (claims) => `${part({ alg: 'none' })}.${part(claims)}.`,
          'our own secret': (claims) => new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(shared),
          'another key': (claims) => new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid }).sign(privateKey),
          'an unknown key': (claims) =>
            new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'unknown' }).sign(privateKey),
        };
        for (const [what, forge] of Object.entries(forgeries)) {
          const { visitor, back, asked } = await sentBack(there, provider);
          const now = Math.floor(Date.now() / 1000);
          const id_token = await forge({
            iss: String((metadata as { issuer: string }).issuer),
            sub: there.subject,
            aud: 'latchkey-there',
            email: 'somebody@elsewhere.example',
            iat: now,
            exp: now + 60,
            nonce: String(asked.searchParams.get('nonce')),
          });
          const body = { access_token: 'x', token_type: 'Bearer', id_token };
          providers[provider].misbehave = (request, response) => {
            const answers: Record<string, unknown> = { '/token': body, '/keys': keys };
            response.writeHead(200, { 'content-type': 'application/json' });
            response.end(JSON.stringify(answers[String(request.url)] ?? metadata));
          };
          const landing = await visitor.open(back.href);
          providers[provider].misbehave = undefined;
          await expectRefused(visitor, landing, what);
        }
      });
    }

    it('with hostile text is shown as text', async () => {
      const { visitor, back } = await sentBack(providers.somebody());
      const hostile = '"><script>alert(1)</script>';
      const query = new URLSearchParams({
        state: String(back.searchParams.get('state')),
        error: hostile,
        error_description: hostile,
        error_uri: 'javascript:alert(1)',
      });
      const landing = await visitor.open(`${back.pathname}?${query}`);
      await expectRefused(visitor, landing, 'hostile');
      expect(landing.text).not.to.contain('<script>alert').and.not.to.contain('javascript:');
    });

    it('with a hostile name is shown as text, and makes no account', async () => {
      const hostile = '"><script>alert(1)</script>';
      const there = providers.somebody({ login: hostile, email: 'x"><b>@elsewhere.example', givenName: hostile });
      for (const provider of IDS) {
        const { text } = await signInWith({ browser: browser(), person: there, provider });
        expect(text).to.contain('Link').and.not.to.contain('<script>alert').and.not.to.contain('"><b>');
      }
    });

    it('is refused without asking the provider after thirty that proved nobody', async () => {
      const { there } = await linkedPerson();
      const visitor = browser();
      let last: Landing | undefined;
      for (let turn = 0; turn < 31; turn++) {
        const back = await agreeThere(await goThere(visitor, await openLogin(visitor), 'github'), there);
        back.searchParams.set('code', 'made-up');
        providers.github.requests.length = 0;
        last = await visitor.open(back.href);
      }
      expect(last?.response?.status).to.equal(429);
      expect(Number(last?.response?.headers.get('retry-after'))).to.be.greaterThan(60);
      expect(providers.github.requests).to.deep.equal([]);
      const elsewhere = await sentBack(there);
      expect((await elsewhere.visitor.open(elsewhere.back.href)).url.pathname).to.equal('/account');
    });

    it('for linking works in the session that asked, and links nobody else’s account', async () => {
      const [attacker, victim] = await Promise.all([signedIn(), signedIn()]);
      const evil = providers.somebody();
      const begun = await attacker.visitor.submit('/account/security/link/github', {});
      const back = await agreeThere(begun.url, evil);
      for (const url of [back.href, `/account/security/callback/github${back.search}`]) {
        expect((await victim.visitor.open(url)).response?.status).to.equal(400);
        await expectAskedToSignIn(browser(), url);
      }
      expect(await linksOf(victim)).to.equal(0);
      expect(await linksOf(attacker)).to.equal(0);

      // The victim is linking just now, and is given the attacker's code.
      const own = await victim.visitor.submit('/account/security/link/github', {});
      const mixed = await agreeThere(own.url, providers.somebody());
      mixed.searchParams.set('code', String(back.searchParams.get('code')));
      expect((await victim.visitor.open(mixed.href)).response?.status).to.equal(400);
      expect(await linksOf(victim)).to.equal(0);

      /** Nobody is signed in there, and the answer is gone from the address when somebody is. */
      async function expectAskedToSignIn(visitor: Browser, url: string): Promise<void> {
        const { url: end } = await visitor.open(url);
        expect(end.pathname).to.match(/^\/interaction\//);
        expect(end.search).to.equal('');
      }
    });

    it('for signing in links nothing, and one for linking signs nobody in', async () => {
      const { there } = await linkedPerson();
      const signing = await sentBack(there);
      const session = await signedIn();
      const state = signing.back.search;
      expect((await session.visitor.open(`/account/security/callback/github${state}`)).response?.status).to.equal(400);
      expect(await linksOf(session)).to.equal(0);
      const linking = await agreeThere((await session.visitor.submit('/account/security/link/github', {})).url, there);
      const inner = `${signing.login.url.pathname}/callback/github${linking.search}`;
      await expectRefused(signing.visitor, await signing.visitor.open(inner), 'an answer for linking');
    });

    it('is asked for by our own pages only, and nothing is changed by a link', async () => {
      const { visitor, id } = await signedIn();
      const signing = browser();
      const login = await openLogin(signing);
      const sign = `/interaction/${login.url.pathname.split('/')[2]}`;
      const post = (from: Browser, path: string, headers: Record<string, string>) =>
        from.request(path, { method: 'POST', headers, body: new URLSearchParams() });
      const elsewhere = [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }];
      for (const headers of elsewhere as Record<string, string>[])
        for (const path of [`${sign}/provider`, `${sign}/link`])
          expect((await post(signing, path, headers)).status).to.equal(403);
      // Unlike a sign-in's, the paths of the console are no proof that its page was seen.
      for (const headers of [...elsewhere, { origin: 'null' }] as Record<string, string>[])
        for (const path of ['/account/security/link/github', '/account/security/unlink/x'])
          expect((await post(visitor, path, headers)).status).to.equal(403);
      const got = await visitor.request('/account/security/link/github');
      expect(got.headers.get('location')).to.equal(null);
      expect(await linksOf({ id })).to.equal(0);
    });

    it('leaves no token, code or secret of the provider in files or logs', async () => {
      const { there } = await linkedPerson();
      const codes: string[] = [];
      for (const provider of IDS) {
        const { visitor, back } = await sentBack(there, provider);
        codes.push(String(back.searchParams.get('code')), String(back.searchParams.get('state')));
        expect((await visitor.open(back.href)).url.pathname).to.equal('/account');
      }
      const files = await readdir(store.directory, { recursive: true, withFileTypes: true });
      const texts = await Promise.all(
        files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), 'latin1')),
      );
      const everything = [...texts, ...processes.map((process) => process.output())].join('\n');
      expect(everything).to.contain('latchkey-there');
      const given = IDS.flatMap((provider) => providers[provider].given);
      expect(given.length).to.be.greaterThan(20);
      for (const secret of ['secret of latchkey there', ...codes, ...given])
        expect(everything.includes(secret), secret).to.equal(false);
    });

    /** Somebody signed in by password, just now. */
    async function signedIn() {
      const made = await person();
      const visitor = browser();
      const login = await openLogin(visitor, '/account/security');
      await visitor.submit(login.url.pathname, { email: made.email, password: made.password });
      return { ...made, visitor };
    }
  });
});
