/**
 * The engine writes a session or a grant whole, as one request sees it, while other requests change the same one. Here its models
 * are taught to say what they were when they were read, so that whoever stores them can merge what was changed.
 */
import type { Session } from 'oidc-provider';
import Provider, { errors } from 'oidc-provider';

type MergedSession = Session & {
  loaded?: object | undefined;
  replaces?: string | undefined;
  replaced?: boolean;
  destroyed?: boolean;
};

export function mergeWrites(provider: Provider): void {
  const { Session, Grant } = provider;
  alsoKeep(Session, ['loaded', 'replaces', 'replaced']);
  alsoKeep(Grant, ['loaded']);
  const { prototype } = Session as unknown as {
    prototype: { resetIdentifier(): void; save(ttl: number): Promise<unknown> };
  };
  const { resetIdentifier, save } = prototype;

  // The engine would destroy the old id, and the session with it. One that was replaced already is not renewed.
  prototype.resetIdentifier = function (this: MergedSession & { oldId?: string | undefined }) {
    if (this.replaced) return;
    resetIdentifier.call(this);
    this.replaces = this.oldId as string;
    this.oldId = undefined;
  };

  const answered = new WeakSet<object>();
  provider.on('authorization.success', (ctx) => answered.add(ctx));
  // Nothing is given to an app in a session that has ended meanwhile. Whatever else was asked then is answered as it would have been before.
  prototype.save = async function (this: MergedSession, ttl) {
    try {
      const saved = await save.call(this, ttl);
      if (this.loaded === undefined) this.loaded = structuredClone({ ...this });
      return saved;
    } catch (error) {
      if (!(error instanceof SessionEnded)) throw error;
      const request = Provider.ctx;
      if (request && answered.has(request)) throw new errors.LoginRequired('the session has ended');
      return undefined;
    }
  };
}

/** Whether it has been written: by then others may have changed it, or ended it. */
export function isWritten(session: Session): boolean {
  return (session as MergedSession).loaded !== undefined;
}

/** Whether a request came with an id of its session that was replaced a moment ago, and has not ended the session since. */
export function wasReplaced(session: Session): boolean {
  const { replaced, destroyed } = session as MergedSession;
  return replaced === true && !destroyed;
}

/** The session was not written: it has ended, or is another person's by now. */
export class SessionEnded extends Error {}

/** Lets a model of the engine carry more of its record than the engine knows of. */
export function alsoKeep(model: unknown, names: string[]): void {
  const { IN_PAYLOAD: known } = model as { IN_PAYLOAD: string[] };
  Object.defineProperty(model, 'IN_PAYLOAD', { value: [...known, ...names] });
}
