/** The kinds of identity providers, in the order in which they are offered. Their names are stored with each provider. */
import { github } from './github.ts';
import { gitlab } from './gitlab.ts';
import { google } from './google.ts';
import type { Kind, SettingName } from './kind.ts';
import { oidc } from './oidc.ts';

export const KINDS = { github, gitlab, google, oidc } as const satisfies Record<string, Kind>;

export type KindName = keyof typeof KINDS;

export const KIND_NAMES = Object.keys(KINDS) as [KindName, ...KindName[]];

/** What kinds are called that use a setting so. */
export function titlesOfKinds(setting: SettingName, ...uses: Kind['settings'][SettingName]['use'][]): string[] {
  return Object.values<Kind>(KINDS)
    .filter(({ settings }) => uses.includes(settings[setting].use))
    .map(({ title }) => title);
}
