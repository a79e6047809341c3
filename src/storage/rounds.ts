/**
 * Work done once for all who ask for it at the same time. Who comes while a round is under way waits for the next: the one that has
 * begun may have missed what they came for.
 */
export function createRounds(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  function begin(): Promise<void> {
    next = undefined;
    const round = work().finally(() => {
      if (running === round) running = undefined;
    });
    running = round;
    return round;
  }

  return function join() {
    if (!running) return begin();
    next ??= running.catch(() => undefined).then(begin);
    return next;
  };
}
