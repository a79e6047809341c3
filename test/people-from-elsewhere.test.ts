/** What identity providers and partners tell about people: in pages, in several places, in part, or not as we would have it. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import type { FakePerson } from '../examples/fake-providers/fake-provider.ts';
import { onEachEngine, startApp, type TestApp, type TestStore } from './support/app.ts';
import { createBrowser, type Landing } from './support/browser.ts';
import { exchangeToken, FAKES_ALLOWED } from './support/exchange.ts';
import { titleOf } from './support/flow.ts';
import { arrive, askAsPartner, loginPath, type Partner, partnerApp } from './support/partner.ts';
import { type ProviderId, type Providers, signInWith, startProviders } from './support/provider-sign-in.ts';

/** The id that we have at every provider. */
const OWN = 'latchkey-there';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let providers: Providers;

  before(async () => {
    [store, providers] = await Promise.all([openStore(), startProviders()]);
    app = await startApp(store, FAKES_ALLOWED);
    await providers.register(app.directory);
    for (const id of ['github', 'gitlab', 'google', 'openid'])
      await app.directory.identityProviders.update(id, { newPeople: { policy: 'active' } });
  });
  afterEach(() => {
    providers.github.misbehave = undefined;
    providers.openid.otherwise = {};
    providers.openid.toldOtherwise = {};
  });
  after(async () => {
    await app.close();
    await providers.close();
    await store.remove();
  });

  const signIn = (person: FakePerson, provider: ProviderId): Promise<Landing> =>
    signInWith({ browser: createBrowser(app.issuer), person, provider });
  const isIn = ({ url }: Landing) => url.pathname === '/account';

  async function accountAt(identityProviderId: ProviderId, { subject }: FakePerson) {
    const link = await app.directory.links.find({ identityProviderId, subject });
    return link && app.directory.accounts.get(link.accountId);
  }

  /** Exchanges a token of theirs as an app does that has an app token for that provider. */
  async function exchange(identityProviderId: ProviderId, providerToken: string) {
    const { id: clientId } = await app.client();
    const { token } = await app.directory.appTokens.create({ clientId, identityProviderId, providerClientIds: [OWN] });
    return exchangeToken(app.issuer, token, providerToken);
  }

  describe('the addresses of somebody at GitHub', () => {
    /** Somebody whose own address is the last of so many. */
    const withMany = (count: number, email: string) =>
      providers.somebody({
        addresses: [
          ...Array.from({ length: count - 1 }, (_, n) => ({ email: `m${n}.${email}`, primary: false, verified: true })),
          { email, primary: true, verified: true },
        ],
      });
    const pagesAsked = () => providers.github.requests.filter((line) => line.startsWith('GET /user/emails')).length;

    it('are read to the page that has the primary one, by sign-in and by exchange', async () => {
      const person = withMany(241, 'late@gh.example');
      expect(isIn(await signIn(person, 'github'))).to.equal(true);
      expect(await accountAt('github', person)).to.include({ email: 'late@gh.example', emailVerified: true });

      const other = withMany(133, 'late-too@gh.example');
      const { status } = await exchange('github', providers.github.issue(other, OWN));
      expect(status).to.equal(200);
      expect(await accountAt('github', other)).to.include({ email: 'late-too@gh.example', emailVerified: true });
    });

    it('are asked for no longer than anybody has addresses', async () => {
      const person = withMany(3000, 'never@gh.example');
      providers.github.requests.length = 0;
      expect(titleOf((await signIn(person, 'github')).text)).to.equal('Link GitHub to your account');
      expect(pagesAsked()).to.be.within(3, 10);
    });

    it('are not asked for where a next page is the same one, or belongs to somebody else', async () => {
      let reached = 0;
      const other = createServer((_request, response) => {
        reached += 1;
        response.end('[]');
      }).listen(0, '127.0.0.1');
      await once(other, 'listening');
      const elsewhere = `http://localhost:${(other.address() as AddressInfo).port}`;
      const { url } = providers.github;
      const lies = [
        `<${url}/user/emails?per_page=100>; rel="next"`,
        `<${elsewhere}/user/emails?page=2>; rel="next"`,
        `<${url.replace('http://', 'http://user:password@')}/user/emails?page=2>; rel="next"`,
        `<${url}/other?page=2>; rel="next"`,
        '<http://>; rel=next',
        'rel="next"',
      ];
      const listed = JSON.stringify([{ email: 'x@gh.example', primary: false, verified: true }]);
      for (const link of lies) {
        const person = providers.somebody();
        const token = providers.github.issue(person, OWN);
        providers.github.requests.length = 0;
        providers.github.misbehave = (request, response) => {
          const answers = [
            { start: '/user/emails', body: listed },
            { start: '/user', body: JSON.stringify({ id: Number(person.subject), login: 'x' }) },
            {
              start: '/applications',
              body: JSON.stringify({ app: { client_id: OWN }, user: { id: Number(person.subject), login: 'x' } }),
            },
          ];
          const answer = answers.find(({ start }) => request.url?.startsWith(start));
          response.writeHead(200, { 'content-type': 'application/json', link }).end(answer?.body ?? '{}');
        };
        expect((await exchange('github', token)).status, link).to.equal(403);
        expect(pagesAsked(), link).to.equal(1);
      }
      expect(reached).to.equal(0);
      other.close();
    });

    it('count also where one of the list is not as it should be', async () => {
      const broken = [{ email: 7 }, null, { primary: true }] as unknown as NonNullable<FakePerson['addresses']>;
      const email = 'among-others@gh.example';
      const person = providers.somebody({ addresses: [...broken, { email, primary: true, verified: true }] });
      expect(isIn(await signIn(person, 'github'))).to.equal(true);
      expect(await accountAt('github', person)).to.include({ email });
    });

    it('make no account when the primary one is not verified, whatever else is', async () => {
      const person = providers.somebody({
        addresses: [
          { email: 'second@gh.example', primary: false, verified: true },
          { email: 'first@gh.example', primary: true, verified: false },
        ],
      });
      expect(isIn(await signIn(person, 'github'))).to.equal(false);
      expect(await accountAt('github', person)).to.equal(undefined);
    });
  });

  describe('a profile', () => {
    const told: Array<
      [what: string, idToken: Record<string, unknown>, userInfo: Record<string, unknown>, email?: string]
    > = [
      ['address in the ID token, verified at userinfo', { email_verified: undefined }, {}, 'own'],
      ['all of it at userinfo', { email: undefined, email_verified: undefined }, {}, 'own'],
      ['verified in words', { email_verified: 'true' }, { email: undefined, email_verified: undefined }, 'own'],
      ['verified in words at userinfo', { email_verified: undefined }, { email_verified: 'true' }, 'own'],
      ['both say it, the ID token no', { email_verified: false }, {}],
      ['both say it, userinfo no', {}, { email_verified: false }],
      ['userinfo says no, the ID token has all', { name: 'Ann Lee' }, { email_verified: false }],
      ['userinfo says no without the address', { name: 'Ann Lee' }, { email: undefined, email_verified: 'false' }],
      ['verified is another address', { email_verified: undefined }, { email: 'other@corp.example' }],
      ['not verified in words', { email_verified: 'false' }, { email_verified: 'false' }],
      ['verified nowhere', { email_verified: undefined }, { email_verified: undefined }],
      ['not an address', { email: 'not an address' }, { email: 'not an address' }],
    ];
    for (const [what, idToken, userInfo, email] of told) {
      it(`is put together from ID token and userinfo: ${what} → ${email ? 'an account' : 'none'}`, async () => {
        const person = providers.somebody();
        providers.openid.otherwise = idToken;
        providers.openid.toldOtherwise = userInfo;
        expect(isIn(await signIn(person, 'openid'))).to.equal(email !== undefined);
        expect((await accountAt('openid', person))?.email).to.equal(email && person.email);
      });
    }

    it('says of names first what the ID token says, then what userinfo says', async () => {
      const person = providers.somebody();
      providers.openid.otherwise = { given_name: 'Ann' };
      providers.openid.toldOtherwise = { given_name: 'Other', family_name: 'Lee', nickname: 'annie' };
      await signIn({ ...person }, 'openid');
      expect(await accountAt('openid', person))
        .to.include({ givenName: 'Ann' })
        .and.not.have.property('familyName');
    });

    it('of somebody else at userinfo counts for nothing, at sign-in and at exchange', async () => {
      const person = providers.somebody();
      providers.openid.otherwise = { email: undefined };
      providers.openid.toldOtherwise = { sub: 'somebody else' };
      expect(isIn(await signIn(person, 'openid'))).to.equal(false);
      const token = providers.openid.accessToken(person, OWN, { email: undefined, email_verified: undefined });
      providers.openid.toldOtherwise = { sub: 'somebody else', email: person.email, email_verified: true };
      expect((await exchange('openid', token)).status).to.equal(403);
      expect(await accountAt('openid', person)).to.equal(undefined);
    });

    for (const [what, told] of Object.entries({
      'of somebody else': { sub: 'somebody else', given_name: 'Eve' },
      'too long to be read': { given_name: 'Eve', picture: 'x'.repeat(2 ** 20) },
    })) {
      it(`is what the ID token says where that has the address and userinfo is ${what}`, async () => {
        const person = providers.somebody();
        providers.openid.otherwise = { name: undefined, given_name: undefined, family_name: undefined };
        providers.openid.toldOtherwise = told;
        expect(isIn(await signIn(person, 'openid'))).to.equal(true);
        expect(await accountAt('openid', person))
          .to.include({ email: person.email, emailVerified: true })
          .and.not.have.property('givenName');
      });
    }

    it('may come with a picture in it', async () => {
      const person = providers.somebody();
      providers.openid.otherwise = { name: undefined, given_name: undefined, family_name: undefined };
      providers.openid.toldOtherwise = { given_name: 'Ann', picture: `data:image/png;base64,${'A'.repeat(300_000)}` };
      expect(isIn(await signIn(person, 'openid'))).to.equal(true);
      expect(await accountAt('openid', person)).to.include({ givenName: 'Ann' });
    });

    it('is asked for at userinfo by an exchange as well', async () => {
      const person = providers.somebody();
      const token = providers.openid.accessToken(person, OWN, { email_verified: undefined });
      providers.openid.toldOtherwise = { email_verified: true, name: 'Ann Mary Lee' };
      expect((await exchange('openid', token)).status).to.equal(200);
      expect(await accountAt('openid', person)).to.include({
        email: person.email,
        emailVerified: true,
        givenName: 'Ann Mary',
        familyName: 'Lee',
      });
    });

    for (const [name, givenName, familyName] of [
      ['Ann Lee', 'Ann', 'Lee'],
      ['Ann Mary  van Lee', 'Ann Mary van', 'Lee'],
      ['Madonna', 'Madonna', undefined],
      ['山田太郎', '山田太郎', undefined],
    ] as const) {
      it(`has a name from one that is not in parts: ${name}`, async () => {
        for (const provider of ['github', 'openid'] as const) {
          const person = providers.somebody({ name });
          expect(isIn(await signIn(person, provider))).to.equal(true);
          const account = await accountAt(provider, person);
          expect([account?.givenName, account?.familyName]).to.deep.equal([givenName, familyName]);
        }
      });
    }

    it('keeps nobody out who has an account, also while userinfo is not as it should be', async () => {
      const person = providers.somebody();
      const { id } = await app.person();
      await app.directory.links.add({ identityProviderId: 'openid', subject: person.subject, accountId: id });
      providers.openid.toldOtherwise = {
        email: { not: 'text' },
        given_name: 7,
        name: ['x'],
        email_verified: 'perhaps',
      };
      providers.openid.otherwise = { email_verified: undefined };
      expect(isIn(await signIn(person, 'openid'))).to.equal(true);
    });
  });

  describe('a detail that somebody else wrote', () => {
    const UNUSUAL: Array<[told: string, kept: string | undefined]> = [
      ['Ann <3', 'Ann ‹3'],
      ['<script>alert(1)</script>', '‹script›alert(1)‹/script›'],
      ['Ann\u0000\nLee\u2028', 'Ann Lee'],
      ['abc\u202egpj.exe', 'abc gpj.exe'],
      ['x'.repeat(500), 'x'.repeat(120)],
      [`${'x'.repeat(119)}😀`, 'x'.repeat(119)],
      ['\u202e', undefined],
      ['   ', undefined],
    ];
    let partner: Partner;
    before(async () => {
      partner = await partnerApp(app.directory);
    });
    const eventsOf = async (accountId: string) =>
      (await app.directory.audit.list({ accountId })).events.filter(({ type }) => type === 'details_altered');

    it('never stops a partner’s user: names are cleaned, shortened, or left out, and it is written down once', async () => {
      for (const [index, [told, kept]] of UNUSUAL.entries()) {
        const person = { email: `unusual${index}@partner.example`, first_name: told, last_name: 'Lee' };
        for (const path of ['token', 'access-token', 'token'])
          expect((await askAsPartner(app.issuer, path, partner, person)).status, told).to.equal(200);
        const account = await app.directory.accounts.getOrFail(person.email);
        expect(account.givenName).to.equal(kept);
        const noted = told.trim() === '' ? 0 : 1;
        expect(await eventsOf(account.id), told).to.have.lengthOf(noted);
      }
    });

    it('changes an account that is there already as well, and is text on its pages', async () => {
      const email = 'later@partner.example';
      await askAsPartner(app.issuer, 'token', partner, { email, first_name: 'Ann' });
      const { body } = await askAsPartner(app.issuer, 'token', partner, { email, first_name: '<b>Ann</b>' });
      const visitor = createBrowser(app.issuer);
      await arrive(visitor, loginPath(String(body.access_token), `${app.issuer}/account`));
      const { text } = await visitor.open('/account');
      expect(text).to.contain('‹b›Ann‹/b›').and.not.to.contain('<b>Ann');
    });

    it('never stops somebody from a provider', async () => {
      for (const [index, [told, kept]] of UNUSUAL.entries()) {
        const person = providers.somebody({
          givenName: told,
          familyName: 'Lee',
          email: `unusual${index}@corp.example`,
        });
        expect(isIn(await signIn(person, 'openid')), told).to.equal(true);
        const account = await accountAt('openid', person);
        expect(account?.givenName, told).to.equal(kept);
        expect(await eventsOf(String(account?.id)), told).to.have.lengthOf(told.trim() === '' ? 0 : 1);
      }
    });

    it('never stops somebody from GitHub, whatever they call themselves there', async () => {
      for (const [told, kept] of UNUSUAL.slice(0, 5)) {
        const person = providers.somebody({ name: told, login: told });
        expect(isIn(await signIn({ ...person }, 'github')), told).to.equal(true);
        const { givenName, familyName, nickname } = (await accountAt('github', person)) ?? {};
        expect(nickname).to.equal(kept);
        expect([givenName, familyName].filter(Boolean).join(' ')).to.equal(kept);
      }
    });
  });
});
