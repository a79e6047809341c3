/** Keys that identity providers show: which of them are tried for a token, and which of them cost too much. */
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { exportJWK, generateKeyPair, type JWK } from 'jose';
import { type FakeOpenId, startFakeOpenId } from '../examples/fake-providers/openid.ts';
import { startTarget, type Target } from './attacks/web-target.ts';
import { onEachEngine, type TestStore } from './support/app.ts';
import { exchangeToken, FAKES_ALLOWED, fakePerson, OWN, type RestAnswer } from './support/exchange.ts';

onEachEngine((openStore) => {
  describe('an identity provider', () => {
    let store: TestStore;
    let target: Target;
    const fakes: FakeOpenId[] = [];

    before(async () => {
      store = await openStore();
      target = await startTarget(store, FAKES_ALLOWED);
    });
    after(async () => {
      await target.close();
      await Promise.all(fakes.map((fake) => fake.close()));
      await store.remove();
    });

    /** What an app gets for a token of a provider that shows these keys beside its own. */
    async function exchangeBeside(
      otherKeys: JWK[],
      header: Record<string, string | undefined> = {},
    ): Promise<RestAnswer> {
      const id = `provider-${fakes.length}`;
      const fake = await startFakeOpenId({ apps: { [OWN]: 'own-secret' } });
      fakes.push(fake);
      fake.otherKeys.push(...otherKeys);
      const { identityProviders, appTokens, links } = target.directory;
      await identityProviders.create({ id, kind: 'oidc', issuer: fake.url, clientId: OWN, clientSecret: 'own-secret' });
      const person = fakePerson();
      await links.add({ identityProviderId: id, subject: person.subject, accountId: (await target.person()).id });
      const { id: clientId } = await target.client({});
      const wanted = { clientId, identityProviderId: id, providerClientIds: [OWN] };
      const { token } = await appTokens.create(wanted);
      return exchangeToken(target.origin, token, await fake.idToken(person, OWN, {}, header));
    }

    async function keys(count: number, alg = 'ES256', more: JWK = {} as JWK): Promise<JWK[]> {
      const made = Array.from({ length: count }, async () => {
        const { publicKey } = await generateKeyPair(alg, { extractable: true });
        return { ...(await exportJWK(publicKey)), ...more };
      });
      return Promise.all(made);
    }

    const rsa = (bits: number, e = 'AQAB'): JWK => {
      const modulus = randomBytes(bits / 8);
      modulus[0] = 0xff;
      return { kty: 'RSA', n: modulus.toString('base64url'), e, kid: 'large' };
    };

    it('may leave out which of a few keys a token is signed with', async () => {
      expect((await exchangeBeside([], { kid: undefined })).status).to.equal(200);
      expect((await exchangeBeside(await keys(3), { kid: undefined })).status).to.equal(200);
    });

    it('has no more than four keys tried for one token, and those only that fit it', async () => {
      expect((await exchangeBeside(await keys(4), { kid: undefined })).status).to.equal(401);
      expect((await exchangeBeside(await keys(4))).status, 'named').to.equal(200);
      const others = [
        ...(await keys(20, 'ES384')),
        ...(await keys(20, 'Ed25519')),
        ...(await keys(20, 'ES256', { use: 'enc' } as JWK)),
        rsa(2048),
      ];
      expect((await exchangeBeside(others, { kid: undefined })).status).to.equal(200);
    });

    it('is not believed with an RSA key that takes long to work with, which the log says', async () => {
      target.expectOutage(true);
      const padded = rsa(8192);
      padded.n = Buffer.concat([Buffer.alloc(4), Buffer.from(String(padded.n), 'base64url')]).toString('base64url');
      expect((await exchangeBeside([padded])).status).to.equal(200);
      const refusals = [rsa(8200), rsa(16_384), rsa(2048, randomBytes(5).fill(0xff).toString('base64url'))];
      for (const key of refusals) {
        const { status, body } = await exchangeBeside([key], { kid: 'large', alg: 'ES256' });
        expect(status).to.equal(503);
        expect(body.errorCode).to.equal('503');
      }
      expect(target.log()).to.contain('has an RSA key of more than 8192 bits');
      target.expectOutage(false);
      await target.harmless();
    });
  });
});
