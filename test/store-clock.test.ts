import { expect } from 'chai';
import { createStoreClock } from '../src/storage/store-clock.ts';

const [HOUR, DAY, YEAR] = [3600, 86_400, 365 * 86_400];
const START = 1_800_000_000;

describe('the time of a store', () => {
  /** What has really passed, and by how much the wall clock is wrong. */
  let passed: number;
  let wrong: number;
  let doubts: number[];

  beforeEach(() => {
    [passed, wrong, doubts] = [0, 0, []];
  });

  const open = (latest: number | undefined, isNew = false) =>
    createStoreClock({
      wall: () => Math.floor(START + passed + wrong),
      elapsed: () => 5_000 + passed,
      latest,
      isNew,
      onDoubt: (ahead) => doubts.push(ahead),
    });

  /** Time passes, and the clock is looked at every half minute. */
  function pass(clock: ReturnType<typeof open>, seconds: number): void {
    for (let left = seconds; left > 0; left -= 30) {
      passed += Math.min(30, left);
      clock.look();
    }
  }

  it('is the wall clock’s while that goes evenly, also when it is adjusted a little', () => {
    const clock = open(START - 60);
    for (let n = 0; n < 100; n++) {
      pass(clock, 30);
      wrong += n % 3 ? 0.4 : -0.4;
      expect(clock.now()).to.be.closeTo(START + passed + wrong, 1);
      expect(clock.look()).to.deep.equal({ latest: clock.now(), isCertain: true });
    }
    expect(doubts).to.deep.equal([]);
  });

  it('does not go back with the wall clock, but goes slowly until that has caught up', () => {
    const clock = open(START);
    pass(clock, 60);
    wrong = -10 * 60;
    let before = clock.now();
    for (let n = 0; n < 60; n++) {
      pass(clock, 30);
      expect(clock.now()).to.be.at.least(before + 14);
      before = clock.now();
    }
    expect(clock.now(), 'caught up after twice the difference').to.be.closeTo(START + passed + wrong, 20);
    expect(clock.look().isCertain).to.equal(true);
  });

  it('does not go back behind what was written down before the start', () => {
    wrong = -DAY;
    const clock = open(START);
    expect(clock.now()).to.equal(START);
    pass(clock, HOUR);
    expect(clock.now()).to.be.within(START + HOUR / 2 - 60, START + HOUR);
    expect(clock.look().isCertain).to.equal(true);
  });

  it('is not believed when it jumps ahead: what would expire is invisible, nothing is certain, and back again nothing was', () => {
    for (const jump of [60, HOUR, DAY, 10 * YEAR]) {
      passed = 0;
      const clock = open(START);
      pass(clock, 60);
      wrong = jump;
      expect(clock.now()).to.equal(START + 60 + jump);
      pass(clock, 30);
      expect(clock.look()).to.deep.equal({ latest: START + 90, isCertain: false });
      wrong = 0;
      expect(clock.look()).to.deep.equal({ latest: START + 90, isCertain: true });
      expect(clock.now()).to.equal(START + 90);
      expect(doubts.splice(0)).to.have.length(1);
    }
  });

  it('is believed after a jump that has lasted for an hour, as of a machine that slept', () => {
    const clock = open(START);
    wrong = 8 * HOUR;
    pass(clock, HOUR - 30);
    expect(clock.look().isCertain).to.equal(false);
    pass(clock, 90);
    expect(clock.look()).to.deep.equal({ latest: START + passed + wrong, isCertain: true });
    expect(doubts).to.have.length(1);
  });

  it('is not believed when it jumps about, however long', () => {
    const clock = open(START);
    for (let n = 1; n < 300; n++) {
      wrong = n * HOUR;
      pass(clock, 60);
      expect(clock.look().isCertain).to.equal(false);
    }
    expect(doubts).to.have.length(1);
  });

  it('is believed at a start after two days, and only after an hour when it seems to be years', () => {
    expect(open(START - 2 * DAY).look()).to.deep.equal({ latest: START, isCertain: true });
    const clock = open(START - 10 * YEAR);
    expect(clock.now()).to.equal(START);
    expect(clock.look()).to.deep.equal({ latest: START - 10 * YEAR, isCertain: false });
    pass(clock, HOUR + 30);
    expect(clock.look()).to.deep.equal({ latest: START + passed, isCertain: true });
  });

  it('is known at once in a new store, and after an hour in one that has never written it down', () => {
    expect(open(undefined, true).look()).to.deep.equal({ latest: START, isCertain: true });
    const clock = open(undefined);
    expect(clock.now()).to.equal(START);
    expect(clock.look()).to.deep.equal({ latest: undefined, isCertain: false });
    pass(clock, HOUR + 30);
    expect(clock.look()).to.deep.equal({ latest: START + passed, isCertain: true });
  });
});
