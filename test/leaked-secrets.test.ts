import { expect } from 'chai';
import { createSecretToken } from '../src/secrets/secret-token.ts';
import { onEachEngine, startApp, type TestApp, type TestStore } from './support/app.ts';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  async function makeToken(): Promise<string> {
    const { id } = await app.person();
    const account = await app.directory.accounts.getOrFail(id);
    return (await app.directory.personalTokens.create(account, { description: 'found in a public place' })).token;
  }

  const report = (body: unknown, type = 'application/json') =>
    fetch(`${app.issuer}/.well-known/report-leaked-secrets`, {
      method: 'POST',
      headers: { 'content-type': type },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });

  const works = async (token: string) =>
    (await fetch(`${app.issuer}/verify`, { headers: { authorization: `Token ${token}` } })).status === 200;

  it("revokes a token in GitHub's payload and says that it was real", async () => {
    const [token, invented] = [await makeToken(), createSecretToken('lk_pat_')];
    const response = await report([
      { token, type: 'latchkey_personal_token', url: 'https://example.com/leak', source: 'content' },
      { token: invented, type: 'latchkey_personal_token', url: '', source: 'commit' },
    ]);
    expect(response.status).to.equal(200);
    expect(await response.json()).to.deep.equal([
      { token_raw: token, token_type: 'latchkey_personal_token', label: 'true_positive' },
      { token_raw: invented, token_type: 'latchkey_personal_token', label: 'false_positive' },
    ]);
    expect(await works(token)).to.equal(false);
  });

  for (const [name, wrap] of [
    ['one token', (token: string) => ({ token })],
    ['a list of tokens', (token: string) => ({ tokens: [token] })],
  ] as const) {
    it(`revokes ${name} that anybody sends`, async () => {
      const token = await makeToken();
      expect((await report(wrap(token))).status).to.equal(200);
      expect(await works(token)).to.equal(false);
    });
  }

  it('revokes nothing for a token with a character changed, or for less than a whole token', async () => {
    const token = await makeToken();
    const changed = token.slice(0, -1) + (token.endsWith('0') ? '1' : '0');
    expect((await report({ tokens: [changed, token.slice(0, 20), `${token} `] })).status).to.equal(200);
    expect(await works(token)).to.equal(true);
  });

  for (const [name, body, type, status] of [
    ['no JSON', '{', 'application/json', 400],
    ['another type', 'token=x', 'application/x-www-form-urlencoded', 415],
    ['a number', { token: 5 }, 'application/json', 400],
    ['a thousand and one', { tokens: Array(1001).fill('x') }, 'application/json', 400],
    ['prototype games', '{"__proto__":{"token":"x"}}', 'application/json', 400],
  ] as const) {
    it(`refuses ${name}`, async () => {
      expect((await report(body, type)).status).to.equal(status);
    });
  }
});
