/** GitHub as far as an exchange needs it: who a token belongs to, told only to the OAuth app that it was issued to. */
import { randomBytes } from 'node:crypto';
import { basicOf, type FakePerson, type Listening, listen } from './fake-provider.ts';

export interface FakeGitHub extends Listening {
  /** A token that a person gave to an OAuth app. */
  issue(person: FakePerson, clientId: string, options?: { expiresAt?: string }): string;
  revoke(token: string): void;
}

interface Issued {
  person: FakePerson;
  clientId: string;
  expiresAt?: string | undefined;
}

/** @param apps The OAuth apps: their secrets by client id. */
export async function startFakeGitHub(apps: Record<string, string>, port = 0): Promise<FakeGitHub> {
  const issued = new Map<string, Issued>();

  const server = await listen((request, body) => {
    const [, clientId = ''] = /^\/applications\/([^/]+)\/token$/.exec(request.url ?? '') ?? [];
    const { id, secret } = basicOf(request);
    if (request.method !== 'POST' || id !== clientId || apps[id] === undefined || apps[id] !== secret)
      return { status: 401, body: { message: 'Requires authentication' } };
    const { access_token: token } = JSON.parse(body) as { access_token: string };
    const found = issued.get(token);
    if (!found || found.clientId !== clientId) return { status: 404, body: { message: 'Not Found' } };
    const { subject, login, email } = found.person;
    return {
      body: {
        token,
        app: { client_id: clientId, name: 'A GitHub app' },
        user: { id: Number(subject), login, email: email ?? null },
        expires_at: found.expiresAt ?? null,
      },
    };
  }, port);

  return Object.assign(server, {
    issue(person: FakePerson, clientId: string, { expiresAt }: { expiresAt?: string } = {}) {
      const token = `gho_${randomBytes(18).toString('hex')}`;
      issued.set(token, { person, clientId, expiresAt });
      return token;
    },
    revoke(token: string) {
      issued.delete(token);
    },
  });
}
