/**
 * What Redis' clock shows at a moment of our monotonic one, as late as it may be and never later: worked out from its answers, so
 * that neither clock has to be right. In a cluster the nodes' clocks count as one; where they differ, a command is sent twice at times.
 */
export interface ServerClock {
  /** Milliseconds since 1970. */
  at(moment: number): number;
  /** It showed `time` at some moment between the two. */
  learn(time: number, between: { sentAt: number; receivedAt: number }): void;
}

export function createServerClock(): ServerClock {
  let ahead = 0;

  return {
    at: (moment) => Math.floor(moment + ahead),
    learn(time, { sentAt, receivedAt }) {
      const [least, most] = [time - receivedAt, time + 1 - sentAt];
      if (ahead < least || ahead > most) ahead = least;
    },
  };
}
