/** What an authorization request insists on, held against the answer of whoever signs in. */
import { expect } from 'chai';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows, walk } from '../support/flow.ts';

const FEDERATED = 'urn:latchkey:acr:federated';
const PASSWORD_ACR = 'urn:latchkey:acr:password';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let client: TestClient;
  let ada: Awaited<ReturnType<TestApp['person']>>;
  let ben: Awaited<ReturnType<TestApp['person']>>;
  let hint: string;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    [client, ada, ben] = [await app.client(), await app.person(), await app.person()];
    hint = String((await flows.tokens({ client, person: ada })).id_token);
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  const claims = (wanted: object) => JSON.stringify(wanted);

  /** What the app is told when this person answers the page. */
  async function answerOf(
    params: Record<string, string>,
    person: { email: string; password: string },
    browser = flows.browser(),
  ): Promise<Record<string, string>> {
    const { url } = await flows.start({ client, params });
    return Object.fromEntries((await walk(browser, url, person)).url.searchParams);
  }

  const demands: Record<string, () => Record<string, string>> = {
    id_token_hint: () => ({ id_token_hint: hint }),
    'id_token_hint and prompt=login': () => ({ id_token_hint: hint, prompt: 'login' }),
    'id_token_hint and prompt=consent': () => ({ id_token_hint: hint, prompt: 'consent' }),
    'sub of the ID token': () => ({ claims: claims({ id_token: { sub: { value: ada.id } } }) }),
    'sub of the ID token, one of several': () => ({ claims: claims({ id_token: { sub: { values: ['x', ada.id] } } }) }),
    'sub at userinfo': () => ({ claims: claims({ userinfo: { sub: { value: ada.id } } }) }),
  };

  for (const [name, params] of Object.entries(demands)) {
    it(`${name}: somebody else’s sign-in is login_required at the app, whoever was signed in before`, async () => {
      expect(await answerOf(params(), ben)).to.include({ error: 'login_required' });
      for (const before of [ada, ben]) {
        const browser = flows.browser();
        await flows.authorize({ client, person: before, browser });
        const [session] = await app.directory.sessions.list(before.id);
        const again = { ...params(), prompt: 'login' };
        expect(await answerOf(again, ben, browser)).to.include({ error: 'login_required' });
        expect((await app.directory.sessions.list(before.id))[0]?.uid).to.equal(session?.uid);
      }
      expect(await answerOf({ ...params(), prompt: 'none' }, ben)).to.include({ error: 'login_required' });
    });

    it(`${name}: the person it names comes back with a code`, async () => {
      expect(await answerOf(params(), ada)).to.have.property('code');
      const browser = flows.browser();
      await flows.authorize({ client, person: ben, browser });
      expect(await answerOf(params(), ada, browser)).to.have.property('code');
    });
  }

  it('of a person who is chosen, and not the one demanded, is login_required', async () => {
    const browser = flows.browser();
    await flows.authorize({ client, person: ben, browser });
    const params = { id_token_hint: hint, prompt: 'select_account' };
    expect(await answerOf(params, ben, browser)).to.include({ error: 'login_required' });
  });

  it('login_hint is no demand', async () => {
    expect(await answerOf({ login_hint: ada.email }, ben)).to.have.property('code');
  });

  for (const [name, acr] of Object.entries({
    'that nobody can reach': { essential: true, value: 'urn:elsewhere:gold' },
    'of which nobody can reach one': { essential: true, values: ['urn:elsewhere:gold', 'urn:elsewhere:silver'] },
    'that this person has no way to': { essential: true, values: [FEDERATED] },
  })) {
    it(`an essential acr ${name} ends with a reason after the first answer`, async () => {
      const params = { claims: claims({ id_token: { acr } }) };
      for (const browser of [flows.browser(), flows.browser()]) {
        expect(await answerOf(params, ada, browser)).to.include({ error: 'unmet_authentication_requirements' });
        await flows.authorize({ client, person: ada, browser });
      }
      const error = await answerOf({ ...params, prompt: 'none' }, ada);
      expect(error).to.include({ error: 'login_required' });
    });
  }

  it('an acr that was reached, or is only wished for, is no obstacle', async () => {
    const reached = { essential: true, values: [FEDERATED, PASSWORD_ACR] };
    for (const acr of [reached, { value: 'urn:elsewhere:gold' }, { essential: true }, null])
      expect(await answerOf({ claims: claims({ id_token: { acr } }) }, ada), JSON.stringify(acr)).to.have.property(
        'code',
      );
  });
});
