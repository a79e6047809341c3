import { expect } from 'chai';
import { startTarget } from './attacks/web-target.ts';
import { embeddedStore, type TestStore } from './support/app.ts';

const FORWARDED = ['x-forwarded-for', 'forwarded', 'x-real-ip', 'x-forwarded-proto', 'via'];
const OF_PROVIDERS = ['cf-connecting-ip', 'true-client-ip', 'x-client-ip', 'fastly-client-ip'];

describe('a proxy', () => {
  let store: TestStore;
  beforeEach(async () => {
    store = await embeddedStore();
  });
  afterEach(() => store.remove());

  /** The warnings that requests through a proxy leave in the log. */
  async function warningsWith(trusted: string, headers: Record<string, string>): Promise<string[]> {
    const target = await startTarget(store, { TRUSTED_PROXIES: trusted });
    for (let n = 0; n < 5; n++) await target.send('/account', { headers });
    await target.close();
    const lines = target.log().split('\n');
    return lines.filter((line) => line.includes('TRUSTED_PROXIES'));
  }

  it('that nobody named is warned of once, with the setting and its address, on the loopback interface too', async () => {
    for (const name of [...FORWARDED, ...OF_PROVIDERS]) {
      const warnings = await warningsWith('10.0.0.0/8', { [name]: 'for=198.51.100.1' });
      expect(warnings, name).to.have.lengthOf(1);
      expect(JSON.parse(warnings[0] ?? '{}')).to.include({ level: 40, peer: '127.0.0.1' });
    }
  });

  it('that was named is not, however its range is written, nor is who comes without one', async () => {
    for (const trusted of ['127.0.0.1', '127.0.0.0/8', '::ffff:127.0.0.0/104', '::ffff:7f00:1']) {
      expect(await warningsWith(trusted, { 'x-forwarded-for': '198.51.100.1' }), trusted).to.deep.equal([]);
    }
    expect(await warningsWith('10.0.0.0/8', {})).to.deep.equal([]);
  });
});
