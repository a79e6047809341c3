/** GitLab, at gitlab.com and elsewhere: what its tokens prove and what they do not, and a host that is old, or lies. */
import { expect } from 'chai';
import { type FakeGitLab, startFakeGitLab } from '../examples/fake-providers/gitlab.ts';
import { KINDS } from '../src/identity-providers/kinds/kinds.ts';
import { onEachEngine, startApp, type TestApp, type TestStore } from './support/app.ts';
import { createBrowser, type Landing } from './support/browser.ts';
import { exchangeToken, FAKES_ALLOWED, FOREIGN, fakePerson, OTHER, OWN } from './support/exchange.ts';
import { titleOf } from './support/flow.ts';
import { signInWith } from './support/provider-sign-in.ts';

const SECRET = 'own-secret';
const INVALID = 'Missing or invalid token.';
const NO_ACCOUNT = "The user doesn't seem to have an account.";

describe('the address of a GitLab', () => {
  it('is gitlab.com, or that of a host, whatever of it was copied', () => {
    const { address } = KINDS.gitlab;
    expect(address({})).to.equal('https://gitlab.com');
    for (const path of ['', '/', '/api/v4', '/api/v4/'])
      expect(address({ baseUrl: `https://git.example/lab${path}` })).to.equal('https://git.example/lab');
  });
});

onEachEngine((openStore) => {
  for (const age of ['current', 'old'] as const) {
    describe(`a ${age} GitLab`, function () {
      this.timeout(20_000);
      let store: TestStore;
      let app: TestApp;
      let gitlab: FakeGitLab;
      let appToken: string;

      before(async () => {
        const apps = { [OWN]: SECRET };
        [store, gitlab] = await Promise.all([openStore(), startFakeGitLab({ apps, old: age === 'old' })]);
        app = await startApp(store, FAKES_ALLOWED);
        const own = { clientId: OWN, clientSecret: SECRET, newPeople: { policy: 'active' } } as const;
        await app.directory.identityProviders.create({ id: 'lab', kind: 'gitlab', baseUrl: gitlab.url, ...own });
        const { id: clientId } = await app.client();
        appToken = (await app.directory.appTokens.create({ clientId, identityProviderId: 'lab' })).token;
      });
      afterEach(() => {
        gitlab.infoOtherwise = {};
        gitlab.toldOtherwise = {};
        gitlab.misbehave = undefined;
      });
      after(async () => {
        await app.close();
        await gitlab.close();
        await store.remove();
      });

      function somebody(person = {}) {
        const made = fakePerson({ email: `lab${Math.random()}@elsewhere.example`, ...person });
        gitlab.people.push(made);
        return made;
      }

      const exchange = (token: string) => exchangeToken(app.issuer, appToken, token);
      const signIn = (person: ReturnType<typeof somebody>): Promise<Landing> =>
        signInWith({ browser: createBrowser(app.issuer), person, provider: 'lab' });

      async function accountOf({ subject }: { subject: string }) {
        const link = await app.directory.links.find({ identityProviderId: 'lab', subject });
        return link && app.directory.accounts.get(link.accountId);
      }

      it('brings new people with their names and an e-mail that it has confirmed, by sign-in and by exchange', async () => {
        const [one, two] = [
          somebody({ name: 'Ada Byron Lovelace' }),
          somebody({ givenName: 'Ben', familyName: 'Okafor' }),
        ];
        expect((await signIn(one)).url.pathname).to.equal('/account');
        expect((await exchange(gitlab.issue(two, OWN))).status).to.equal(200);
        expect(await accountOf(one)).to.include({ email: one.email, emailVerified: true, familyName: 'Lovelace' });
        expect(await accountOf(two)).to.include({ email: two.email, emailVerified: true, givenName: 'Ben' });
      });

      it('brings no one by an e-mail that it has not confirmed, has left out, or calls something else', async () => {
        for (const [person, told] of [
          [somebody({ unverified: true }), {}],
          [somebody({ email: undefined }), {}],
          [somebody(), { confirmed_at: undefined }],
          [somebody(), { confirmed_at: '' }],
          [somebody(), { email: 'no address' }],
        ] as const) {
          gitlab.toldOtherwise = told;
          expect((await exchange(gitlab.issue(person, OWN))).body.errorMsg, JSON.stringify(told)).to.equal(NO_ACCOUNT);
          expect(titleOf((await signIn(person)).text), JSON.stringify(told)).to.equal('Link GitLab to your account');
          expect(await accountOf(person)).to.equal(undefined);
        }
      });

      it('is not asked who the person is with a token of another application, which proves nothing here', async () => {
        const person = somebody();
        for (const clientId of [OTHER, FOREIGN]) {
          gitlab.requests.length = 0;
          const { status, body } = await exchange(gitlab.issue(person, clientId));
          expect([status, body.errorMsg]).to.deep.equal([401, 'AUDIENCE_MISMATCH']);
          expect(gitlab.requests).to.deep.equal(['GET /oauth/token/info']);
        }
        for (const application of [null, undefined, {}, { uid: null }, { uid: '' }, { uid: [OWN] }, OWN]) {
          gitlab.infoOtherwise = { application };
          const { status } = await exchange(gitlab.issue(person, FOREIGN));
          expect(status, JSON.stringify(application)).to.be.oneOf([401, 503]);
        }
        expect(await accountOf(person)).to.equal(undefined);
      });

      it('is not asked about a token that a person, a project or a group made for itself', async () => {
        gitlab.requests.length = 0;
        const { status, body } = await exchange('glpat-0123456789abcdefghij');
        expect([status, body.errorMsg]).to.deep.equal([401, INVALID]);
        expect(gitlab.requests).to.deep.equal([]);
      });

      it('proves nothing by a token that it has withdrawn or never gave, has no person, or may not say who has it', async () => {
        const person = somebody();
        const revoked = gitlab.issue(person, OWN);
        gitlab.revoke(revoked);
        const narrow = gitlab.issue(person, OWN, { scope: 'read_repository' });
        for (const token of [revoked, 'a'.repeat(64), gitlab.issue(person, OWN, { expiresIn: -1 }), narrow])
          expect((await exchange(token)).body.errorMsg).to.equal(INVALID);
        gitlab.infoOtherwise = { resource_owner_id: null };
        expect((await exchange(gitlab.issue(person, OWN))).body.errorMsg).to.equal(INVALID);
      });

      it('lets no one in whom it has blocked', async () => {
        const person = somebody();
        expect((await signIn(person)).url.pathname).to.equal('/account');
        gitlab.block(person);
        expect((await exchange(gitlab.issue(person, OWN))).body.errorMsg).to.equal(INVALID);
        expect((await signIn(person)).response?.status).to.equal(400);
      });

      it('says when a token ends: then its word ends as well, and a token without an end is as good', async () => {
        const person = somebody();
        const ending = age === 'old' ? 'expires_in_seconds' : 'expires_in';
        gitlab.infoOtherwise = { [ending]: null };
        expect((await exchange(gitlab.issue(person, OWN))).status).to.equal(200);
        for (const seconds of [0, -1]) {
          gitlab.infoOtherwise = { [ending]: seconds };
          expect((await exchange(gitlab.issue(person, OWN))).body).to.include({ errorCode: '600' });
        }
        gitlab.infoOtherwise = { [ending]: 1 };
        const token = gitlab.issue(person, OWN);
        expect((await exchange(token)).status).to.equal(200);
        await new Promise((resolve) => setTimeout(resolve, 1_100));
        gitlab.revoke(token);
        expect((await exchange(token)).body.errorMsg).to.equal(INVALID);
      });

      it('that contradicts itself, or answers what is no answer, is taken to be out of reach', async () => {
        const person = somebody();
        const lies: [info: Record<string, unknown>, told: Record<string, unknown>][] = [
          [{}, { id: 1 + Number(person.subject) }],
          [{}, { id: String(person.subject) }],
          [{}, { username: undefined }],
          [{ resource_owner_id: undefined }, {}],
          [{ resource_owner_id: '1' }, {}],
          [{ resource_owner_id: -1 }, {}],
          [{ expires_in: 'soon' }, {}],
        ];
        for (const [info, told] of lies) {
          Object.assign(gitlab, { infoOtherwise: info, toldOtherwise: told });
          const { status, headers } = await exchange(gitlab.issue(person, OWN));
          expect(status, JSON.stringify([info, told])).to.equal(503);
          expect(headers.get('retry-after')).to.match(/^\d+$/);
        }
        Object.assign(gitlab, { infoOtherwise: {}, toldOtherwise: {} });
        for (const [status, text] of [
          [200, '<html>'],
          [404, '{"error":"404 Not Found"}'],
          [302, ''],
          [400, '<html>'],
        ] as const) {
          gitlab.misbehave = (_request, response) => response.writeHead(status, { location: '/' }).end(text);
          expect((await exchange(gitlab.issue(person, OWN))).status, `${status} ${text}`).to.equal(503);
        }
        expect(await accountOf(person)).to.equal(undefined);
      });
    });
  }
});
