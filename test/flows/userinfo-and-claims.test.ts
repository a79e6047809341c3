import { expect } from 'chai';
import * as oidc from 'openid-client';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';
import { createFlows, type Flows, walk } from '../support/flow.ts';

const ALL = 'openid profile email address phone';

onEachEngine((openStore) => {
  let store: TestStore;
  let app: TestApp;
  let flows: Flows;
  let person: Awaited<ReturnType<TestApp['person']>>;
  let organization: { id: string; name: string };
  let client: TestClient;

  before(async () => {
    store = await openStore();
    app = await startApp(store);
    flows = createFlows(app.issuer);
    client = await app.client();
    organization = await app.directory.organizations.create({ name: 'Acme Oy' });
    person = await app.person({
      organizationId: organization.id,
      emailVerified: true,
      givenName: 'Aino',
      middleName: 'Maria',
      familyName: 'Virtanen',
      nickname: 'aino',
      preferredUsername: 'aino.v',
      website: 'https://aino.example',
      birthdate: '1990-02-28',
      zoneinfo: 'Europe/Helsinki',
      locale: 'fi-FI',
      phoneNumber: '+358 40 1234567',
      phoneNumberVerified: true,
      address: { formatted: 'Katu 1\n00100 Helsinki', streetAddress: 'Katu 1', postalCode: '00100', country: 'FI' },
    });
  });
  after(async () => {
    await app.close();
    await store.remove();
  });

  async function userinfo(scope: string): Promise<Record<string, unknown>> {
    const { access_token: token } = await flows.tokens({ client, person, params: { scope } });
    return { ...(await oidc.fetchUserInfo(await flows.configure(client), token, person.id)) };
  }

  it('tells every standard claim, each of its type, and the organization', async () => {
    const { updated_at: updatedAt, ...claims } = await userinfo(ALL);
    expect(updatedAt)
      .to.be.a('number')
      .within(Date.now() / 1000 - 60, Date.now() / 1000 + 1);
    expect(claims).to.deep.equal({
      sub: person.id,
      name: 'Aino Maria Virtanen',
      given_name: 'Aino',
      middle_name: 'Maria',
      family_name: 'Virtanen',
      nickname: 'aino',
      preferred_username: 'aino.v',
      website: 'https://aino.example',
      birthdate: '1990-02-28',
      zoneinfo: 'Europe/Helsinki',
      locale: 'fi-FI',
      email: person.email,
      email_verified: true,
      phone_number: '+358 40 1234567',
      phone_number_verified: true,
      address: {
        formatted: 'Katu 1\n00100 Helsinki',
        street_address: 'Katu 1',
        postal_code: '00100',
        country: 'FI',
      },
      organization: { id: organization.id, name: 'Acme Oy' },
    });
  });

  it('leaves out what is not known rather than saying null', async () => {
    const plain = await app.person({ givenName: undefined, familyName: undefined });
    const { access_token: token } = await flows.tokens({ client, person: plain, params: { scope: ALL } });
    const { updated_at: _, ...claims } = (await (await flows.userinfo(token)).json()) as Record<string, unknown>;
    expect(claims).to.deep.equal({ sub: plain.id, name: plain.email, email: plain.email, email_verified: false });
  });

  it('tells each scope its claims and no others', async () => {
    expect(await userinfo('openid')).to.deep.equal({ sub: person.id });
    expect(await userinfo('openid email')).to.have.all.keys('sub', 'email', 'email_verified');
    expect(await userinfo('openid phone')).to.have.all.keys('sub', 'phone_number', 'phone_number_verified');
    expect(await userinfo('openid address')).to.have.all.keys('sub', 'address');
    expect(await userinfo('openid profile')).to.not.have.any.keys('email', 'phone_number', 'address');
  });

  it('answers GET, and POST with the token in the header or the body', async () => {
    const { access_token: token } = await flows.tokens({ client, person });
    const authorization = `Bearer ${token}`;
    const requests: RequestInit[] = [
      { headers: { authorization } },
      { method: 'POST', headers: { authorization } },
      { method: 'POST', body: new URLSearchParams({ access_token: token }) },
    ];
    for (const init of requests) {
      const response = await fetch(`${app.issuer}/identity/userinfo`, init);
      expect(response.status).to.equal(200);
      expect(response.headers.get('content-type')).to.match(/^application\/json/);
      expect(response.headers.get('cache-control')).to.equal('no-store');
      expect(await response.json()).to.include({ sub: person.id, email: person.email });
    }
  });

  it('refuses no token, a wrong one, one in the URL, two at once, one without openid', async () => {
    const { access_token: token } = await flows.tokens({ client, person });
    const url = `${app.issuer}/identity/userinfo`;
    const header = { authorization: `Bearer ${token}` };
    const refused: [Promise<Response>, statuses: number[]][] = [
      [fetch(url), [400, 401]],
      [fetch(url, { headers: { authorization: 'Bearer wrong' } }), [401]],
      [fetch(url, { headers: { authorization: 'Bearer' } }), [400, 401]],
      [fetch(`${url}?access_token=${token}`), [400, 401]],
      [fetch(url, { method: 'POST', headers: header, body: new URLSearchParams({ access_token: token }) }), [400]],
    ];
    for (const [request, statuses] of refused) {
      const response = await request;
      expect(response.status).to.be.oneOf(statuses);
      if (response.status === 401) expect(response.headers.get('www-authenticate')).to.match(/^Bearer /);
      expect(await response.text()).not.to.contain(person.email);
    }
    await app.directory.permissions.create({ name: 'files', description: 'See your files' });
    const files = await app.client({ permissions: ['files'] });
    const holder = await app.person({ permissions: ['files'] });
    const { url: start, verifier } = await flows.start({ client: files, params: { scope: 'files' } });
    const withoutNonce = new URL(start);
    withoutNonce.searchParams.delete('nonce');
    const { url: callback } = await walk(flows.browser(), withoutNonce.href, holder);
    const { body } = await flows.redeem(files, { code: String(callback.searchParams.get('code')), verifier });
    expect(body).to.include({ scope: 'files' }).and.not.to.have.property('id_token');
    const forbidden = await flows.userinfo(String(body.access_token));
    expect(forbidden.status).to.equal(403);
    expect(forbidden.headers.get('www-authenticate')).to.contain('insufficient_scope');
  });

  it('tells what is true now, not what was true at sign-in', async () => {
    const changing = await app.person();
    const { access_token: token } = await flows.tokens({ client, person: changing });
    await app.directory.accounts.update(changing.id, { familyName: 'Newname' });
    expect(await (await flows.userinfo(token)).json()).to.include({ name: 'Pat Newname' });
  });

  describe('the claims parameter', () => {
    it('brings single claims where they were asked for', async () => {
      const claims = JSON.stringify({ userinfo: { name: { essential: true } }, id_token: { nickname: null } });
      const tokens = await flows.tokens({ client, person, params: { scope: 'openid', claims } });
      expect(tokens.claims()).to.include({ nickname: 'aino' }).and.not.to.have.any.keys('name', 'email');
      const info = await (await flows.userinfo(tokens.access_token)).json();
      expect(info).to.deep.equal({ sub: person.id, name: 'Aino Maria Virtanen' });
    });

    it('is asked about on the consent page, by the scope a claim belongs to', async () => {
      const browser = flows.browser();
      const claims = JSON.stringify({ userinfo: { phone_number: null } });
      const newcomer = await app.client();
      const { url } = await flows.start({ client: newcomer, params: { scope: 'openid', claims } });
      const login = await browser.open(url);
      const consent = await browser.submit(login.url.pathname, await app.person());
      expect(consent.text).to.match(/phone/i);
    });

    it('ignores claims nobody knows, and asks again for another sign-in when another person is wanted', async () => {
      const unknown = JSON.stringify({ userinfo: { password_hash: { essential: true }, unheard_of: null } });
      const tokens = await flows.tokens({ client, person, params: { scope: 'openid', claims: unknown } });
      expect(await (await flows.userinfo(tokens.access_token)).json()).to.deep.equal({ sub: person.id });
      const somebody = JSON.stringify({ id_token: { sub: { value: crypto.randomUUID() } } });
      const { url } = await flows.start({ client, params: { prompt: 'none', claims: somebody } });
      const browser = flows.browser();
      await flows.tokens({ client, person, browser });
      expect((await browser.open(url)).url.searchParams.get('error')).to.equal('login_required');
    });

    it('refuses what is malformed, deep or large, quickly', async () => {
      const deep = `${'{"userinfo":'.repeat(1000)}null${'}'.repeat(1000)}`;
      const many = JSON.stringify({
        userinfo: Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`c${i}`, null])),
      });
      for (const claims of [
        '{',
        '[]',
        '"x"',
        '{"userinfo":[]}',
        '{"userinfo":"x"}',
        '{"userinfo":{"name":"x"}}',
        '{"other":1}',
        deep,
        many,
      ]) {
        const { url } = await flows.start({ client, params: { claims } });
        const started = performance.now();
        const landing = await flows.browser().open(url);
        expect(performance.now() - started, claims.slice(0, 30)).to.be.below(500);
        const answer = landing.url.searchParams.get('error') ?? landing.response?.status;
        expect(answer, claims.slice(0, 30)).to.be.oneOf(['invalid_request', 400, 414, 431]);
      }
      const { url } = await flows.start({
        client,
        params: { scope: 'openid', claims: '{"__proto__":{"userinfo":{"email":null}}}' },
      });
      await flows.browser().open(url);
      expect({}).not.to.have.property('userinfo');
    });

    it('shows the acr that was reached when acr_values wants it', async () => {
      const tokens = await flows.tokens({
        client,
        person,
        params: { acr_values: 'urn:unheard urn:latchkey:acr:password' },
      });
      expect(tokens.claims()).to.include({ acr: 'urn:latchkey:acr:password' });
      expect(tokens.claims()?.amr).to.deep.equal(['pwd']);
    });
  });
});
