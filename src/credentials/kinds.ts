/**
 * Every kind of credential that is handed out here, an entry a kind. Whoever has to know something of a kind reads it here, and whoever
 * does something for each kind of a sort takes a `Record` of them: a new kind compiles when nothing of it is missing.
 */
import { prefixOf, type TokenPrefix } from '../secrets/secret-token.ts';

interface Kind {
  /** What its tokens begin with. The engine's begin with nothing of ours. */
  prefix?: TokenPrefix;
  /** Absent: calls of APIs cannot come with it. */
  api?: {
    /** The scheme that it comes with, and the `token_type` of its introspection (RFC 7662 §2.2). */
    tokenType: 'Bearer' | 'Token';
    /** Whether introspection says its id (`token_id`). */
    isNamed: boolean;
    /** Whether personal tokens can be made and ended with it, given the permission. */
    mayManageTokens: boolean;
  };
  /** Whether somebody who has found one can end it. */
  isReportable: boolean;
}

export const CREDENTIAL_KINDS = {
  personal_token: {
    prefix: 'lk_pat_',
    api: { tokenType: 'Token', isNamed: true, mayManageTokens: false },
    isReportable: true,
  },
  access_token: {
    api: { tokenType: 'Bearer', isNamed: false, mayManageTokens: true },
    isReportable: false,
  },
  app_token: { prefix: 'lk_app_', isReportable: true },
  sso_token: { prefix: 'lk_sso_', isReportable: false },
} as const satisfies Record<string, Kind>;

export type KindName = keyof typeof CREDENTIAL_KINDS;
type KindWith<Trait> = { [Name in KindName]: (typeof CREDENTIAL_KINDS)[Name] extends Trait ? Name : never }[KindName];
/** What calls of APIs come with. */
export type ApiKind = KindWith<{ api: object }>;
export type ReportableKind = KindWith<{ isReportable: true }>;

const NAMES = Object.keys(CREDENTIAL_KINDS) as KindName[];
export const API_KINDS = NAMES.filter(isApiKind);

export function isApiKind(name: KindName): name is ApiKind {
  return 'api' in CREDENTIAL_KINDS[name];
}

export function isReportableKind(name: KindName): name is ReportableKind {
  return CREDENTIAL_KINDS[name].isReportable;
}

function prefixOfKind(name: KindName): TokenPrefix | undefined {
  return (CREDENTIAL_KINDS[name] as Kind).prefix;
}

/** What a text is by its first characters. Undefined for what begins like one of ours and has the wrong checksum. */
export function kindOf(token: string): KindName | undefined {
  const name = NAMES.find((each) => token.startsWith(prefixOfKind(each) ?? '\0'));
  if (name === undefined) return 'access_token';
  return prefixOf(token) === prefixOfKind(name) ? name : undefined;
}
