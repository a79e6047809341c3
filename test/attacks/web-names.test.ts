/** Nothing of a request names us: whatever it claims to be addressed to, every URL of ours is made of the issuer. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { expect } from 'chai';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { onEachEngine, startApp, type TestApp, type TestClient, type TestStore } from '../support/app.ts';

const EVIL = 'evil.example';
const DISCOVERY = '/.well-known/openid-configuration';

interface Answer {
  status: number;
  /** Everything after the status line. */
  rest: string;
}

onEachEngine((openStore) => {
  describe('a request that claims to be addressed to somebody else', () => {
    let store: TestStore;
    let app: TestApp;
    let client: TestClient;

    before(async () => {
      store = await openStore();
      app = await startApp(store);
      client = await app.client();
    });
    after(async () => {
      await app?.close();
      await store?.remove();
    });

    const send = (...lines: string[]) => sendText([...lines, 'Connection: close', '', ''].join('\r\n'));

    /** The answer to this text, sent as it is. */
    async function sendText(sent: string): Promise<Answer> {
      const socket = connect(Number(new URL(app.issuer).port), '127.0.0.1').setEncoding('utf8');
      let text = '';
      socket.on('data', (data) => {
        text += data;
      });
      socket.on('error', () => undefined);
      socket.write(sent);
      await once(socket, 'close');
      const [, status = '0', rest = ''] = /^HTTP\/1\.1 (\d+)(.*)$/s.exec(text) ?? [];
      return { status: Number(status), rest };
    }

    const get = (target: string, ...headers: string[]) => send(`GET ${target} HTTP/1.1`, `Host: ${EVIL}`, ...headers);

    const authorize = () =>
      `/identity/authorize?${new URLSearchParams({ client_id: client.id, redirect_uri: client.redirectUri, response_type: 'code', scope: 'openid', state: 'x' })}`;

    /** Every place that makes a URL, asked as nobody. */
    const places = () => [
      DISCOVERY,
      '/.well-known/oauth-authorization-server',
      '/identity/jwks',
      authorize(),
      `${authorize()}&prompt=none`,
      '/identity/logout',
      '/identity/authorize/unknown',
      '/account',
      '/account/tokens?x=1',
      '/admin',
      '/setup?code=x',
      '/sso/login?token=x',
      '/api/openapi.json',
      '/api/me',
      '/verify',
      '/nowhere',
      '/',
    ];

    const FORMS: Record<string, (path: string) => string> = {
      'the absolute form': (path) => `http://${EVIL}${path}`,
      'the absolute form in capitals, with a port': (path) => `HTTPS://${EVIL.toUpperCase()}:444${path}`,
      'the absolute form of an address': (path) => `http://[::1]:1${path}`,
    };
    for (const [name, form] of Object.entries(FORMS)) {
      it(`by ${name} is read as its path and query, and no URL is made of it`, async () => {
        for (const path of places()) {
          const [plain, claimed] = [await get(path, 'Accept: text/html'), await get(form(path), 'Accept: text/html')];
          expect(claimed.status, path).to.equal(plain.status);
          expect(claimed.rest, path).not.to.match(/evil\.example|:444|\[::1\]/i);
        }
        const { status, rest } = await get(form(DISCOVERY));
        expect(status).to.equal(200);
        expect(rest).to.contain(`"issuer":"${app.issuer}"`).and.contain(`"${app.issuer}/identity/token"`);
      });
    }

    it('by any header is answered as the issuer', async () => {
      const claims = [
        `X-Forwarded-Host: ${EVIL}`,
        'X-Forwarded-Proto: https',
        'X-Forwarded-Port: 444',
        'X-Forwarded-Prefix: /evil.example',
        `Forwarded: host=${EVIL};proto=https`,
        'X-Original-URL: /evil.example',
        'X-Rewrite-URL: /evil.example',
        `X-Host: ${EVIL}`,
        `X-Forwarded-Server: ${EVIL}`,
      ];
      for (const path of places()) {
        const [plain, claimed] = [await get(path), await get(path, ...claims)];
        expect(claimed.status, path).to.equal(plain.status);
        expect(claimed.rest, path).not.to.match(/evil\.example|https:\/\/localhost|:444/i);
      }
    });

    const NOWHERE = [
      `//${EVIL}/x`,
      `/\\${EVIL}`,
      `///${EVIL}`,
      `//${EVIL}${DISCOVERY}`,
      `//localhost${DISCOVERY}`,
      `http://${EVIL}//${EVIL}/x`,
      `http://${EVIL}/\\${EVIL}/x`,
    ];
    it('leads nowhere by a path that would be a host in a URL', async () => {
      for (const target of NOWHERE) {
        const { status, rest } = await get(target);
        expect(status, target).to.equal(404);
        expect(rest, target).not.to.contain('Location:').and.not.contain(EVIL);
      }
    });

    const REFUSED = [
      `http://user:secret@${EVIL}${DISCOVERY}`,
      `http://localhost@${EVIL}${DISCOVERY}`,
      `http://${EVIL}\\@localhost${DISCOVERY}`,
      `ftp://${EVIL}${DISCOVERY}`,
      `https:${DISCOVERY}`,
      `http:///${DISCOVERY}`,
      `ws://${EVIL}${DISCOVERY}`,
      '*',
    ];
    it('is refused when its target is no path and no plain address', async () => {
      for (const target of REFUSED) {
        const { status, rest } = await get(target);
        expect(status, target).to.equal(400);
        expect(rest, target).not.to.contain('Location:').and.not.contain(EVIL);
      }
      const star = await send('OPTIONS * HTTP/1.1', 'Host: localhost');
      expect(star.status).to.equal(400);
      const tunnel = await send(`CONNECT ${EVIL}:443 HTTP/1.1`, `Host: ${EVIL}`);
      expect(tunnel.status, 'a tunnel').to.be.oneOf([0, 400]);
    });

    it('is refused when it has two Host headers, or one that names no single host', async () => {
      const line = `GET ${DISCOVERY} HTTP/1.1`;
      const localhost = new URL(app.issuer).host;
      for (const hosts of [
        [localhost, localhost],
        [localhost, EVIL],
        [EVIL, localhost],
      ]) {
        const { status, rest } = await send(line, ...hosts.map((host) => `Host: ${host}`));
        expect(status, hosts.join(' and ')).to.equal(400);
        expect(rest).to.contain('"field":"Host"');
      }
      const { status } = await send(line, `Host: ${localhost}`, `hOsT: ${EVIL}`);
      expect(status).to.equal(400);
      const junk = ['a, b', 'a b', 'user@a', 'a/b', 'a?b', 'a#b', 'a\\b', '<a>', 'a:b', 'a:1:2', '[a', 'http://a', 'ä'];
      for (const host of junk) expect((await send(line, `Host: ${host}`)).status, host).to.equal(400);
      for (const host of [localhost, EVIL, 'a_b.internal:80', '[::1]:3000', '127.0.0.1', ''])
        expect((await send(line, `Host: ${host}`)).status, host).to.equal(200);
    });

    it('is answered without a Host where HTTP/1.0 has none, and refused where HTTP/1.1 must', async () => {
      const { status, rest } = await send(`GET ${DISCOVERY} HTTP/1.0`);
      expect(status).to.equal(200);
      expect(rest).to.contain(`"issuer":"${app.issuer}"`);
      expect((await send(`GET ${DISCOVERY} HTTP/1.1`)).status).to.equal(400);
    });

    it('makes no assertion good that was made for somebody else', async () => {
      const { publicKey, privateKey } = await generateKeyPair('RS256');
      const jwk = { ...(await exportJWK(publicKey)), kid: 'k', alg: 'RS256', use: 'sig' };
      const signing = await app.client({ clientCredentials: true, redirectUris: [], jwks: { keys: [jwk] } });
      const assertionFor = (audience: string) =>
        new SignJWT({ jti: crypto.randomUUID() })
          .setProtectedHeader({ alg: 'RS256', kid: 'k' })
          .setIssuer(signing.id)
          .setSubject(signing.id)
          .setAudience(audience)
          .setIssuedAt()
          .setExpirationTime('1m')
          .sign(privateKey);
      const redeem = async (target: string, audience: string) => {
        const body = new URLSearchParams({
          grant_type: 'client_credentials',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: await assertionFor(audience),
        }).toString();
        const headers = [
          `Host: ${EVIL}`,
          `X-Forwarded-Host: ${EVIL}`,
          'Content-Type: application/x-www-form-urlencoded',
          `Content-Length: ${body.length}`,
          'Connection: close',
        ];
        const { status } = await sendText([`POST ${target} HTTP/1.1`, ...headers, '', body].join('\r\n'));
        return status;
      };
      for (const path of ['/identity/token', '/identity/par', '/identity/introspect', '/identity/revoke']) {
        for (const target of [path, `http://${EVIL}${path}`]) {
          expect(await redeem(target, `http://${EVIL}/identity/token`), target).to.equal(401);
          expect(await redeem(target, `http://${EVIL}${path}`), target).to.equal(401);
          expect(await redeem(target, `http://${EVIL}`), target).to.equal(401);
        }
      }
      for (const target of ['/identity/token', `http://${EVIL}/identity/token`])
        expect(await redeem(target, app.issuer), target).to.equal(200);
    });
  });
});
