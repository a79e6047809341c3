import { expect } from 'chai';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import {
  fixtures,
  onEachEngine,
  SECRET_KEY,
  startProcess,
  type TestClient,
  type TestProcess,
  type TestStore,
} from '../support/app.ts';
import { type Answer, createFlows, type Flows, OFFLINE } from '../support/flow.ts';

const ROUNDS = 5;
const PARALLEL = 20;

onEachEngine((openStore) => {
  let store: TestStore;
  let directory: Core;
  let processes: TestProcess[];
  /** The same product through each of two processes. */
  let flows: Flows[];
  let first: Flows;
  let person: { id: string; email: string; password: string };
  let client: TestClient;

  before(async () => {
    store = await openStore();
    directory = await openCore(readConfig({ STORE_URL: store.storeUrl, SECRET_KEY }));
    const one = await startProcess(store);
    processes = [one, await startProcess(store, { ISSUER: one.url })];
    flows = processes.map(({ url }) => createFlows(one.url, url));
    first = createFlows(one.url);
    person = await fixtures(directory).person();
    client = await fixtures(directory).client();
  }).timeout(20_000);
  after(async () => {
    await Promise.all(processes.map((one) => one.kill('SIGKILL')));
    await directory.storage.close();
    await store.remove();
  });

  /** Twenty at once, half of them in each process. */
  function together(request: (where: Flows) => Promise<Answer>): Promise<Answer[]> {
    return Promise.all(Array.from({ length: PARALLEL }, (_, index) => request(flows[index % 2] ?? first)));
  }

  function expectOneSuccess(answers: Answer[]): void {
    expect(answers.filter(({ status }) => status === 200)).to.have.length(1);
    const refused = answers.filter(({ status }) => status !== 200);
    for (const { status, body } of refused) expect([status, body.error]).to.deep.equal([400, 'invalid_grant']);
  }

  it('redeems a code once, whatever the number of processes and parallel requests', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const redirected = await first.authorize({ client, person });
      expectOneSuccess(await together((where) => where.redeem(client, redirected)));
    }
  }).timeout(20_000);

  it('ends what a code brought when it is used again at the same moment, and nothing of another code', async () => {
    const browser = first.browser();
    const bystander = await first.tokens({ client, person, browser });
    for (let round = 0; round < ROUNDS * 4; round++) {
      const redirected = await first.authorize({ client, person, browser });
      const answers = await Promise.all(flows.map((where) => where.redeem(client, redirected)));
      for (const { body } of answers) {
        if (body.access_token === undefined) continue;
        for (const where of flows) {
          expect((await where.userinfo(String(body.access_token))).status).to.equal(401);
          expect(await where.introspect(client, String(body.access_token))).to.deep.equal({ active: false });
        }
      }
    }
    expect((await first.userinfo(bystander.access_token)).status).to.equal(200);
  }).timeout(30_000);

  it('ends what a code brought when it is used again later, its refresh token included, and nothing of another code', async () => {
    const browser = first.browser();
    const other = await first.tokens({ client, person, browser, params: OFFLINE });
    const redirected = await first.authorize({ client, person, browser, params: OFFLINE });
    const { body } = await first.redeem(client, redirected);
    const { body: refreshed } = await first.refresh(client, String(body.refresh_token));
    for (const where of flows) expect((await where.redeem(client, redirected)).body.error).to.equal('invalid_grant');
    for (const { access_token: token } of [body, refreshed])
      expect((await first.userinfo(String(token))).status).to.equal(401);
    expect((await first.refresh(client, String(refreshed.refresh_token))).body.error).to.equal('invalid_grant');
    expect((await first.userinfo(other.access_token)).status).to.equal(200);
    expect((await first.refresh(client, String(other.refresh_token))).status).to.equal(200);
  });

  it('gives all that use one refresh token at once the same successor, and the family one next', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const { refresh_token: token } = await first.tokens({ client, person, params: OFFLINE });
      const answers = await together((where) => where.refresh(client, String(token)));
      expect(answers.map(({ status }) => status)).to.deep.equal(answers.map(() => 200));
      const successors = new Set(answers.map(({ body }) => body.refresh_token));
      expect(successors.size).to.equal(1);
      const [successor] = successors;
      for (const { body } of answers.slice(0, 4))
        expect((await first.userinfo(String(body.access_token))).status).to.equal(200);
      const next = await together((where) => where.refresh(client, String(successor)));
      expect(new Set(next.map(({ status, body }) => `${status} ${body.refresh_token}`)).size).to.equal(1);
    }
  }).timeout(30_000);

  it('takes one of the answers to a consent page that is sent several times', async () => {
    const browser = first.browser();
    const { url, verifier } = await first.start({ client, params: { prompt: 'consent' } });
    const login = await browser.open(url);
    const consent = await browser.submit(login.url.pathname, person);
    const posts = Array.from({ length: 5 }, () =>
      browser.request(consent.url.pathname, { method: 'POST', body: new URLSearchParams({ decision: 'allow' }) }),
    );
    const resumes = (await Promise.all(posts)).map((response) => response.headers.get('location'));
    const landings = await Promise.all(
      resumes.filter((resume) => resume !== null).map((resume) => browser.request(resume)),
    );
    const codes = landings.map((response) =>
      URL.parse(response.headers.get('location') ?? '')?.searchParams.get('code'),
    );
    for (const { status } of landings) expect(status).to.be.below(500);
    const redeemed = await Promise.all(
      codes.filter(Boolean).map((code) => first.redeem(client, { code: String(code), verifier })),
    );
    expect(redeemed.filter(({ status }) => status === 200)).to.have.length.of.at.least(1);
  });
});
