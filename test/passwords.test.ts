import { expect } from 'chai';
import { createChangePassword } from '../src/account-console/change-password.ts';
import type { NewAccount } from '../src/accounts/accounts.ts';
import { createPasswords } from '../src/accounts/password.ts';
import { checkPassword } from '../src/accounts/password-policy.ts';
import { createPasswordSignIn } from '../src/accounts/sign-in.ts';
import { AppError } from '../src/errors.ts';
import {
  countOf,
  failureOf,
  onBothEngines,
  openPeople,
  outcomeOf,
  PASSWORD,
  type People,
  type Store,
  startPeopleProcess,
} from './support/people.ts';
import { storeSteps } from './support/store-steps.ts';

const CONTEXT = { email: 'maria.virtanen@example.com', words: ['Acme Widgets'] };
const WINDOW = 15 * 60;

/** Why the policy refuses a password; undefined when it does not. */
function refusalOf(password: string): string | undefined {
  try {
    checkPassword(password, CONTEXT);
    return undefined;
  } catch (error) {
    expect(error).to.be.instanceOf(AppError).and.include({ code: 'invalid_request', field: 'password' });
    return (error as AppError).message;
  }
}

/** Milliseconds. */
async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

describe('the password policy', () => {
  it('takes 8 to 256 characters', () => {
    expect(refusalOf('gkw7-qz')).to.contain('at least 8');
    expect(refusalOf('gkw7-qzx')).to.equal(undefined);
    expect(refusalOf('kq'.repeat(128))).to.equal(undefined);
    expect(refusalOf(`${'kq'.repeat(128)}k`)).to.contain('at most 256');
  });

  it('counts characters, not bytes or UTF-16 units', () => {
    expect(refusalOf('🦊🐢🦉🐝🦋🐙🦜')).to.contain('at least 8');
    expect(refusalOf('🦊🐢🦉🐝🦋🐙🦜🐬')).to.equal(undefined);
    expect(refusalOf('🦊'.repeat(256))).to.equal(undefined);
    expect(refusalOf('🦊'.repeat(257))).to.contain('at most 256');
  });

  it('refuses a megabyte without working on it', async () => {
    const passwords = createPasswords();
    const huge = 'é'.repeat(1_000_000);
    const someHash = await passwords.hash(PASSWORD);
    const spent = await timeOf(async () => {
      expect(refusalOf(huge)).to.contain('at most 256');
      expect((await failureOf(passwords.hash(huge))).code).to.equal('invalid_request');
      expect(await passwords.verify(huge, someHash)).to.equal(false);
    });
    expect(spent).to.be.below(100);
  });

  it('refuses common passwords in any case', () => {
    for (const common of [
      'password',
      'PASSWORD',
      '12345678',
      'qwertyuiop',
      'Iloveyou',
      'trustno1',
      '1qaz2wsx',
      'ｐａｓｓｗｏｒｄ',
    ]) {
      expect(refusalOf(common), common).to.contain('many people use');
    }
  });

  it('refuses e-mail, product and organization, also dressed up', () => {
    const guesses = ['maria.virtanen@example.com', 'Maria.Virtanen', 'mariavirtanen', 'virtanen1987', 'latchkey'];
    for (const guess of [...guesses, 'Latchkey2026!', 'Acme Widgets', 'acmewidgets', 'acme-widgets', 'widgets123']) {
      expect(refusalOf(guess), guess).to.contain('too close');
    }
    expect(refusalOf('maria sings in the rain')).to.equal(undefined);
  });

  it('refuses broken characters, which would all be the same password', () => {
    expect(refusalOf('good enough \ud800')).to.contain('broken');
  });
});

describe('password hashing', () => {
  const passwords = createPasswords();

  it('is Argon2id at the cost that was chosen, salted', async () => {
    const [first, second] = await Promise.all([passwords.hash(PASSWORD), passwords.hash(PASSWORD)]);
    expect(first).to.match(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(first).not.to.equal(second);
  });

  it('takes every character exactly: NUL, spaces at the ends, emoji, the last of 256', async () => {
    const nearly: Array<[string, string]> = [
      ['before\u0000after', 'before\u0000'],
      ['before\u0000after', 'before\u0000other'],
      ['ends with a space ', 'ends with a space'],
      ['two  spaces', 'two spaces'],
      ['family 👨‍👩‍👧 here', 'family 👨👩👧 here'],
      [`${'x'.repeat(255)}y`, `${'x'.repeat(255)}z`],
      ['Case Matters', 'case matters'],
    ];
    for (const [password, other] of nearly) {
      const hash = await passwords.hash(password);
      expect(await passwords.verify(password, hash), JSON.stringify(password)).to.equal(true);
      expect(await passwords.verify(other, hash), JSON.stringify(other)).to.equal(false);
    }
  });

  it('knows a password however the keyboard composes its letters', async () => {
    const hash = await passwords.hash('pääsky lentää'.normalize('NFC'));
    expect(await passwords.verify('pääsky lentää'.normalize('NFD'), hash)).to.equal(true);
  });

  it('looks at no more attempts than find a place, and counts none of the others', async () => {
    const narrow = createPasswords({ queueLimit: 5 });
    let begun = 0;
    const attempt = () =>
      narrow.attempt(async () => {
        begun += 1;
        await narrow.verify(PASSWORD, undefined);
      });
    const started = performance.now();
    const outcomes = await Promise.all(Array.from({ length: 40 }, () => outcomeOf(attempt())));
    expect(performance.now() - started, 'they are not turned away at once').to.be.within(500, 2_000);
    expect(begun).to.be.within(6, 8);
    expect(countOf(outcomes, 'ok')).to.equal(begun);
    expect(countOf(outcomes, 'temporarily_unavailable')).to.equal(40 - begun);
    expect(await outcomeOf(attempt())).to.equal('ok');
  });

  it('refuses when too many wait, and goes on afterwards', async () => {
    const narrow = createPasswords({ queueLimit: 5 });
    const outcomes = await Promise.all(Array.from({ length: 50 }, () => outcomeOf(narrow.verify(PASSWORD, undefined))));
    expect(countOf(outcomes, 'temporarily_unavailable')).to.be.within(35, 44);
    expect(countOf(outcomes, 'ok') + countOf(outcomes, 'temporarily_unavailable')).to.equal(50);
    expect(await outcomeOf(narrow.verify(PASSWORD, undefined))).to.equal('ok');
  });

  it('leaves the event loop free', async () => {
    const hashing = Promise.all(Array.from({ length: 20 }, () => passwords.hash(PASSWORD)));
    let ticks = 0;
    const ticking = setInterval(() => ticks++, 1);
    await hashing;
    clearInterval(ticking);
    expect(ticks).to.be.above(20);
  });
});

describe('signing in with a password', () => {
  onBothEngines((openStore) => {
    let store: Store;
    let people: People;
    before(async () => {
      store = await openStore();
      people = await openPeople(store.url);
    });
    after(async () => {
      await people.close();
      await store.stop();
    });

    let count = 0;
    async function person(input: Partial<NewAccount> = { password: PASSWORD }) {
      count += 1;
      const account = await people.accounts.create({ email: `person${count}@example.com`, ...input });
      return { ...account, address: `203.0.113.${count}` };
    }

    function guess(email: string, password: string, address: string) {
      return people.signIn({ email, password, source: { address, userAgent: 'Browser' }, clientId: 'app' });
    }

    const repeat = <T>(times: number, work: (n: number) => Promise<T>) =>
      Promise.all(Array.from({ length: times }, (_, n) => work(n)));

    it('answers the account, whatever the case of the e-mail', async () => {
      const { id, email, address } = await person();
      expect((await guess(email, PASSWORD, address)).id).to.equal(id);
      expect((await guess(email.toUpperCase(), PASSWORD, address)).id).to.equal(id);
    });

    it('answers alike for wrong, unknown, disabled, pending, without a password, and what is no e-mail', async () => {
      const [wrong, disabled] = await Promise.all([person(), person()]);
      const [pending, without] = await Promise.all([person({ password: PASSWORD, status: 'pending' }), person({})]);
      await people.accounts.disable(disabled.id);
      const failures = await Promise.all([
        failureOf(guess(wrong.email, 'wrong password', '198.51.100.1')),
        failureOf(guess('unknown@example.com', PASSWORD, '198.51.100.2')),
        failureOf(guess(disabled.email, PASSWORD, '198.51.100.3')),
        failureOf(guess(pending.email, PASSWORD, '198.51.100.4')),
        failureOf(guess(without.email, PASSWORD, '198.51.100.5')),
        failureOf(guess('no e-mail\r\n', PASSWORD, '198.51.100.6')),
        failureOf(guess(wrong.email, 'x'.repeat(100_000), '198.51.100.7')),
      ]);
      for (const { code, message, field, retryAfter } of failures) {
        expect({ code, message, field, retryAfter }).to.deep.equal({
          code: 'invalid_grant',
          message: 'e-mail or password is wrong',
          field: undefined,
          retryAfter: undefined,
        });
      }
    });

    it('takes the same steps for unknown and disabled as for wrong: one password worked out, the same asked of the store', async () => {
      const [wrong, disabled] = await Promise.all([person(), person()]);
      await people.accounts.disable(disabled.id);
      const emails = { wrong: wrong.email, disabled: disabled.email, unknown: `nobody.${wrong.email}` };
      const { passwords, storage } = people;
      const taken: Record<string, string[]> = {};
      const verify = passwords.verify;
      for (const [kind, email] of Object.entries(emails)) {
        let workedOut = 0;
        passwords.verify = (...args) => {
          workedOut += 1;
          return verify(...args);
        };
        const steps = await storeSteps(storage, async () => {
          expect(await outcomeOf(guess(email, 'wrong password', '10.7.0.1'))).to.equal('invalid_grant');
        });
        passwords.verify = verify;
        taken[kind] = [...steps, `${workedOut} worked out`];
      }
      expect(taken.wrong).to.include('get account').and.include('1 worked out');
      expect(taken.unknown).to.deep.equal(taken.wrong);
      expect(taken.disabled).to.deep.equal(taken.wrong);
    });

    it('stops a source after five wrong guesses at an account, even with the right password', async () => {
      const { email, address } = await person();
      for (let n = 0; n < 5; n++)
        expect(await outcomeOf(guess(email, `wrong ${n}`, address))).to.equal('invalid_grant');
      people.clock.time += 60;
      const failure = await failureOf(guess(email, PASSWORD, address));
      expect(failure.code).to.equal('too_many_requests');
      expect(failure.retryAfter).to.equal(WINDOW - 60);
      people.clock.time += WINDOW - 60;
      expect(await outcomeOf(guess(email, PASSWORD, address))).to.equal('ok');
    });

    it('stops guesses at an account that does not exist in the same way', async () => {
      const outcomes: string[] = [];
      for (let n = 0; n < 7; n++)
        outcomes.push(await outcomeOf(guess('ghost@example.com', `wrong ${n}`, '198.51.100.20')));
      expect(outcomes).to.deep.equal([...Array(5).fill('invalid_grant'), 'too_many_requests', 'too_many_requests']);
    });

    it('does not let a stranger lock the person out, nor one account another', async () => {
      const [victim, colleague] = await Promise.all([person(), person()]);
      for (let n = 0; n < 10; n++) await outcomeOf(guess(victim.email, `wrong ${n}`, '198.51.100.30'));
      expect(await outcomeOf(guess(victim.email, PASSWORD, '198.51.100.30'))).to.equal('too_many_requests');
      expect(await outcomeOf(guess(victim.email, PASSWORD, victim.address))).to.equal('ok');
      expect(await outcomeOf(guess(colleague.email, PASSWORD, '198.51.100.30'))).to.equal('ok');
    });

    it('counts spellings of an e-mail and addresses of an IPv6 network together', async () => {
      const { email } = await person();
      for (let n = 0; n < 5; n++) {
        const spelling = n % 2 ? email : email.toUpperCase();
        expect(await outcomeOf(guess(spelling, 'wrong', `2001:db8:5:5::${n + 1}`))).to.equal('invalid_grant');
      }
      expect(await outcomeOf(guess(email, PASSWORD, '2001:db8:5:5:ffff::1'))).to.equal('too_many_requests');
      expect(await outcomeOf(guess(email, PASSWORD, '2001:db8:5:6::1'))).to.equal('ok');
    });

    it('forgets wrong guesses at a successful sign-in, and never counts right ones', async () => {
      const { email, address } = await person();
      for (let round = 0; round < 2; round++) {
        for (let n = 0; n < 4; n++) await outcomeOf(guess(email, 'wrong', address));
        expect(await outcomeOf(guess(email, PASSWORD, address))).to.equal('ok');
      }
      for (let n = 0; n < 55; n++) expect(await outcomeOf(guess(email, PASSWORD, address))).to.equal('ok');
    });

    it('stops a source that tries one password on many people, until its window has passed', async () => {
      const { email } = await person();
      const address = '198.51.100.40';
      const outcomes: string[] = [];
      for (let n = 0; n < 60; n++)
        outcomes.push(await outcomeOf(guess(`spray${n}@example.com`, 'Summer2026!!', address)));
      expect(countOf(outcomes, 'invalid_grant')).to.equal(50);
      expect(countOf(outcomes, 'too_many_requests')).to.equal(10);
      people.clock.time += 60;
      for (let n = 0; n < 6; n++)
        expect(await outcomeOf(guess(email, PASSWORD, address))).to.equal('too_many_requests');
      expect(await outcomeOf(guess(email, PASSWORD, '198.51.100.41'))).to.equal('ok');
      people.clock.time += WINDOW - 60;
      expect(await outcomeOf(guess(email, PASSWORD, address))).to.equal('ok');
    });

    it('does not count a guess that it was too busy to look at', async () => {
      const { email, address } = await person();
      const { accounts, throttle, audit, knownBrowsers } = people;
      const tooBusy = () => Promise.reject(new AppError('temporarily_unavailable', 'too busy', { retryAfter: 1 }));
      const passwords = { ...people.passwords, verify: tooBusy };
      const busy = createPasswordSignIn({ accounts, throttle, audit, knownBrowsers, passwords });
      const right = { email, password: PASSWORD, source: { address } };
      for (let n = 0; n < 6; n++) expect(await outcomeOf(busy.signIn(right))).to.equal('temporarily_unavailable');
      expect(await outcomeOf(people.signIn(right))).to.equal('ok');
    });

    it('tries no more than five of 100 simultaneous guesses from two processes', async () => {
      const { email, id } = await person();
      const other = await startPeopleProcess(store.url, people.clock);
      const address = '198.51.100.50';
      const inputs = Array.from({ length: 50 }, (_, n) => ({ email, password: `wrong ${n}`, source: { address } }));
      const outcomes = await Promise.all([
        other.perform({ order: 'signIn', inputs }),
        repeat(50, (n) => outcomeOf(guess(email, `wrong ${n}`, address))),
      ]);
      await other.stop();
      expect(countOf(outcomes.flat(), 'invalid_grant')).to.equal(5);
      expect(countOf(outcomes.flat(), 'too_many_requests')).to.equal(95);
      const { events } = await people.audit.list({ accountId: id });
      expect(
        countOf(
          events.map(({ type }) => type),
          'sign_in_refused',
        ),
      ).to.equal(5);
    });

    it('does not count a password at its change either, when it was too busy to look at it', async () => {
      const { id } = await person();
      const account = await people.accounts.get(id);
      if (!account) throw new Error('the account is gone');
      const tooBusy = () => Promise.reject(new AppError('temporarily_unavailable', 'too busy', { retryAfter: 1 }));
      const busy = createChangePassword({ ...people, passwords: { ...people.passwords, verify: tooBusy } });
      const change = { current: PASSWORD, next: `${PASSWORD} 2`, keepSession: 'session', origin: {} };
      for (let n = 0; n < 6; n++) expect(await outcomeOf(busy(account, change))).to.equal('temporarily_unavailable');
      expect(await outcomeOf(createChangePassword(people)(account, change))).to.equal('ok');
    });

    it('refuses no right password for other right ones under way, in two processes, from one address or many', async () => {
      const { email, address } = await person();
      const other = await startPeopleProcess(store.url, people.clock);
      const from = (n: number) => (n % 2 ? address : `198.51.100.${n}`);
      const inputs = Array.from({ length: 25 }, (_, n) => ({
        email,
        password: PASSWORD,
        source: { address: from(n) },
      }));
      const outcomes = await Promise.all([
        other.perform({ order: 'signIn', inputs }),
        Promise.all(inputs.map((input) => outcomeOf(people.signIn(input)))),
      ]);
      await other.stop();
      expect(outcomes.flat()).to.deep.equal(Array(50).fill('ok'));
    });

    it('refuses none of an office whose people all come at once', async () => {
      const office = await Promise.all(Array.from({ length: 60 }, () => person()));
      const source = { address: '198.51.100.200' };
      const signIns = office.map(({ email }) => outcomeOf(people.signIn({ email, password: PASSWORD, source })));
      expect(await Promise.all(signIns)).to.deep.equal(Array(60).fill('ok'));
    });

    it('counts the wrong ones among right ones under way, and lets none wait for what was wrong', async () => {
      const { email, address } = await person();
      const wrong = Array.from({ length: 5 }, (_, n) => outcomeOf(guess(email, `wrong ${n}`, address)));
      const late = repeat(20, () => outcomeOf(guess(email, PASSWORD, address)));
      expect(await Promise.all(wrong)).to.deep.equal(Array(5).fill('invalid_grant'));
      expect(new Set(await late)).to.deep.equal(new Set(['too_many_requests']));
      const started = performance.now();
      expect(await outcomeOf(guess(email, PASSWORD, address))).to.equal('too_many_requests');
      expect(performance.now() - started).to.be.below(2000);
    });

    it('hashes nothing for a source that has been stopped', async () => {
      const { email, address } = await person();
      for (let n = 0; n < 5; n++) await outcomeOf(guess(email, 'wrong', address));
      const { verify } = people.passwords;
      people.passwords.verify = async () => {
        throw new Error('a password was worked out');
      };
      expect(await outcomeOf(guess(email, PASSWORD, address))).to.equal('too_many_requests');
      people.passwords.verify = verify;
    });

    it('knows accounts and limits after a restart', async () => {
      const { email, address } = await person();
      for (let n = 0; n < 5; n++) await outcomeOf(guess(email, 'wrong', address));
      await people.close();
      people = await openPeople(store.url, people.clock);
      expect(await outcomeOf(guess(email, PASSWORD, address))).to.equal('too_many_requests');
      expect((await guess(email, PASSWORD, '198.51.100.55')).email).to.equal(email);
    });

    it('writes down what really happened, one event a window for a source that goes on, and never what was typed', async () => {
      const { email, id } = await person();
      const address = '198.51.100.60';
      const typed = 'my-secret-instead-of-my-email@example.com';
      await outcomeOf(guess(typed, 'typed-secret', address));
      for (let n = 0; n < 9; n++) await outcomeOf(guess(email, 'typed-secret', address));
      await guess(email, PASSWORD, '198.51.100.61');
      const { events } = await people.audit.list({ limit: 8 });
      const relevant = events.filter((event) => event.address === address || event.address === '198.51.100.61');
      expect(relevant.map(({ type, detail }) => detail?.problem ?? type)).to.deep.equal([
        'sign_in',
        'sign_in_throttled',
        ...Array(5).fill('wrong password'),
        'unknown account',
      ]);
      expect(relevant[0]).to.include({
        accountId: id,
        clientId: 'app',
        address: '198.51.100.61',
        userAgent: 'Browser',
      });
      expect(JSON.stringify(relevant)).not.to.match(/typed-secret|my-secret|correct horse/);
    });
  });
});
