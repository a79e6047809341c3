import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import { fixtures, onEachEngine, SECRET_KEY, startProcess, type TestProcess, type TestStore } from '../support/app.ts';
import { createBrowser } from '../support/browser.ts';
import { createFlows, fragmentOf } from '../support/flow.ts';
import { askAsPartner, loginPath, type Partner, partnerApp, ssoToken } from '../support/partner.ts';

const ROUNDS = 4;
const PARALLEL = 20;
const REDIRECT_URI = 'https://portal.example.com/callback';

onEachEngine((openStore) => {
  describe('two servers that partners’ users arrive at', function () {
    this.timeout(30_000);
    let store: TestStore;
    let directory: Core;
    let processes: TestProcess[];
    let issuer: string;
    let partner: Partner;

    before(async () => {
      store = await openStore();
      directory = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
      const first = await startProcess(store);
      issuer = first.url;
      processes = [first, await startProcess(store, { ISSUER: issuer })];
      await directory.permissions.create({ name: 'users', description: 'May use users' });
      partner = await partnerApp(directory, { redirectUris: [REDIRECT_URI], implicit: true, permissions: ['users'] });
    });
    after(async () => {
      await Promise.all(processes.map((one) => one.kill('SIGKILL')));
      await directory.storage.close();
      await store.remove();
    });

    /** Twenty at once, half of them in each process. */
    function together<Result>(request: (origin: string, index: number) => Promise<Result>): Promise<Result[]> {
      return Promise.all(
        Array.from({ length: PARALLEL }, (_, index) =>
          request(processes[index % 2]?.url ?? issuer, Math.floor(index / 2)),
        ),
      );
    }

    const browserAt = (origin: string) => createBrowser(issuer, origin);
    const originAt = (index: number) => String(processes[index % 2]?.url);

    it('take back all that an app gave, however many of its calls came at once', async () => {
      for (const name of ['alpha', 'beta'])
        await directory.permissions.create({ name, description: name }).catch(() => undefined);
      const permissions = ['alpha', 'beta', 'users'];
      const giver = await partnerApp(directory, { permissions });
      const held = async (email: string) => (await directory.accounts.findByEmail(email))?.permissions.toSorted();
      for (let round = 0; round < ROUNDS * 3; round++) {
        const person = { email: `gift${round}@partner.example` };
        await ssoToken(issuer, giver, person);
        await Promise.all(
          ['alpha', 'beta', 'alpha', 'beta users'].map((wanted, index) =>
            ssoToken(originAt(index), giver, { ...person, permissions: wanted }),
          ),
        );
        await ssoToken(issuer, giver, { ...person, permissions: '' });
        expect(await held(person.email)).to.deep.equal([]);
      }
    });

    it('leave what another app or an administrator gave, whatever came at once', async () => {
      const permissions = ['alpha', 'beta', 'users'];
      const { organizationId } = partner;
      const givers = [
        await partnerApp(directory, { permissions, organizationId }),
        await partnerApp(directory, { permissions, organizationId }),
      ];
      for (let round = 0; round < ROUNDS; round++) {
        const { id, email } = await fixtures(directory).person({ organizationId, permissions: ['users'] });
        const held = async () => (await directory.accounts.get(id))?.permissions.toSorted();
        const say = (index: number, wanted: string) =>
          ssoToken(originAt(index), givers[index] as Partner, { email, permissions: wanted });
        await Promise.all([say(0, 'alpha beta users'), say(1, 'alpha')]);
        expect(await held()).to.deep.equal(['alpha', 'beta', 'users']);
        await say(0, '');
        expect(await held()).to.deep.equal(['alpha', 'users']);
        await say(1, '');
        expect(await held()).to.deep.equal(['users']);
      }
    });

    it('know what an app gave when that was kept beside the account, as earlier versions did', async () => {
      const { organizationId } = partner;
      const { id, email } = await fixtures(directory).person({ organizationId, permissions: ['users', 'alpha'] });
      const giver = await partnerApp(directory, { permissions: ['alpha', 'users'], organizationId });
      const data = { accountId: id, clientId: giver.id, given: ['users'] };
      await directory.storage.put(`sso-partner:${id}:${giver.id}`, { version: 1, data });
      await ssoToken(issuer, giver, { email, permissions: '' });
      expect((await directory.accounts.get(id))?.permissions).to.deep.equal(['alpha']);
    });

    /** By the page's form. True for a sign-in; a refusal says that the token is used. */
    async function post(origin: string, token: string): Promise<boolean> {
      const browser = browserAt(origin);
      const response = await browser.request('/sso/login', { method: 'POST', body: new URLSearchParams({ token }) });
      expect(response.status).to.be.oneOf([303, 400]);
      expect(browser.cookies().length > 0).to.equal(response.status === 303);
      return response.status === 303;
    }

    /** By an authorization request. */
    async function authorize(origin: string, token: string): Promise<boolean> {
      const browser = browserAt(origin);
      const url = createFlows(issuer, origin).authorizeUrl(partner, {
        response_type: 'id_token',
        redirect_uri: REDIRECT_URI,
        scope: 'openid email',
        nonce: 'a nonce',
        sso_token: token,
      });
      const response = await browser.request(url);
      const answer = fragmentOf(new URL(String(response.headers.get('location'))));
      if (!answer.has('id_token')) expect(answer.get('error')).to.equal('access_denied');
      expect(browser.cookies().length > 0).to.equal(answer.has('id_token'));
      return answer.has('id_token');
    }

    it('sign in one of twenty that bring the same token, by whichever door', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const email = `racer${round}@partner.example`;
        const token = await ssoToken(originAt(round), partner, { email });
        const results = await together((origin, index) => (index % 2 ? post(origin, token) : authorize(origin, token)));
        expect(results.filter(Boolean)).to.have.length(1);
        const account = await directory.accounts.getOrFail(email);
        expect(await directory.sessions.list(account.id)).to.have.length(1);
        const { events } = await directory.audit.list({ accountId: account.id });
        expect(events.filter(({ type }) => type === 'partner_sign_in')).to.have.length(1);
      }
    });

    it('leave a browser that is clicked twice signed in', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const email = `hasty${round}@partner.example`;
        const token = await ssoToken(originAt(round), partner, { email });
        const browser = browserAt(originAt(round));
        const body = () => new URLSearchParams({ token });
        await Promise.all(
          Array.from({ length: 4 }, () => browser.request('/sso/login', { method: 'POST', body: body() })),
        );
        expect((await browser.open('/account')).text).to.contain(email);
      }
    });

    it('begin one session of a browser whose tabs are signed in by one app at the same instant', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const email = `tabs${round}@partner.example`;
        const tokens = await Promise.all([0, 1, 2, 3].map((index) => ssoToken(originAt(index), partner, { email })));
        const browser = browserAt(originAt(round));
        await Promise.all(tokens.map((token) => browser.open(loginPath(token))));
        const answers = await Promise.all(
          tokens.map((token) =>
            browser.request('/sso/login', { method: 'POST', body: new URLSearchParams({ token }) }),
          ),
        );
        for (const { status } of answers) expect(status).to.equal(303);
        const { id } = await directory.accounts.getOrFail(email);
        expect(await directory.sessions.list(id)).to.have.length(1);
      }
    });

    it('leave nobody half signed in whose tab signs out at that moment', async () => {
      for (let round = 0; round < ROUNDS * 2; round++) {
        const email = `leaving${round}@partner.example`;
        const [before, token] = await Promise.all([0, 1].map(() => ssoToken(issuer, partner, { email })));
        const browser = browserAt(originAt(round));
        await browser.submit('/sso/login', { token: String(before) });
        const { text: page } = await browser.open('/identity/logout');
        const [, xsrf = ''] = /name="xsrf" value="([^"]+)"/.exec(page) ?? [];
        const post = (path: string, fields: Record<string, string>) =>
          browser.request(path, { method: 'POST', body: new URLSearchParams(fields) });
        const answers = await Promise.all([
          post('/sso/login', { token: String(token) }),
          sleep(round * 3).then(() => post('/identity/logout/confirm', { xsrf, logout: 'yes' })),
        ]);
        for (const { status } of answers) expect(status).to.be.below(500);
        const { id } = await directory.accounts.getOrFail(email);
        const isIn = (await browser.request('/account')).status === 200;
        expect((await directory.sessions.list(id)).length, 'no session that the browser has not').to.be.at.most(
          isIn ? 1 : 0,
        );
      }
    });

    it('make one account of twenty requests for somebody new, and answer them all', async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const email = `newcomer${round}@partner.example`;
        const person = { email, first_name: 'Newt', permissions: round % 2 ? 'users' : '' };
        const answers = await together((origin) => askAsPartner(origin, 'token', partner, person));
        for (const { status, text } of answers) expect(status, text).to.equal(200);
        const tokens = answers.map(({ body }) => String(body.access_token));
        expect(new Set(tokens).size).to.equal(PARALLEL);

        const { accounts } = await directory.accounts.list({ organizationId: partner.organizationId, limit: 500 });
        const made = accounts.filter((account) => account.email === email);
        expect(made.map(({ permissions }) => permissions)).to.deep.equal([round % 2 ? ['users'] : []]);
        const { events } = await directory.audit.list({ accountId: String(made[0]?.id) });
        expect(events.filter(({ type }) => type === 'account_created')).to.have.length(1);
        const signedIn = await Promise.all([post(originAt(0), tokens[0] ?? ''), post(originAt(1), tokens[19] ?? '')]);
        expect(signedIn, 'each token is good').to.deep.equal([true, true]);

        await askAsPartner(originAt(round), 'token', partner, { ...person, permissions: '' });
        expect((await directory.accounts.getOrFail(email)).permissions, 'what it gave it takes back').to.deep.equal([]);
      }
    });

    it('stop at the next request when the app may not any more', async () => {
      const who = await partnerApp(directory, { organizationId: partner.organizationId });
      const email = 'late@partner.example';
      const tokens = await Promise.all([0, 1].map((index) => ssoToken(originAt(index), who, { email })));
      await directory.clients.update(who.id, { sso: undefined });
      for (const index of [0, 1]) {
        expect(await post(originAt(1 - index), String(tokens[index]))).to.equal(false);
        expect((await askAsPartner(originAt(index), 'token', who, { email })).status).to.equal(401);
        expect((await browserAt(originAt(index)).open(loginPath(String(tokens[index])))).response?.status).to.equal(
          400,
        );
      }
    });
  });
});
