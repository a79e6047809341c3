import { hash } from 'node:crypto';
import { mock } from 'node:test';
import { expect } from 'chai';
import { onEachEngine, type TestClient, type TestStore } from '../support/app.ts';
import {
  CHALLENGE,
  expectRefused,
  expectSentBack,
  granted,
  type Params,
  type Protocol,
  startProtocol,
  VERIFIER,
} from './protocol-target.ts';
import type { Answer } from './web-target.ts';

onEachEngine((openStore) => {
  describe('an attacker of codes', () => {
    let store: TestStore;
    let protocol: Protocol;

    before(async () => {
      store = await openStore();
      protocol = await startProtocol(store);
    });
    afterEach(async () => {
      mock.timers.reset();
      await protocol.unharmed();
    });
    after(async () => {
      await protocol.target.close();
      await store.remove();
    });

    const tick = (seconds: number) => {
      mock.timers.reset();
      mock.timers.enable({ apis: ['Date'], now: Date.now() + seconds * 1000 });
    };

    describe('asks without the protection of PKCE', () => {
      const challenges: Record<string, Params> = {
        'with nothing': { code_challenge: undefined, code_challenge_method: undefined },
        'with an empty challenge': { code_challenge: '', code_challenge_method: 'S256' },
        'with the plain method': { code_challenge: VERIFIER, code_challenge_method: 'plain' },
        'with no method, which means plain': { code_challenge: VERIFIER, code_challenge_method: undefined },
        'with a method in small letters': { code_challenge_method: 's256' },
        'with a method nobody has': { code_challenge_method: 'S512' },
        'with both methods': { code_challenge_method: ['S256', 'plain'] },
        'with a challenge of 42 characters': { code_challenge: CHALLENGE.slice(1) },
        'with a challenge of 129 characters': { code_challenge: CHALLENGE.repeat(3) },
        'with a padded challenge': { code_challenge: `${CHALLENGE}=` },
        'with a challenge of base64': { code_challenge: `+/${CHALLENGE.slice(2)}` },
        'with a challenge of other letters': { code_challenge: `ö${CHALLENGE.slice(1)}` },
      };
      for (const [name, changes] of Object.entries(challenges)) {
        it(`${name}, as a public app, and gets no code`, async () => {
          const { page } = protocol;
          expectSentBack(await protocol.authorize(page, changes), page, 'invalid_request');
        });
      }

      it('for an app with a secret, by stripping the challenge from its request, and cannot have the code redeemed', async () => {
        const { web } = protocol;
        const stripped = await protocol.code(web, { code_challenge: undefined, code_challenge_method: undefined });
        expectRefused(await protocol.redeem(web, stripped), 400, 'invalid_grant');
      });
    });

    describe('holds a code of somebody', () => {
      const attempts: Record<string, { as?: 'other' | 'page'; changes?: Params; error?: string }> = {
        'as another app': { as: 'other' },
        'as another app with the redirect URI of the right one': {
          as: 'other',
          changes: { redirect_uri: 'https://app.example.com/callback' },
        },
        'as an app without a secret': { as: 'page' },
        'without its redirect URI': { changes: { redirect_uri: undefined }, error: 'invalid_request' },
        'with another redirect URI': { changes: { redirect_uri: 'https://app.example.com/callback/' } },
        'with two redirect URIs': {
          changes: { redirect_uri: ['https://app.example.com/callback', 'https://evil.example/'] },
          error: 'invalid_request',
        },
        'without the verifier': { changes: { code_verifier: undefined } },
        'with an empty verifier': { changes: { code_verifier: '' } },
        'with the challenge for a verifier': { changes: { code_verifier: CHALLENGE } },
        'with the verifier of another flow': { changes: { code_verifier: hash('sha256', 'another', 'hex') } },
        'with the verifier in capitals': { changes: { code_verifier: VERIFIER.toUpperCase() } },
        'with a verifier of 42 characters': {
          changes: { code_verifier: VERIFIER.slice(0, 42) },
          error: 'invalid_request',
        },
        'with a verifier of 129 characters': { changes: { code_verifier: 'v'.repeat(129) }, error: 'invalid_request' },
        'with a verifier of other letters': { changes: { code_verifier: `${VERIFIER}=` }, error: 'invalid_request' },
        'with a verifier and a NUL': { changes: { code_verifier: `${VERIFIER}\0` }, error: 'invalid_request' },
        'with two verifiers': { changes: { code_verifier: [VERIFIER, 'x'.repeat(43)] }, error: 'invalid_request' },
        'for another kind of grant': {
          changes: { grant_type: 'client_credentials' },
          error: 'invalid_request',
        },
        'for two kinds of grant': {
          changes: { grant_type: ['authorization_code', 'refresh_token'] },
          error: 'invalid_request',
        },
      };
      for (const [name, { as = 'web', changes, error = 'invalid_grant' }] of Object.entries(attempts)) {
        it(`and gets nothing for it ${name}; its app still does`, async () => {
          const code = await protocol.code(protocol.web);
          expectRefused(await protocol.redeem(protocol[as], code, changes), 400, error);
          granted(await protocol.redeem(protocol.web, code));
        });
      }

      it('and gets nothing for it for a resource of its choice', async () => {
        const resource = ['https://api.example.com', protocol.target.issuer];
        const code = await protocol.code(protocol.web);
        expectRefused(await protocol.redeem(protocol.web, code, { resource }), 400, 'invalid_target');
      });

      it('and injects it into a flow of its own, whose verifier does not fit', async () => {
        const stolen = await protocol.code(protocol.page);
        const own = { code_verifier: hash('sha256', 'own', 'hex') };
        expectRefused(await protocol.redeem(protocol.page, stolen, own), 400, 'invalid_grant');
      });

      const invented: Record<string, string> = {
        empty: '',
        short: 'x',
        'of 50 kB': 'x'.repeat(50_000),
        'with a NUL': 'a\0b',
        'that is no text': '\ud800',
        'that is a key of the store': 'AuthorizationCode:x',
        'that every object has': '__proto__',
        'that is a pattern': '*',
      };
      for (const [name, code] of Object.entries(invented)) {
        it(`that is ${name}, and gets nothing`, async () => {
          const error = code === '' ? 'invalid_request' : 'invalid_grant';
          expectRefused(await protocol.redeem(protocol.web, code), 400, error);
        });
      }

      it('that was cut or changed, and gets nothing', async () => {
        const code = await protocol.code(protocol.web);
        const changed = [code.slice(0, -1), `${code}A`, `${code} `, ` ${code}`, code.toUpperCase(), `${code}\0`];
        for (const guess of changed) expectRefused(await protocol.redeem(protocol.web, guess), 400, 'invalid_grant');
      });
    });

    describe('comes late', () => {
      const redeemedTwice = async (seconds: number) => {
        const { web } = protocol;
        const code = await protocol.code(web);
        const { access_token } = granted(await protocol.redeem(web, code));
        expect(await protocol.userinfo(access_token)).to.equal(200);
        tick(seconds);
        expectRefused(await protocol.redeem(web, code), 400, 'invalid_grant');
        return access_token;
      };

      it('and ends what a code gave by using it again 31 seconds later', async () => {
        expect(await protocol.userinfo(await redeemedTwice(31))).to.equal(401);
      });

      it('and gets nothing for a used code that has run out', async () => {
        await redeemedTwice(61);
      });

      it('and gets nothing for a code a second after its minute', async () => {
        const [code, inTime] = [await protocol.code(protocol.web), await protocol.code(protocol.web)];
        tick(58);
        granted(await protocol.redeem(protocol.web, inTime));
        mock.timers.tick(3_000);
        expectRefused(await protocol.redeem(protocol.web, code), 400, 'invalid_grant');
      });

      const between: Record<
        string,
        { change: (who: Affected) => Promise<unknown>; back?: (who: Affected) => Promise<unknown>; status?: number }
      > = {
        'the person was disabled': {
          change: ({ accounts, personId }) => accounts.disable(personId),
          back: ({ accounts, personId }) => accounts.enable(personId),
        },
        'the person was deleted': { change: ({ accounts, personId }) => accounts.remove(personId) },
        'the password was changed': {
          change: ({ accounts, personId }) => accounts.setPassword(personId, 'another correct horse battery'),
        },
        'the app was disabled': {
          change: ({ clients, client }) => clients.disable(client.id),
          back: ({ clients, client }) => clients.enable(client.id),
          status: 401,
        },
        'the app was deleted': { change: ({ clients, client }) => clients.remove(client.id), status: 401 },
      };
      for (const [name, { change, back, status = 400 }] of Object.entries(between)) {
        it(`and gets nothing for a code after ${name}, nor when that is taken back`, async () => {
          const { target } = protocol;
          const { accounts, clients } = target.directory;
          const client = await target.client({ trusted: true });
          const person = await target.person();
          const codes = await twoCodes(client, person);
          const { access_token: token } = granted(await redeemPlainly(client, codes[0]));
          const affected = { accounts, clients, client, personId: person.id };

          await change(affected);
          const error = status === 401 ? 'invalid_client' : 'invalid_grant';
          expectRefused(await redeemPlainly(client, codes[1]), status, error);
          expect(await protocol.userinfo(token)).to.equal(401);
          if (!back) return;
          await back(affected);
          expectRefused(await redeemPlainly(client, codes[1]), 400, 'invalid_grant');
          expect(await protocol.userinfo(token)).to.equal(401);
        });
      }

      /** From one session, and so of one grant. */
      async function twoCodes(client: TestClient, person: { email: string }): Promise<[string, string]> {
        const browser = protocol.target.browser();
        const first = await protocol.target.signIn(browser, person, client);
        const second = await protocol.target.start(browser, client);
        const codeOf = ({ url }: { url: URL }) => url.searchParams.get('code') ?? '';
        return [codeOf(first), codeOf(second)];
      }

      const redeemPlainly = (client: TestClient, code: string): Promise<Answer> =>
        protocol.redeem(client, code, { code_verifier: undefined });
    });
  });
});

interface Affected {
  accounts: Protocol['target']['directory']['accounts'];
  clients: Protocol['target']['directory']['clients'];
  client: TestClient;
  personId: string;
}
